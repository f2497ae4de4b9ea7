//! `ringfence explain`: the decision on one object, its rule and its grant, with nothing run.

use std::ffi::OsStr;
use std::io::stdout;
use std::path::{Path, PathBuf};

use ringfence::explain::{explain, resolve_links};
use ringfence::platform::{self, PlanOptions};
use ringfence_plan::step::Observe;
use ringfence_plan::windows::{SAME_USER, is_same_user};
use ringfence_policy::decision::RefusedRoot;
use ringfence_policy::network::Destination;
use ringfence_policy::{Decision, ExitCode, Operation, Policy, RuleId};
use serde::Serialize;

use crate::cli::{Explain, ExplainOperation};
use crate::context;
use crate::failure::Failure;
use crate::output;
use crate::render::denials::{operation, render_grant};
use crate::render::escape::{escape_os, one_line};
use crate::render::style::{Colour, Tone};

/// Whether an object exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Present,
    Absent,
}

/// What was judged, and how.
#[derive(Debug, Serialize)]
struct Explanation {
    operation: Operation,
    /// As it was named.
    object: String,
    /// What it leads to, where that is something else.
    leads_to: Option<String>,
    /// Whether anything is there now.
    #[serde(skip)]
    presence: Presence,
    #[serde(flatten)]
    decision: Decision,
    /// The directory that would have to be writable, where none can be: why there is no grant.
    refused_root: Option<RefusedRoot>,
    /// What of the policy nothing holds here, whatever was decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    lacks: Option<&'static str>,
}

/// Prints the decision.
pub(crate) fn run(options: &Explain) -> Result<u8, Failure> {
    let policy = context::load(&options.policy)?.loaded.policy;
    let explanation = match options.operation {
        ExplainOperation::Read => on_path(&policy, Operation::Read, &options.object)?,
        ExplainOperation::Write => on_path(&policy, Operation::Write, &options.object)?,
        ExplainOperation::Connect => on_destination(&policy, &options.object)?,
    };
    if options.json {
        output::json(&explanation)?;
    } else {
        output::data(&render(&explanation, Colour::of(&stdout())))?;
    }
    Ok(0)
}

fn on_path(policy: &Policy, operation: Operation, object: &OsStr) -> Result<Explanation, Failure> {
    let plan = platform::plan(
        policy,
        PlanOptions {
            observe: Observe::Off,
        },
    )?;
    let path = absolute(policy, object)?;
    let real = resolve_links(&path);
    let explained = explain(policy, &plan, operation, &path);
    Ok(Explanation {
        operation,
        object: escape_os(&path),
        leads_to: (real != path).then(|| escape_os(&real)),
        presence: if real.symlink_metadata().is_ok() {
            Presence::Present
        } else {
            Presence::Absent
        },
        decision: explained.decision,
        refused_root: explained.refused_root,
        lacks: lacks(policy),
    })
}

/// A URL is no destination: what is decided on is a host and a port.
#[derive(Debug, thiserror::Error)]
#[error("`{url}` is a URL, and a connection is to a host and a port")]
struct UrlError {
    url: String,
}

fn refuse_url(object: &OsStr) -> Result<(), Failure> {
    let text = object.to_string_lossy();
    let Some((scheme, rest)) = text.split_once("://") else {
        return Ok(());
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let port = match scheme {
        "http" => "80",
        _ => "443",
    };
    let has_port = host
        .rsplit(':')
        .next()
        .is_some_and(|port| port.parse::<u16>().is_ok());
    let destination = if has_port {
        host.to_owned()
    } else {
        format!("{host}:{port}")
    };
    let url = one_line(&text).into_owned();
    let failure = Failure::new(ExitCode::Usage, UrlError { url });
    Err(failure.with_hint(format!(
        "ringfence explain connect {}",
        one_line(&destination)
    )))
}

/// A destination with a separator is a socket's or a pipe's path, everything else HOST:PORT.
fn on_destination(policy: &Policy, object: &OsStr) -> Result<Explanation, Failure> {
    refuse_url(object)?;
    let is_path = |byte: &u8| std::path::is_separator(char::from(*byte));
    if object.as_encoded_bytes().iter().any(is_path) {
        return on_path(policy, Operation::Connect, object);
    }
    let destination = Destination::internet(&object.to_string_lossy())?;
    Ok(Explanation {
        operation: Operation::Connect,
        object: one_line(&object.to_string_lossy()).into_owned(),
        leads_to: None,
        presence: Presence::Present,
        decision: policy.decide_connect(&destination),
        refused_root: None,
        lacks: lacks(policy),
    })
}

/// Same-user mode of Windows.
fn lacks(policy: &Policy) -> Option<&'static str> {
    (cfg!(windows) && is_same_user(policy)).then_some(SAME_USER)
}

