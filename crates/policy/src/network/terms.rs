//! What the terms of allow rules mean for a connection: its server name, a change of protocol, its bytes, its program.
//!
//! Invariant: a term widens only what its own rule allows.

use std::cmp::Reverse;

use super::{Reach, allow, deny};
use crate::allow::{AllowRule, ServerName};
use crate::decision::{Decision, Grant};
use crate::host::Host;
use crate::policy::NetworkPolicy;
use crate::rule::RuleId;

const SERVER_NAME_CAUTION: &str =
    "TLS is then not compared with the host: any server behind the host's address may be meant";
const UPGRADE_CAUTION: &str = "what is said after the change of protocol is not read";

impl NetworkPolicy {
    /// Whether some rule asks which program calls.
    #[must_use]
    pub fn asks_for_programs(&self) -> bool {
        let mut rules = self.allow.iter();
        rules.any(|rule| !rule.value.terms().programs.is_empty())
    }

    /// The policy for `program`, without the rules that are for others; `None` for one that is not known.
    ///
    /// # Security
    /// A path says which file runs, not what it was made to do: a program that takes another's words, or lets itself be
    /// loaded with its code, lends it its name.
    #[must_use]
    pub fn for_program(&self, program: Option<&str>) -> Self {
        let mut own = self.clone();
        own.allow
            .retain(|rule| rule.value.terms().means_program(program));
        own
    }

    /// `refused` by the policy for one program, said as what it is where the rules for others would allow it.
    #[must_use]
    pub fn refuse_program(&self, host: &Host, port: u16, refused: Decision) -> Decision {
        let (
            Decision::Deny {
                rule: RuleId::NotListed,
                grant,
                ..
            },
            Decision::Allow { origin, .. },
        ) = (&refused, self.decide_outbound(host, port))
        else {
            return refused;
        };
        deny(RuleId::OtherProgram, origin, grant.clone())
    }

    /// Whether the server name of TLS to `host` at `port` must be the host.
    #[must_use]
    pub fn server_name(&self, host: &Host, port: u16) -> ServerName {
        // A rule with fewer bytes than the one that allows would lend it its term, but not its limit.
        let allows = self.rules_for(host, port).min_by_key(|rule| limits(rule));
        let lends = |rule: &AllowRule| {
            rule.terms().server_name == ServerName::Any
                && allows.is_some_and(|allows| most(rule) >= most(allows))
        };
        if self.rules_for(host, port).any(lends) && self.reach(host, port) == Reach::Whole {
            ServerName::Any
        } else {
            ServerName::Same
        }
    }

    /// The option that lets TLS to `host` at `port` hide its server name.
    #[must_use]
    pub fn grant_server_name(&self, host: &Host, port: u16) -> Option<Grant> {
        // Requests that are read need it.
        let needed = self.reach(host, port) == Reach::Requests;
        let rule = format!("{host}:{port} server-name=any");
        (!needed).then(|| grant(&rule, SERVER_NAME_CAUTION))?
    }

    /// Judges a change to `protocol` by a request that is allowed. What is said afterwards counts under the rule that
    /// allows the change.
    ///
    /// # Security
    /// The target chooses all of it.
    #[must_use]
    pub fn decide_upgrade(
        &self,
        host: &Host,
        port: u16,
        (method, target): (&str, &str),
        protocol: &str,
    ) -> Decision {
        let read = self.reach(host, port) == Reach::Requests;
        let fits = |rule: &&AllowRule| {
            let scope = rule.scope().filter(|_| read);
            scope.is_none_or(|scope| scope.allows(method, target) == Ok(true))
        };
        let names = |rule: &&AllowRule| {
            let mut known = rule.terms().upgrade.iter();
            known.any(|own| own.as_str().eq_ignore_ascii_case(protocol))
        };
        let rules = self.rules_for(host, port).filter(fits).filter(names);
        let found = rules.min_by_key(|rule| limits(rule));
        if let Some(rule) = found {
            return allow(RuleId::AllowedHost, rule.to_string());
        }
        let path = target.split('?').next().unwrap_or_default();
        let words = match read {
            true if path.contains('*') => None,
            true => Some(format!("{method} {path} ")),
            false => Some(String::new()),
        };
        let rule = words.map(|words| format!("{host}:{port} {words}upgrade={protocol}"));
        let reason = format!("the request asks for another protocol ({protocol})");
        let grant = rule.and_then(|rule| grant(&rule, UPGRADE_CAUTION));
        deny(RuleId::Upgrade, reason, grant)
    }

    /// The most bytes that may leave under the rule that is printed as `origin`; `None` for any number.
    #[must_use]
    pub fn bytes_out(&self, origin: &str) -> Option<u64> {
        let mut rules = self.allow.iter().map(|rule| &rule.value);
        let rule = rules.find(|rule| rule.to_string() == origin)?;
        rule.terms().bytes_out.map(|size| size.0)
    }
}

/// The order in which rules are looked for one that allows: those that limit less first.
pub(super) fn limits(rule: &AllowRule) -> (bool, bool, Reverse<u64>) {
    let scoped = rule.scope().is_some();
    let for_programs = !rule.terms().programs.is_empty();
    (scoped, for_programs, Reverse(most(rule)))
}

/// The most bytes that may leave under `rule`.
fn most(rule: &AllowRule) -> u64 {
    rule.terms().bytes_out.map_or(u64::MAX, |size| size.0)
}

