"""Port 22 of the test internet, led to a socket of the file system behind which sshd is: ssh_origin.py SOCKET LOG."""
import socket, sys, threading

place, log = sys.argv[1:]


def move(source, target):
    while data := source.recv(65536):
        target.sendall(data)
    try:
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


listener = socket.create_server(("::", 22), family=socket.AF_INET6, dualstack_ipv6=True)
while True:
    client, _ = listener.accept()
    with open(log, "a") as file:
        file.write(f"ssh {client.getsockname()[0]}\n")
    server = socket.socket(socket.AF_UNIX)
    server.connect(place)
    for pair in ((client, server), (server, client)):
        threading.Thread(target=move, args=pair, daemon=True).start()
