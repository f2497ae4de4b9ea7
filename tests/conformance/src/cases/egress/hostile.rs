//! Names that lead where they must not, and what two readers could read in two ways.

use super::{ABSOLUTE, REQUEST, Visit, is_turned_away, ways, words};
use crate::checks::{Checks, Failure};
use crate::ground::Ground;

pub(super) fn addresses(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let options = ["--network", "allowlist", "--allow-host", "**.example.com"];
    let visit = Visit::new(ground, &options)?;
    let hosts = [
        "mixed.example.com",
        "private.example.com",
        "loopback.example.com",
        "metadata.example.com",
        "mapped.example.com",
        "nat64.example.com",
    ];
    let mut attacks = Vec::new();
    for host in hosts {
        attacks.extend(ways(host));
    }
    attacks.extend(ways("169.254.169.254"));
    attacks.extend(ways("10.0.0.1"));
    visit.controls(ground, checks, &attacks)?;
    visit.refuses(ground, checks, &attacks)?;
    checks.same("nothing was reached", &visit.reached(), &Vec::new());
    // A name that changes its mind is asked for once for each connection, and what was checked is dialled.
    let flipping = ways("flipping.example.com");
    let _ = visit.attack(ground, &flipping)?;
    let loopback: Vec<String> = visit
        .log()
        .into_iter()
        .filter(|line| line.contains(" 127.0.0.1:"))
        .collect();
    checks.same(
        "a flipping name never leads to loopback",
        &loopback,
        &Vec::new(),
    );
    let sibling = words(&[
        "http",
        "four.example.com",
        "80",
        &REQUEST.replace("HOST", "four.example.com"),
    ]);
    checks.sibling("an ordinary name", &visit.attack_once(ground, sibling)?);
    Ok(())
}

pub(super) fn hostile(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let host = "allowed.example.com";
    let options = [
        "--network",
        "allowlist",
        "--allow-host",
        host,
        "--allow-host",
        "allowed.example.com:9000",
        "--allow-host",
        "example.net",
    ];
    let visit = Visit::new(ground, &options)?;
    let request = |head: &str| head.replace("HOST", host);
    let mut attacks: Vec<Vec<String>> = Vec::new();
    // Another host inside than outside.
    for head in [
        "GET / HTTP/1.1\\r\\nhost: other.example.net\\r\\n\\r\\n",
        "GET http://other.example.net/ HTTP/1.1\\r\\nhost: HOST\\r\\n\\r\\n",
        "GET / HTTP/1.1\\r\\nhost: HOST\\r\\nhost: other.example.net\\r\\n\\r\\n",
        "GET / HTTP/1.1\\r\\n\\r\\n",
        "GET / HTTP/1.1\\r\\nhost: HOST\\r\\ncontent-length: 1\\r\\ntransfer-encoding: chunked\\r\\n\\r\\nx",
        "GET / HTTP/1.1\\r\\nhost: HOST\\r\\n folded: x\\r\\n\\r\\n",
        "GET / HTTP/1.1\\r\\nhost: HOST\\r\\nx: a\\0b\\r\\n\\r\\n",
        "CONNECT other.example.net:443 HTTP/1.1\\r\\nhost: other.example.net:443\\r\\n\\r\\n",
    ] {
        attacks.push(words(&["http", host, "80", &request(head)]));
        attacks.push(words(&["proxied", "connect", host, "80", &request(head)]));
    }
    // What lenient servers take for a request, at a port where anything may be said.
    for line in [
        "SSH-A / HTTP/1.1",
        "SSH-2.0-x / HTTP/1.1",
        "\\r\\nGET / HTTP/1.1",
        "GET  / HTTP/1.1",
        "get / HTTP/1.1",
        "PRI * HTTP/2.0",
    ] {
        let head = format!("{line}\\r\\nhost: other.example.net\\r\\n\\r\\n");
        for port in ["80", "9000"] {
            attacks.push(words(&["http", host, port, &head]));
            attacks.push(words(&["proxied", "connect", host, port, &head]));
        }
    }
    for server in [
        "other.example.net",
        "-",
        "allowed.example.com.",
        "ALLOWED.example.com.evil.example.net",
    ] {
        if server != "allowed.example.com." {
            attacks.push(words(&["hello", host, "443", server]));
        }
    }
    // Hosts that one reader takes for an address and another for a name.
    for disguise in [
        "2130706433",
        "0x7f.1",
        "127.1",
        "0177.0.0.1",
        "allowed.example.com\\0.evil.example.net",
        "allowed.example.com%00.evil.example.net",
        "allowed.example.com .evil.example.net",
    ] {
        attacks.push(words(&[
            "proxied",
            "socks",
            disguise,
            "80",
            &request(REQUEST),
        ]));
        if !disguise.contains(['\\', ' ']) {
            attacks.push(words(&[
                "proxied",
                "connect",
                disguise,
                "80",
                &request(REQUEST),
            ]));
            let absolute = ABSOLUTE.replace("HOST", disguise);
            attacks.push(words(&["proxied", "absolute", disguise, "80", &absolute]));
        }
    }
    visit.controls(ground, checks, &attacks)?;
    for (attack, verdict) in attacks.iter().zip(visit.attack(ground, &attacks)?) {
        checks.that(&attack.join(" "), is_turned_away(&verdict), || {
            format!("must be turned away, but: {verdict:?}")
        });
    }
    let strangers: Vec<String> = visit
        .log()
        .into_iter()
        .filter(|line| {
            line.contains("other") || line.contains("evil") || line.contains("127.0.0.1")
        })
        .collect();
    checks.same("nothing reached another host", &strangers, &Vec::new());
    visit.serves(ground, checks, &ways(host))?;
    Ok(())
}
