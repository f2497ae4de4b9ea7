//! What a rule's ports, `ask` and `open` open, and what they do not.

use serde_json::Value;

use super::{REQUEST, UNREACHED, Visit, ways, words};
use crate::checks::{Checks, Failure};
use crate::ground::Ground;

pub(super) fn ports(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let host = "allowed.example.com";
    let options = [
        "--network",
        "allowlist",
        "--allow-host",
        "allowed.example.com:8080",
    ];
    let visit = Visit::new(ground, &options)?;
    let request = REQUEST.replace("HOST", host);
    let other = REQUEST.replace("HOST", "allowed.example.com:8080");
    let attacks = [
        words(&["http", host, "80", &request]),
        words(&["hello", host, "443", host]),
        words(&["banner", host, "22"]),
        words(&["http", host, "9000", &request]),
        words(&["proxied", "connect", host, "443", &request]),
        words(&["proxied", "socks", host, "9000", &request]),
        words(&["udp-echo", "93.184.216.34", "443"]),
        words(&["udp-echo", "93.184.216.34", "8125"]),
        words(&["tcp-fast-open", "93.184.216.34", "22"]),
    ];
    for (attack, verdict) in attacks.iter().zip(visit.attack(ground, &attacks)?) {
        let also = [UNREACHED, &[libc::EAGAIN, libc::EOPNOTSUPP]].concat();
        checks.refused(&attack.join(" "), &verdict, &also);
    }
    checks.same("nothing was reached", &visit.reached(), &Vec::new());
    // A port without a listener, too, is told by the name that was meant.
    let rules: Vec<String> = visit
        .rules_against("allowed.example.com:9000")
        .into_iter()
        .collect();
    let rule = vec!["net.not-listed".to_owned()];
    checks.same("the rule of a refused port", &rules, &rule);
    let synthetic: Vec<Value> = visit
        .events()
        .into_iter()
        .filter(|event| event.to_string().contains("\"198.1"))
        .collect();
    checks.same("synthetic addresses in the record", &synthetic, &Vec::new());
    visit.controls(ground, checks, &attacks)?;
    let sibling = words(&["http", host, "8080", &other]);
    checks.sibling("its own port", &visit.attack_once(ground, sibling)?);
    // Ports that the session's own servers would like to have.
    for port in ["53", "61080"] {
        let rule = format!("{host}:{port}");
        let visit = Visit::new(ground, &["--network", "allowlist", "--allow-host", &rule])?;
        let request = REQUEST.replace("HOST", &rule);
        let attacks = [
            words(&["http", host, port, &request]),
            words(&["proxied", "connect", host, port, &request]),
            words(&["resolve", host]),
        ];
        visit.serves(ground, checks, &attacks)?;
    }
    Ok(())
}

pub(super) fn ask(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let options = [
        "--network",
        "allowlist",
        "--allow-host",
        "allowed.example.com",
        "--ask",
    ];
    let mut visit = Visit::new(ground, &options)?;
    let file = "[approvals]\ntimeout = \"2s\"\n";
    let file = visit.fixture.write("approvals.toml", file)?;
    let file = file.to_string_lossy().into_owned();
    visit.options.extend(["--config".to_owned(), file]);
    let host = "other.example.net";
    let attacks = ways(host);
    visit.controls(ground, checks, &attacks)?;
    visit.refuses(ground, checks, &attacks)?;
    checks.same("nothing was sent", &visit.log(), &Vec::new());
    let rules: Vec<String> = visit.rules_against(host).into_iter().collect();
    let rule = vec!["net.not-listed".to_owned()];
    checks.same("the rule of every refusal", &rules, &rule);
    let asked = |event: &&Value| event["event"] == "net.asked";
    let events = visit.events();
    let asked = events.iter().filter(asked).count();
    // The plain greeting and the one in pieces come by both addresses of the name.
    checks.that("each was asked about", asked >= attacks.len(), || {
        asked.to_string()
    });
    visit.serves(ground, checks, &ways("allowed.example.com"))?;
    Ok(())
}

pub(super) fn open(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let options = [
        "--network",
        "open",
        "--deny-host",
        "denied.tree.example.com",
    ];
    let visit = Visit::new(ground, &options)?;
    for host in ["allowed.example.com", "other.example.net"] {
        visit.serves(ground, checks, &ways(host))?;
    }
    let mut attacks = Vec::new();
    for host in [
        "denied.tree.example.com",
        "private.example.com",
        "metadata.example.com",
        "169.254.169.254",
        "10.0.0.1",
        "192.168.1.1",
        "100.64.0.1",
    ] {
        attacks.extend(ways(host));
    }
    visit.controls(ground, checks, &attacks)?;
    visit.refuses(ground, checks, &attacks)?;
    checks.same(
        "nothing of these was reached",
        &visit.reached(),
        &Vec::new(),
    );
    Ok(())
}
