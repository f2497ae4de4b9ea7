//! What was refused, as a person reads it after a command.
//!
//! Invariant: nothing that the target chose is printed unescaped, and no target can fill the screen.

use std::fmt::Write as _;

use ringfence_policy::decision::{
    Denial, Evidence, Operation, OwnPermissions, Process, RefusedRoot,
};
use ringfence_policy::{Grant, RuleId};

use crate::render::escape::{one_line, shell_words};
use crate::render::style::{Colour, Tone};

/// Groups that are printed; the rest is counted.
const MAX_GROUPS: usize = 12;
/// Further objects that are named within a group; the rest is counted.
const MAX_OBJECTS: usize = 4;
/// Hidden paths that are told one by one, by the grant they need; more are told together.
const MAX_REACHED: usize = 3;
/// Characters of an object that are printed.
const MAX_OBJECT: usize = 200;

/// Characters of an option that are printed: a cut one would be another.
const MAX_GRANT: usize = 1000;

/// A denial and how often it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Counted<'a> {
    /// The denial.
    pub(crate) denial: &'a Denial,
    /// How often.
    pub(crate) count: u64,
}

/// Denials that one grant would lift, or that one rule refuses.
struct Group<'a> {
    operation: Operation,
    rule: RuleId,
    grant: Option<&'a Grant>,
    refused_root: Option<&'a RefusedRoot>,
    own_permissions: OwnPermissions,
    evidence: Evidence,
    objects: Vec<&'a str>,
    /// Who tried, as far as it is known.
    processes: Vec<&'a Process>,
    count: u64,
}

/// Renders `denials` in the order they came in, grouped; `verb` is the command a person typed (`run`, `shell`).
pub(crate) fn render(denials: &[Counted<'_>], verb: &str, colour: Colour) -> String {
    let (mut refused, failing): (Vec<_>, Vec<_>) = group(denials)
        .into_iter()
        .partition(|group| group.own_permissions == OwnPermissions::Allow);
    if !refused.iter().all(is_socket_attempt) {
        refused.retain(|group| !is_socket_attempt(group));
    }
    let mut text = String::new();
    let reached = refused
        .extract_if(.., |group| group.evidence == Evidence::Reached)
        .collect::<Vec<_>>();
    if reached.len() > MAX_REACHED {
        render_reached(&mut text, &reached, colour);
    } else {
        refused.extend(reached);
    }
    for group in refused.iter().take(MAX_GROUPS) {
        render_group(&mut text, group, verb, colour);
    }
    // Writing to a String can't fail, here and below.
    if let Some(rest) = refused
        .len()
        .checked_sub(MAX_GROUPS)
        .filter(|rest| *rest > 0)
    {
        let _ = writeln!(
            text,
            "ringfence: {rest} more kinds of refusals; `--events FILE` records all of them"
        );
    }
    for group in failing.iter().take(MAX_GROUPS) {
        let _ = writeln!(
            text,
            "ringfence: {} {}{} also fails without Ringfence (file permissions)",
            operation(group.operation),
            first(group),
            others(group),
        );
    }
    text
}

/// A refused attempt to make a Unix socket. The C library makes one for every look-up of a name and does without, so
/// that it is worth a line only when nothing else can have made the command fail. The record has them all.
fn is_socket_attempt(group: &Group<'_>) -> bool {
    group.rule == RuleId::UnixSocket && group.grant.is_none()
}

fn group<'a>(denials: &[Counted<'a>]) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    for Counted { denial, count } in denials {
        let same = groups.iter_mut().find(|group| {
            group.operation == denial.operation
                && group.rule == denial.rule
                && group.own_permissions == denial.own_permissions
                && group.grant == denial.grant.as_ref()
                && group.refused_root == denial.refused_root.as_deref()
                && (group.evidence == Evidence::Reached) == (denial.evidence == Evidence::Reached)
        });
        match same {
            Some(group) => {
                group.count += count;
                let process = denial.process.as_deref();
                let process = process.filter(|process| !group.processes.contains(process));
                group.processes.extend(process);
                if !group.objects.contains(&denial.object.as_str()) {
                    group.objects.push(&denial.object);
                }
            }
            None => groups.push(Group {
                operation: denial.operation,
                rule: denial.rule,
                grant: denial.grant.as_ref(),
                refused_root: denial.refused_root.as_deref(),
                own_permissions: denial.own_permissions,
                evidence: denial.evidence,
                objects: vec![&denial.object],
                processes: denial.process.as_deref().into_iter().collect(),
                count: *count,
            }),
        }
    }
    groups
}

