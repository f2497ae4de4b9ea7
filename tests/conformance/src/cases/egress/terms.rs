//! The terms of rules: each opens or limits what it says, and without it the same is refused.

use super::{REQUEST, Visit, is_turned_away, ways, words};
use crate::checks::{Checks, Failure};
use crate::ground::Ground;

const HOST: &str = "allowed.example.com";

pub(super) fn terms(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let request = REQUEST.replace("HOST", HOST);
    let change = "GET / HTTP/1.1\\r\\nhost: HOST\\r\\nconnection: upgrade, close\\r\\nupgrade: websocket\\r\\n\\r\\n";
    let change = change.replace("HOST", HOST);
    let own = format!("program={}", ground.probe.to_string_lossy());
    // What the rule says, the attempt that needs it, and the rule that refuses the attempt without it.
    for (term, without, attempt, rule) in [
        (
            "server-name=any",
            "",
            words(&["hello", HOST, "443", "-"]),
            "net.host-mismatch",
        ),
        (
            "upgrade=websocket",
            "upgrade=irc",
            words(&["http", HOST, "80", &change]),
            "net.upgrade",
        ),
        (
            "bytes-out=1MiB",
            "bytes-out=8B",
            words(&["proxied", "connect", HOST, "80", &request]),
            "net.limit",
        ),
        (
            &own,
            "program=/usr/bin/true",
            words(&["http", HOST, "80", &request]),
            "net.other-program",
        ),
    ] {
        let rule_with = |term: &str| format!("{HOST} {term}").trim_end().to_owned();
        let visit = |term: &str| {
            let rule = rule_with(term);
            Visit::new(ground, &["--network", "allowlist", "--allow-host", &rule])
        };
        let refused = visit(without)?;
        let verdict = refused.attack_once(ground, attempt.clone())?;
        // Bytes that are too many end the connection; everything else is told.
        let is_refused = is_turned_away(&verdict);
        checks.that(&format!("{term} is missing"), is_refused, || {
            format!("must be turned away, but: {verdict:?}")
        });
        let rules: Vec<String> = refused.rules_against(HOST).into_iter().collect();
        checks.same("the rule of the refusal", &rules, &vec![rule.to_owned()]);
        // A connection over which no byte goes may stand.
        let mut reached = refused.reached();
        reached.retain(|line| !line.starts_with("tcp "));
        checks.same("nothing was said to the origin", &reached, &Vec::new());
        let open = visit(term)?;
        checks.sibling(term, &open.attack_once(ground, attempt)?);
    }
    // A program's rule is nobody else's, by every way in.
    let rule = format!("{HOST} program=/usr/bin/true");
    let visit = Visit::new(ground, &["--network", "allowlist", "--allow-host", &rule])?;
    let attacks = ways(HOST);
    visit.controls(ground, checks, &attacks)?;
    visit.refuses(ground, checks, &attacks)?;
    checks.same("nothing was reached", &visit.reached(), &Vec::new());
    Ok(())
}
