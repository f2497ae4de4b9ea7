# Requests to one origin, some allowed and some not: requests.sh HOST CERTIFICATE OTHER.
# One line for each: its name, then the status, or what came instead.
host=$1 ca=$2 other=$3
url=https://$host
# Outside nothing names a file of certificates; inside the session's own variables do.
export SSL_CERT_FILE="${SSL_CERT_FILE:-$ca}" CURL_CA_BUNDLE="${CURL_CA_BUNDLE:-$ca}" NODE_EXTRA_CA_CERTS="${NODE_EXTRA_CA_CERTS:-$ca}"
status() { # NAME CURL-ARGUMENTS...
    name=$1
    shift
    echo "$name $(curl -s -m 60 -o /dev/null -w '%{http_code}' --path-as-is "$@")"
}
echo "curl $(curl -sS -m 60 "$url/allowed/hello.txt" | head -n 1)"
echo "python $(python3 -c "import urllib.request as r; print(r.urlopen('$url/allowed/hello.txt').read().decode().strip())" 2>&1 | tail -n 1)"
if command -v node >/dev/null 2>&1; then
    echo "node $(node -e "fetch('$url/allowed/hello.txt').then(a => a.text()).then(t => console.log(t.trim())).catch(e => console.log(String(e.cause || e)))")"
fi
if command -v wget >/dev/null 2>&1; then
    [ -n "${WGETRC:-}" ] || { WGETRC=$(mktemp) && echo "ca_certificate = $ca" >"$WGETRC" && export WGETRC; }
    echo "wget $(wget -q -O- "$url/allowed/hello.txt" | head -n 1)"
fi
if command -v java >/dev/null 2>&1 && command -v keytool >/dev/null 2>&1; then
    work=$(mktemp -d)
    keytool -importcert -noprompt -alias origin -file "$ca" -keystore "$work/trust" -storepass changeit >/dev/null 2>&1
    export JAVA_TOOL_OPTIONS="${JAVA_TOOL_OPTIONS:--Djavax.net.ssl.trustStore=$work/trust -Djavax.net.ssl.trustStorePassword=changeit}"
    cat >"$work/Fetch.java" <<'JAVA'
import java.net.URI;
import java.net.http.*;
public class Fetch {
    public static void main(String[] arguments) throws Exception {
        var request = HttpRequest.newBuilder(URI.create(arguments[0])).build();
        System.out.println(HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString()).body().trim());
    }
}
JAVA
    echo "java $(timeout 100 java "$work/Fetch.java" "$url/allowed/hello.txt" 2>/dev/null | head -n 1)"
fi
status other-path "$url/secret.txt"
status dots "$url/allowed/../secret.txt"
status hidden-dots "$url/allowed/%2e%2e/secret.txt"
status hidden-slash "$url/allowed/..%2fsecret.txt"
status double-slash "$url//secret.txt"
status twice-hidden "$url/allowed/%252e%252e/secret.txt"
status method -X DELETE "$url/allowed/hello.txt"
status override -H 'X-HTTP-Method-Override: DELETE' "$url/allowed/hello.txt"
status query-override "$url/allowed/hello.txt?_method=DELETE"
status other-host -H 'Host: other.example.net' "$url/allowed/hello.txt"
status upgrade -H 'Connection: upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Version: 13' -H 'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==' "$url/allowed/hello.txt"
echo "kept-alive $(curl -s -m 60 -o /dev/null -o /dev/null -w '%{http_code}+' "$url/allowed/hello.txt" "$url/secret.txt")"
# It trusts the origin's authority alone, and so would notice anybody in between.
status pinned --cacert "$ca" "$url/allowed/hello.txt"
# Its certificate does not name it; the program itself would not mind.
status wrong-name -k "https://$other/allowed/hello.txt"
# What a session may see of the certificates: no key, and an authority of this session.
echo "keys $(cat "$SSL_CERT_FILE" /tmp/*.pem 2>/dev/null | grep -c 'PRIVATE KEY')"
echo "file $SSL_CERT_FILE"