fn render_group(text: &mut String, group: &Group<'_>, verb: &str, colour: Colour) {
    let times = if group.count > 1 {
        format!(", {} times", group.count)
    } else {
        String::new()
    };
    let _ = writeln!(
        text,
        "ringfence: {} {} {}{} (rule {}){times}",
        colour.paint(Tone::Bad, "denied"),
        operation(group.operation),
        first(group),
        callers(&group.processes),
        group.rule.name(),
    );
    let others = others(group);
    if !others.is_empty() {
        let _ = writeln!(text, "  also:{}", others.trim_start_matches(','));
    }
    if is_socket_attempt(group) {
        let _ = writeln!(
            text,
            "  programs look users and hosts up by such a socket too, and do without it\n  \
             to allow one by its path: ringfence {verb} --unix-socket PATH ... (`ringfence explain connect PATH`)"
        );
        return;
    }
    if group.rule == RuleId::OutsideProcess {
        text.push_str("  the session has started no such process; others can't be reached, and no option allows it\n");
        return;
    }
    if group.evidence == Evidence::Reached {
        text.push_str("  it is hidden; the command came to it, or only looked at its name (`--observe all` tells)\n");
    }
    if group.rule == RuleId::NewEntry {
        text.push_str("  nothing can be made, removed or renamed directly in that directory at the partial level: work in one below it (`ringfence doctor` says what is missing)\n");
        return;
    }
    text.push_str(&render_grant(group.grant, group.refused_root, verb));
}