/// `~` is the home; a relative path is seen from the current directory.
fn absolute(policy: &Policy, object: &OsStr) -> Result<PathBuf, Failure> {
    let path = Path::new(object);
    let path = match path.strip_prefix("~") {
        Ok(rest) => policy.home.as_path().join(rest),
        Err(_) => context::current_directory()?.join(path),
    };
    Ok(context::absolute(path)?.into())
}

fn render(explanation: &Explanation, colour: Colour) -> String {
    let leads_to = explanation
        .leads_to
        .as_deref()
        // Names of Windows tell no case apart.
        .filter(|real| !(cfg!(windows) && real.eq_ignore_ascii_case(&explanation.object)))
        .map(|real| format!(", which is {real},"))
        .unwrap_or_default();
    let object = format!(
        "{} {}{leads_to}",
        operation(explanation.operation),
        explanation.object
    );
    let lacks = explanation.lacks.map(|what| {
        format!("  missing here: {what}: nothing but the rights on the roots is held\n")
    });
    let lacks = lacks.unwrap_or_default();
    match &explanation.decision {
        Decision::Allow { rule, origin } => format!(
            "{} {object} (rule {})\n{}{lacks}",
            colour.paint(Tone::Good, "allowed"),
            rule.name(),
            decided_by(origin),
        ),
        Decision::Deny {
            rule,
            origin,
            grant,
        } => format!(
            "{} {object} (rule {})\n{}{lacks}{}{}",
            colour.paint(Tone::Bad, "denied"),
            rule.name(),
            decided_by(origin),
            more(*rule, explanation.presence),
            render_grant(grant.as_ref(), explanation.refused_root.as_ref(), "run"),
        ),
    }
}

/// What a person has to know of a refusal beside its rule.
fn more(rule: RuleId, presence: Presence) -> &'static str {
    match rule {
        RuleId::SessionLoopback => {
            "  this is the session's own loopback: servers inside are reached, the host's are not\n"
        }
        RuleId::NewEntry => {
            "  at the partial level nothing is made, removed or renamed directly in that directory: work in one below it\n"
        }
        RuleId::Secret if presence == Presence::Absent => {
            "  looked for when a session starts: what a command makes under that name itself it can read\n"
        }
        _ => "",
    }
}

/// The words of the policy that the rule comes from.
fn decided_by(origin: &str) -> String {
    if origin.is_empty() {
        String::new()
    } else {
        format!("  decided by: {}\n", one_line(origin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_same_user_mode_each_answer_says_what_nothing_holds() {
        let explanation = |lacks| Explanation {
            operation: Operation::Connect,
            object: "example.com:443".to_owned(),
            leads_to: None,
            presence: Presence::Present,
            decision: Decision::Deny {
                rule: RuleId::NotListed,
                origin: String::new(),
                grant: None,
            },
            refused_root: None,
            lacks,
        };
        let same_user = explanation(Some(SAME_USER));
        let said = "network: advisory, secrets: readable";
        assert!(render(&same_user, Colour::Plain).contains(said));
        assert_eq!(serde_json::to_value(&same_user).unwrap()["lacks"], said);
        let held = explanation(None);
        assert!(!render(&held, Colour::Plain).contains("advisory"));
        assert!(serde_json::to_value(&held).unwrap().get("lacks").is_none());
    }
}
