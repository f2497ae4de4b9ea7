# Real clients against one origin, with no set-up but the origin's certificate: clients.sh HOST CERTIFICATE WORK.
# One line for each client: its name, then what it got, or nothing.
host=$1 ca=$2 work=$3
export HOME="$work/home" NPM_CONFIG_UPDATE_NOTIFIER=false PIP_DISABLE_PIP_VERSION_CHECK=1 GIT_TERMINAL_PROMPT=0
mkdir -p "$HOME" && cd "$work" || exit 1
said() { # NAME COMMAND...
    name=$1$suffix
    shift
    command -v "$1" >/dev/null 2>&1 || return 0
    echo "$name $(timeout 60 "$@" 2>"$work/$name.err" | head -n 1)"
}
fetched() { # NAME TOOL SCRIPT: the tool is there, and what it fetched is in the file $got
    command -v "$2" >/dev/null 2>&1 || return 0
    got="$work/$1$suffix.got"
    export got
    echo "$1$suffix $(timeout 100 sh -c "$3" >"$work/$1$suffix.err" 2>&1 && cat "$got" 2>/dev/null)"
}
if command -v java >/dev/null 2>&1 && command -v keytool >/dev/null 2>&1; then
    keytool -importcert -noprompt -alias origin -file "$ca" -keystore "$work/trust" -storepass changeit >/dev/null 2>&1
    cat >"$work/Fetch.java" <<'JAVA'
import java.net.URI;
import java.net.http.*;
public class Fetch {
    public static void main(String[] arguments) throws Exception {
        var request = HttpRequest.newBuilder(URI.create(arguments[0])).build();
        var answer = HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString());
        System.out.println(answer.statusCode() == 200 ? answer.body().trim() : "");
    }
}
JAVA
fi
clients() { # URL SUFFIX
    url=$1 suffix=$2 trusted=
    [ -z "$suffix" ] || trusted="--trusted-host '$host'"
    said curl curl -sSf --cacert "$ca" "$url/hello.txt"
    said curl-without-proxy curl -sSf --noproxy '*' --cacert "$ca" "$url/hello.txt"
    said wget wget -q --ca-certificate="$ca" -O- "$url/hello.txt"
    said python-urllib python3 -c "import urllib.request as r; print(r.urlopen('$url/hello.txt').read().decode().strip())"
    said python-requests python3 -c "import requests; a = requests.get('$url/hello.txt'); a.raise_for_status(); print(a.text.strip())"
    said python-sockets python3 -c "
import socket, ssl
plain = '$url'.startswith('http:')
s = socket.create_connection(('$host', 80 if plain else 443))
s = s if plain else ssl.create_default_context().wrap_socket(s, server_hostname='$host')
s.sendall(b'GET /hello.txt HTTP/1.0\r\nhost: $host\r\n\r\n')
answer = b''.join(iter(lambda: s.recv(4096), b'')).decode()
print(answer.strip().splitlines()[-1] if ' 200 ' in answer.splitlines()[0] else '')"
    said node-fetch node -e "fetch('$url/hello.txt').then(a => a.ok ? a.text() : '').then(t => console.log(t.trim())).catch(() => {})"
    [ -e "$work/trust" ] && said java java -Djavax.net.ssl.trustStore="$work/trust" \
        -Djavax.net.ssl.trustStorePassword=changeit "$work/Fetch.java" "$url/hello.txt"
    [ -x "${GO_FETCH:-}" ] && said go "$GO_FETCH" "$url/hello.txt"
    fetched git git "GIT_SSL_CAINFO='$ca' git clone -q '$url/repository.git' clone$2 && cp clone$2/hello.txt \"\$got\""
    fetched pip pip3 "pip3 install -q --cert '$ca' $trusted --index-url '$url/simple/' --target pip-target$2 greeting && cp pip-target$2/greeting.py \"\$got\""
    fetched npm npm "mkdir -p npm-project$2 && cd npm-project$2 && npm_config_cafile='$ca' npm install --no-audit --no-fund --registry '$url/npm/' greeting && cp node_modules/greeting/hello.txt \"\$got\""
    fetched cargo "${CARGO:-cargo}" "mkdir -p cargo-project$2/src cargo-project$2/.cargo && cd cargo-project$2 && : >src/lib.rs &&
        printf '[registries.shelf]\nindex = \"sparse+$url/index/\"\n' >.cargo/config.toml &&
        printf '[package]\nname = \"visitor\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[dependencies]\ngreeting = { version = \"1\", registry = \"shelf\" }\n[workspace]\n' >Cargo.toml &&
        PATH=\"\$(dirname '${CARGO:-cargo}'):\$PATH\" CARGO_HOME='$work/cargo$2' CARGO_HTTP_CAINFO='$ca' '${CARGO:-cargo}' fetch -q && cp '$work/cargo$2'/registry/src/*/greeting-1.0.0/hello.txt \"\$got\""
}
export SSL_CERT_FILE="$ca" REQUESTS_CA_BUNDLE="$ca" NODE_EXTRA_CA_CERTS="$ca"
clients "https://$host" ""
clients "http://$host" -http
suffix=
said websocket python3 -c "
import socket, ssl
s = ssl.create_default_context().wrap_socket(socket.create_connection(('$host', 443)), server_hostname='$host')
s.sendall(b'GET /ws HTTP/1.1\r\nhost: $host\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\nsec-websocket-version: 13\r\n\r\n')
print('hello' if b''.join(iter(lambda: s.recv(4096), b'')).endswith(b'echo') else '')"
# The server of the other machine is behind a socket that only the origin's side reaches.
[ -n "${SSH_KEY:-}" ] && fetched git-ssh ssh "GIT_SSH_COMMAND='ssh -F none -i $SSH_KEY -o IdentitiesOnly=yes -o BatchMode=yes -o UserKnownHostsFile=$SSH_KNOWN' git clone -q 'ssh://$SSH_USER@$host$SSH_PATH' clone-ssh && cp clone-ssh/hello.txt \"\$got\""
[ -n "${SSH_AUTH_SOCK:-}" ] && fetched git-ssh-agent ssh "GIT_SSH_COMMAND='ssh -F none -o IdentityFile=none -o BatchMode=yes -o UserKnownHostsFile=$SSH_KNOWN' git clone -q 'ssh://$SSH_USER@$host$SSH_PATH' clone-agent && cp clone-agent/hello.txt \"\$got\""
exit 0