/// What a command came to that goes through a home or a tree and looks at every name: one block for all.
fn render_reached(text: &mut String, groups: &[Group<'_>], colour: Colour) {
    let objects: Vec<_> = groups.iter().flat_map(|group| &group.objects).collect();
    let shown: Vec<_> = objects
        .iter()
        .take(MAX_OBJECTS)
        .map(|object| shortened(object))
        .collect();
    let rest = objects.len().saturating_sub(shown.len());
    let more = if rest > 0 {
        format!(", {rest} more")
    } else {
        String::new()
    };
    let _ = writeln!(
        text,
        "ringfence: {} read of {} hidden paths: {}{more}\n  \
         the command came to them, or only looked at their names (`--observe all` tells)\n  \
         to allow one: `ringfence explain read PATH` says how",
        colour.paint(Tone::Bad, "denied"),
        objects.len(),
        shown.join(", "),
    );
}

/// The line that says how to allow it, with its caution.
pub(crate) fn render_grant(
    grant: Option<&Grant>,
    refused_root: Option<&RefusedRoot>,
    verb: &str,
) -> String {
    let mut text = String::new();
    match (grant, refused_root) {
        (Some(grant), _) => {
            let words = shell_words(&grant.arguments);
            let length = words.chars().count();
            let _ = if length > MAX_GRANT {
                writeln!(
                    text,
                    "  to allow: an option of {length} characters; `--events FILE` records it"
                )
            } else {
                writeln!(text, "  to allow: ringfence {verb} {words} ...")
            };
            if !grant.caution.is_empty() {
                let _ = writeln!(text, "  caution: {}", one_line(&grant.caution));
            }
        }
        (None, Some(refused)) => {
            let _ = writeln!(
                text,
                "  no option allows this: `{}` can't be a writable root: {}\n  instead: {}",
                shortened(&refused.directory),
                one_line(&refused.reason),
                one_line(&refused.instead),
            );
        }
        (None, None) => text.push_str("  no option allows this\n"),
    }
    text
}

fn first(group: &Group<'_>) -> String {
    group
        .objects
        .first()
        .map(|object| shortened(object))
        .unwrap_or_default()
}

/// Who tried, by the file name of the first one's program.
fn callers(processes: &[&Process]) -> String {
    let Some((first, others)) = processes.split_first() else {
        return String::new();
    };
    let name = first.program.rsplit('/').next().unwrap_or_default();
    let others = if others.is_empty() { "" } else { " and others" };
    format!(" by {} (pid {}){others}", shortened(name), first.id)
}

fn others(group: &Group<'_>) -> String {
    let mut text = String::new();
    for object in group.objects.iter().skip(1).take(MAX_OBJECTS) {
        let _ = write!(text, ", {}", shortened(object));
    }
    if let Some(rest) = group
        .objects
        .len()
        .checked_sub(1 + MAX_OBJECTS)
        .filter(|rest| *rest > 0)
    {
        let _ = write!(text, ", {rest} more");
    }
    text
}

/// `object` on one line, cut where it is long.
pub(crate) fn shortened(object: &str) -> String {
    // The sender escapes once; a second pass leaves escaped text as it is and catches what was not.
    let escaped = one_line(object);
    if escaped.chars().count() <= MAX_OBJECT {
        return escaped.into_owned();
    }
    let mut text: String = escaped.chars().take(MAX_OBJECT).collect();
    text.push('…');
    text
}

/// The operation in one word.
pub(crate) fn operation(operation: Operation) -> &'static str {
    match operation {
        Operation::Read => "read",
        Operation::Write => "write",
        Operation::Connect => "connect",
        Operation::Syscall => "syscall",
        Operation::Signal => "signal",
        Operation::Trace => "trace",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denial(object: &str, grant: Option<&str>) -> Denial {
        Denial {
            operation: Operation::Write,
            object: object.to_owned(),
            rule: RuleId::OutsideWritableRoots,
            grant: grant.map(|root| Grant {
                arguments: vec!["--writable-root".to_owned(), root.to_owned()],
                caution: String::new(),
            }),
            refused_root: None,
            syscall: "openat".to_owned(),
            evidence: Evidence::Predicted,
            own_permissions: OwnPermissions::Allow,
            process: None,
        }
    }

    fn rendered(denials: &[Denial]) -> String {
        let counted: Vec<_> = denials
            .iter()
            .map(|denial| Counted { denial, count: 1 })
            .collect();
        render(&counted, "run", Colour::Plain)
    }

    #[test]
    fn one_denial_reads_as_documented() {
        assert_eq!(
            rendered(&[denial("/etc/hosts", Some("/etc"))]),
            "ringfence: denied write /etc/hosts (rule fs.outside-writable-roots)\n  \
             to allow: ringfence run --writable-root /etc ...\n"
        );
    }

    #[test]
    fn who_tried_is_told_by_its_program_and_can_write_nothing() {
        let mut refused = denial("evil.example.com:443", None);
        refused.operation = Operation::Connect;
        refused.rule = RuleId::NotListed;
        refused.process = Some(Box::new(Process {
            id: 12,
            program: "/usr/bin/curl".to_owned(),
        }));
        assert_eq!(
            rendered(std::slice::from_ref(&refused)),
            "ringfence: denied connect evil.example.com:443 by curl (pid 12) (rule net.not-listed)\n  \
             no option allows this\n"
        );
        let mut other = refused.clone();
        other.process = Some(Box::new(Process {
            id: 13,
            program: "/usr/bin/python3".to_owned(),
        }));
        let text = rendered(&[refused.clone(), refused.clone(), other]);
        assert!(
            text.contains(" by curl (pid 12) and others (rule "),
            "{text}"
        );
        refused.process = Some(Box::new(Process {
            id: 12,
            program: format!("/tmp/\u{1b}[2J\n{}", "x".repeat(5000)),
        }));
        let text = rendered(&[refused]);
        assert!(!text.contains('\u{1b}') && text.len() < 500, "{text}");
        assert_eq!(text.lines().count(), 2);
    }

    #[test]
    fn denials_with_the_same_grant_are_one_block() {
        let denials: Vec<_> = (0..9)
            .map(|n| denial(&format!("/etc/{n}"), Some("/etc")))
            .collect();
        assert_eq!(
            rendered(&denials),
            "ringfence: denied write /etc/0 (rule fs.outside-writable-roots), 9 times\n  \
             also: /etc/1, /etc/2, /etc/3, /etc/4, 4 more\n  \
             to allow: ringfence run --writable-root /etc ...\n"
        );
    }

    #[test]
    fn a_target_can_neither_fill_the_screen_nor_write_to_it() {
        let many: Vec<_> = (0..1000)
            .map(|n| denial(&format!("/{n}\n\u{1b}[2J"), Some(&format!("/{n}"))))
            .collect();
        let text = rendered(&many);
        assert_eq!(text.lines().count(), 2 * MAX_GROUPS + 1);
        assert!(!text.contains('\u{1b}'));
        assert!(text.contains("988 more kinds of refusals"));
        let long = rendered(&[denial(&"x".repeat(5000), None)]);
        assert!(long.len() < 400, "{}", long.len());
    }

    #[test]
    fn attempts_at_a_socket_are_told_only_when_nothing_else_is() {
        let mut attempt = denial("AF_UNIX socket", None);
        attempt.rule = RuleId::UnixSocket;
        let alone = rendered(std::slice::from_ref(&attempt));
        assert!(alone.contains("rule net.unix-socket"), "{alone}");
        assert!(
            alone.contains("--unix-socket PATH") && !alone.contains("no option"),
            "{alone}"
        );
        let write = denial("/etc/hosts", Some("/etc"));
        assert_eq!(rendered(&[attempt, write.clone()]), rendered(&[write]));
    }

    #[test]
    fn a_new_entry_at_the_partial_level_says_where_to_work() {
        let mut entry = denial("/w/new", None);
        entry.rule = RuleId::NewEntry;
        let text = rendered(&[entry]);
        assert!(text.contains("work in one below it"), "{text}");
        assert!(!text.contains("no option"), "{text}");
    }

    #[test]
    fn a_hidden_path_that_was_reached_is_told_as_what_it_is() {
        let mut reached = denial("/home/ann/.netrc", None);
        reached.operation = Operation::Read;
        reached.rule = RuleId::Secret;
        reached.evidence = Evidence::Reached;
        reached.grant = Some(Grant {
            arguments: vec!["--allow-read".to_owned(), "~/.netrc".to_owned()],
            caution: String::new(),
        });
        assert_eq!(
            rendered(&[reached]),
            "ringfence: denied read /home/ann/.netrc (rule fs.secret)\n  \
             it is hidden; the command came to it, or only looked at its name (`--observe all` tells)\n  \
             to allow: ringfence run --allow-read ~/.netrc ...\n"
        );
    }

    #[test]
    fn who_looks_at_every_name_is_told_once() {
        let reached = |name: &str| {
            let mut reached = denial(name, Some(name));
            reached.evidence = Evidence::Reached;
            reached
        };
        let few: Vec<_> = ["/a", "/b", "/c"].map(reached).into();
        assert_eq!(rendered(&few).matches("to allow: ").count(), 3);
        let many: Vec<_> = ["/a", "/b", "/c", "/d", "/e", "/f"].map(reached).into();
        let text = rendered(&many);
        assert!(
            text.starts_with("ringfence: denied read of 6 hidden paths: /a, /b, /c, /d, 2 more\n"),
            "{text}"
        );
        assert_eq!(text.lines().count(), 3);
    }

    #[test]
    fn a_process_outside_is_said_to_be_out_of_reach_of_every_option() {
        let mut signal = denial("process 4321", None);
        signal.operation = Operation::Signal;
        signal.rule = RuleId::OutsideProcess;
        let text = rendered(&[signal]);
        assert!(
            text.starts_with("ringfence: denied signal process 4321 (rule process.outside)\n"),
            "{text}"
        );
        assert!(text.contains("no option allows it"), "{text}");
    }

    #[test]
    fn an_option_is_never_cut() {
        let text = rendered(&[denial("/d/x", Some(&format!("/{}", "d".repeat(4000))))]);
        assert!(text.contains("an option of") && text.len() < 400, "{text}");
    }

    #[test]
    fn what_permissions_refuse_is_not_called_a_denial() {
        let mut own = denial("/etc/shadow", Some("/etc"));
        own.own_permissions = OwnPermissions::Refuse;
        assert_eq!(
            rendered(&[own]),
            "ringfence: write /etc/shadow also fails without Ringfence (file permissions)\n"
        );
    }
}