/// The option that is the rule `text`; `None` for what no rule can say.
fn grant(text: &str, caution: &str) -> Option<Grant> {
    let rule: AllowRule = text.parse().ok()?;
    Some(Grant {
        arguments: vec!["--allow-host".to_owned(), rule.to_string()],
        caution: caution.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::Decision;
    use crate::document::NetworkMode;
    use crate::layers::{LayerKind, Sourced};

    fn policy(allow: &[&str]) -> NetworkPolicy {
        let layer = LayerKind::User;
        let mut policy = NetworkPolicy::offline();
        policy.mode = Sourced {
            value: NetworkMode::Allowlist,
            layer,
        };
        let rules = allow.iter().map(|text| text.parse().unwrap());
        policy.allow = rules.map(|value| Sourced { value, layer }).collect();
        policy
    }

    fn host(text: &str) -> Host {
        Host::parse(text.as_bytes()).unwrap()
    }

    fn rule_of(decision: &Decision) -> RuleId {
        match decision {
            Decision::Allow { rule, .. } | Decision::Deny { rule, .. } => *rule,
        }
    }

    #[test]
    fn a_server_name_may_be_hidden_only_where_a_rule_says_so() {
        let policy = policy(&["a.example server-name=any", "b.example", "a.example:22"]);
        assert_eq!(policy.server_name(&host("a.example"), 443), ServerName::Any);
        assert_eq!(policy.server_name(&host("a.example"), 22), ServerName::Same);
        assert_eq!(
            policy.server_name(&host("b.example"), 443),
            ServerName::Same
        );
        let grant = policy.grant_server_name(&host("b.example"), 443).unwrap();
        assert_eq!(grant.arguments[1], "b.example:443 server-name=any");
    }

    #[test]
    fn a_protocol_is_changed_only_to_what_the_rule_of_the_request_names() {
        let policy = policy(&[
            "a.example upgrade=websocket",
            "b.example GET /ws upgrade=websocket",
            "b.example POST /in",
            "c.example",
        ]);
        for (name, target, protocol, allowed) in [
            ("a.example", "/x", "WebSocket", true),
            ("a.example", "/x", "irc", false),
            ("b.example", "/ws?t=1", "websocket", true),
            ("b.example", "/in", "websocket", false),
            ("c.example", "/", "websocket", false),
        ] {
            let decision = policy.decide_upgrade(&host(name), 80, ("GET", target), protocol);
            let is_allowed = matches!(decision, Decision::Allow { .. });
            assert_eq!(is_allowed, allowed, "{name} {target} {protocol}");
        }
        let refused =
            policy.decide_upgrade(&host("b.example"), 80, ("GET", "/in?t=secret"), "websocket");
        let Decision::Deny { rule, grant, .. } = refused else {
            panic!("allowed")
        };
        assert_eq!(rule, RuleId::Upgrade);
        let words = grant.unwrap().arguments;
        assert_eq!(words[1], "b.example:80 GET /in upgrade=websocket");
    }

    #[test]
    fn a_term_comes_with_the_limit_of_its_own_rule() {
        let policy = policy(&[
            "a.example",
            "a.example server-name=any upgrade=websocket bytes-out=1KiB",
            "a.example upgrade=websocket bytes-out=2KiB",
            "b.example bytes-out=1KiB",
            "b.example server-name=any",
        ]);
        assert_eq!(
            policy.server_name(&host("a.example"), 443),
            ServerName::Same
        );
        assert_eq!(policy.server_name(&host("b.example"), 443), ServerName::Any);
        let changed = policy.decide_upgrade(&host("a.example"), 80, ("GET", "/"), "websocket");
        let Decision::Allow { origin, .. } = changed else {
            panic!("refused")
        };
        assert_eq!(policy.bytes_out(&origin), Some(2048));
    }

    #[test]
    fn the_rules_of_other_programs_count_for_nothing() {
        let policy = policy(&["a.example program=/usr/bin/git", "b.example"]);
        assert!(policy.asks_for_programs());
        for (program, rule) in [
            (Some("/usr/bin/git"), RuleId::AllowedHost),
            (Some("/usr/bin/curl"), RuleId::OtherProgram),
            (None, RuleId::OtherProgram),
        ] {
            let own = policy.for_program(program);
            let decision = own.decide_outbound(&host("a.example"), 443);
            let decision = policy.refuse_program(&host("a.example"), 443, decision);
            assert_eq!(rule_of(&decision), rule, "{program:?}");
            let other = own.decide_outbound(&host("b.example"), 443);
            assert_eq!(rule_of(&other), RuleId::AllowedHost);
            let unlisted = own.decide_outbound(&host("c.example"), 443);
            let unlisted = policy.refuse_program(&host("c.example"), 443, unlisted);
            assert_eq!(rule_of(&unlisted), RuleId::NotListed);
        }
    }

    #[test]
    fn of_two_rules_the_one_that_limits_less_allows() {
        let policy = policy(&[
            "a.example bytes-out=1KiB",
            "a.example bytes-out=2KiB",
            "a.example program=/b",
        ]);
        let Decision::Allow { origin, .. } = policy.decide_outbound(&host("a.example"), 80) else {
            panic!("refused")
        };
        assert_eq!(policy.bytes_out(&origin), Some(2048));
        assert_eq!(policy.bytes_out("network.mode"), None);
    }
}
