"""An HTTPS origin of static files and one WebSocket echo, for the test internet: origin.py ROOT CERTIFICATE KEY LOG.

The same without TLS at the port PLAIN_ORIGIN, where that is set."""
import base64, hashlib, http.server, os, socket, ssl, sys, threading

root, certificate, key, log = sys.argv[1:]


class Origin(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, *arguments):
        super().__init__(*arguments, directory=root)

    def do_GET(self):
        if self.headers.get("upgrade", "").lower() != "websocket":
            return super().do_GET()
        nonce = self.headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(nonce.encode()).digest()).decode()
        self.wfile.write(
            f"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: {accept}\r\n\r\n".encode()
        )
        self.wfile.write(b"\x81\x04echo")
        self.close_connection = True

    def log_message(self, pattern, *values):
        with open(log, "a") as file:
            file.write(f"https {self.headers.get('host', '?') if hasattr(self, 'headers') else '?'} {pattern % values}\n")


class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6


if "PLAIN_ORIGIN" in os.environ:
    plain = Server(("::", int(os.environ["PLAIN_ORIGIN"])), Origin)
    threading.Thread(target=plain.serve_forever, daemon=True).start()
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
server = Server(("::", 443), Origin)
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
