//! `docs/setup-operations.md`: all that is done to a machine, each thing beside what takes it back.
//!
//! It is rendered from the closed lists of steps, which the compiler holds complete, and from the plan of a stored
//! machine. Invariant: a step that this page does not know does not compile.

use std::fmt::Write as _;

use ringfence_plan::windows::step::{
    MachineInverse, MachineStep, PersonInverse, PersonStep, Purpose,
};
use ringfence_plan::windows::{WindowsPath, WindowsPlan};

use super::verbs::describe;

const HEAD: &str = "<!-- Generated from the lists of steps by crates/backend; RINGFENCE_BLESS=1 cargo test -p ringfence-backend operations writes it anew. -->

# What set-up does to a Windows machine, and what takes it back

Not executed on Windows yet: this is what the plans say and what the executor does on a machine in memory.

Every change is written to a ledger before it is made: what will be done and what is there now, flushed to the disk;
then the change; then a look at the machine, because some calls say yes and do nothing; then a receipt. A failed step
takes everything back that was done before it. After a crash the next call goes on, or takes it back. `uninstall` is
the ledger backwards, the person's first, then the machine's, then a scan that prints what is left, or zero.

The ledgers are files of their own: the machine's below `%ProgramData%\\Ringfence`, written by set-up; a person's below
`%LOCALAPPDATA%\\Ringfence`, written with that person's rights. Both are gone when their last entry is undone. An elevated
set-up believes nothing in a person's ledger but where to look: it opens each object without following a link, compares
its id, and takes off entries for SIDs that the machine's own ledger names. It restores nothing from there.
";

/// What one verb does.
struct Operation {
    verb: &'static str,
    does: &'static str,
    safe: &'static str,
    removal: &'static str,
    kept: &'static str,
}

fn of_machine(step: &MachineStep) -> Operation {
    match step {
        MachineStep::EnsureGroup { .. } => Operation {
            verb: "EnsureGroup",
            does: "makes the person's local group",
            safe: "a new group has no rights; one of that name that we did not make stops set-up",
            removal: "deletes the group",
            kept: "a group of that name with another SID than the receipt's",
        },
        MachineStep::EnsureAccount { .. } => Operation {
            verb: "EnsureAccount",
            does: "makes a standard local account with its profile, in Users and our group (by SID); its password is made here, sealed, and kept while it works",
            safe: "an account of that name that we did not make stops set-up",
            removal: "disables it, ends its processes, deletes profile, sealed password, what the local security policy says of it, and the account; of one that somebody has deleted, what the policy kept",
            kept: "an account of that name with another SID than the receipt's",
        },
        MachineStep::DenyLogon { .. } => Operation {
            verb: "DenyLogon",
            does: "denies ways to sign in to our account",
            safe: "it only takes away, and only from an account of ours",
            removal: "gives back what the step had denied",
            kept: "what was denied before, and what others denied since",
        },
        MachineStep::MakeDirectory { .. } => Operation {
            verb: "MakeDirectory",
            does: "makes a directory of ours with a protected descriptor",
            safe: "below our own directory, no link followed; one that is there with another descriptor stops set-up",
            removal: "removes the directory with that file id and what is in it, or gives it the descriptor it had",
            kept: "another object at that path; what another person's set-up still needs; the administrator's `policy.toml`, with its directory",
        },
        MachineStep::SetValue { .. } => Operation {
            verb: "SetValue",
            does: "sets a value below HKEY_LOCAL_MACHINE",
            safe: "a closed list of keys: our own, and the accounts hidden from the sign-in screen",
            removal: "puts back what the value was, or removes it, and the key with it if we made that and it is empty",
            kept: "a value that somebody changed since; other values of the key",
        },
        MachineStep::InstallFilters { .. } => Operation {
            verb: "InstallFilters",
            does: "deletes our filters by key and adds these, in one transaction; provider and the person's sublayer come with the first",
            safe: "filters of our provider alone, each for an account of ours, or for everybody else beside a block beneath it",
            removal: "deletes them by key; provider and sublayer go with the last",
            kept: "filters of others; those of an earlier set-up come back when an upgrade fails",
        },
        MachineStep::AddFirewallRule { .. } => Operation {
            verb: "AddFirewallRule",
            does: "adds a blocking rule to Windows Firewall",
            safe: "it only blocks, and only an account of ours; a rule of that name that we did not make stops set-up",
            removal: "removes the rule that is equal in every property",
            kept: "a rule of that name that somebody edited: the scan names it",
        },
        MachineStep::ReservePorts { .. } => Operation {
            verb: "ReservePorts",
            does: "reserves TCP ports for the proxy, as an administered exclusion",
            safe: "ports that anybody uses or has reserved stop set-up",
            removal: "releases exactly that exclusion",
            kept: "other exclusions; it stays while another person's set-up needs it",
        },
    }
}

fn of_person(step: &PersonStep) -> Operation {
    match step {
        PersonStep::SetDacl { .. } => Operation {
            verb: "SetDacl",
            does: "replaces the DACL of one object; owner and group stay",
            safe: "the object is opened without following a link, and its id and descriptor are those that the plan saw, or nothing is done",
            removal: "puts back the DACL that it had",
            kept: "what somebody changed since: then exactly the recorded entries go, and what the step took away comes back",
        },
        PersonStep::Walk { .. } => Operation {
            verb: "Walk",
            does: "brings what lies below a directory in line, one object at a time, each with an entry of its own",
            safe: "no link is entered; a file with a name outside gets no write access and is reported",
            removal: "each object by its own entry; what was made meanwhile inherits anew, and what our accounts own becomes the person's",
            kept: "what others changed; objects that are gone",
        },
        PersonStep::MakeHome { .. } => Operation {
            verb: "MakeHome",
            does: "makes the private home of a workspace: temporary files, caches, application data",
            safe: "below our directory of this person; one that is there already stops it",
            removal: "removes the directory with that file id and what is in it",
            kept: "another object at that path",
        },
    }
}

fn machine_inverse(inverse: &MachineInverse) -> String {
    match inverse {
        MachineInverse::RemoveGroup { name } => format!("delete the group {name}"),
        MachineInverse::RemoveAccount { name, record } => {
            format!(
                "delete the account {name}, its profile and {}",
                record.printable()
            )
        }
        MachineInverse::AllowLogon { role, rights } => {
            format!("take {} denials off the {role:?} account", rights.len())
        }
        MachineInverse::RemoveDirectory { path } => format!("remove {}", path.printable()),
        MachineInverse::RestoreValue { key, name } => {
            format!("put back HKLM\\{key}\\{name}, or remove it")
        }
        MachineInverse::RemoveFilters { keys } => format!("delete {} filters by key", keys.len()),
        MachineInverse::RemoveFirewallRule { name } => format!("remove the rule {name}"),
        MachineInverse::ReleasePorts { ports } => {
            format!("release the TCP ports {} to {}", ports.first, ports.last)
        }
    }
}

fn person_words(step: &PersonStep) -> (String, String) {
    match step {
        PersonStep::SetDacl {
            object, purpose, ..
        } => (
            format!(
                "the DACL of {} ({})",
                object.path.printable(),
                purpose_word(*purpose)
            ),
            person_inverse(&step.inverse(), &object.path),
        ),
        PersonStep::Walk { root, .. } => (
            format!("what lies in {}", root.path.printable()),
            person_inverse(&step.inverse(), &root.path),
        ),
        PersonStep::MakeHome { path, .. } => (
            format!("the directory {}", path.printable()),
            person_inverse(&step.inverse(), path),
        ),
    }
}

fn person_inverse(inverse: &PersonInverse, path: &WindowsPath) -> String {
    match inverse {
        PersonInverse::RestoreDacl { remove, .. } => format!(
            "put back what {} had; if it changed since, take off exactly what was added ({})",
            path.printable(),
            remove.len()
        ),
        PersonInverse::Walked => "each object by its own entry".to_owned(),
        PersonInverse::RemoveHome { path } => format!("remove {}", path.printable()),
    }
}

const fn purpose_word(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Root => "a writable root",
        Purpose::Protected => "protected",
        Purpose::Between => "leads to something protected",
        Purpose::Ancestor => "passed through",
        Purpose::Tool => "tools",
        Purpose::Secret => "a secret in a root",
        Purpose::DeniedRead => "a secret elsewhere",
        Purpose::WorldWritable => "anyone may write it",
        Purpose::Profile => "the accounts' profile",
        Purpose::Walked => "below one of these",
    }
}

/// Keeps a table a table, whatever a name holds.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}

fn table(page: &mut String, operations: &[Operation]) {
    page.push_str("| step | does | safe, because | taken back | stays |\n|---|---|---|---|---|\n");
    for one in operations {
        let Operation {
            verb,
            does,
            safe,
            removal,
            kept,
        } = one;
        let _ = writeln!(page, "| `{verb}` | {does} | {safe} | {removal} | {kept} |");
    }
}

/// One of each verb, in the order in which they first occur.
fn verbs(operations: impl Iterator<Item = Operation>) -> Vec<Operation> {
    let mut found: Vec<Operation> = Vec::new();
    for operation in operations {
        if !found.iter().any(|one| one.verb == operation.verb) {
            found.push(operation);
        }
    }
    found
}

/// The page, with the plan of one machine as its example.
#[must_use]
pub fn render_operations(example: &WindowsPlan) -> String {
    let mut page = HEAD.to_owned();
    page.push_str("\n## Steps of the elevated set-up\n\n");
    table(
        &mut page,
        &verbs(example.machine_steps.iter().map(of_machine)),
    );
    page.push_str("\n## Steps with the person's own rights\n\n");
    table(
        &mut page,
        &verbs(example.person_steps.iter().map(of_person)),
    );
    page.push_str(
        "\n## One machine as an example\n\nThe stored machine `tests/golden/cases/windows-plain`: its plan, line by line, beside the inverses. `ringfence plan` prints\nthe same for yours, with every descriptor.\n\n| | set-up makes or sets | uninstall |\n|---|---|---|\n",
    );
    for (number, step) in (1..).zip(&example.machine_steps) {
        let (does, undoes) = (describe(step), machine_inverse(&step.inverse()));
        let _ = writeln!(page, "| {number} | {} | {} |", cell(&does), cell(&undoes));
    }
    page.push_str("\n| | the person's own rights set | uninstall |\n|---|---|---|\n");
    for (number, step) in (1..).zip(&example.person_steps) {
        let (does, undoes) = person_words(step);
        let _ = writeln!(page, "| {number} | {} | {} |", cell(&does), cell(&undoes));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::windows::tests::stored::stored_plan;

    fn example() -> WindowsPlan {
        stored_plan("windows-plain")
    }

    #[test]
    fn the_page_has_every_verb_and_at_most_eight_for_set_up() {
        let plan = example();
        assert_eq!(verbs(plan.machine_steps.iter().map(of_machine)).len(), 8);
        assert_eq!(verbs(plan.person_steps.iter().map(of_person)).len(), 3);
    }

    #[test]
    fn the_committed_operations_are_fresh() {
        let rendered = render_operations(&example());
        let path = format!(
            "{}/../../docs/setup-operations.md",
            env!("CARGO_MANIFEST_DIR")
        );
        if std::env::var_os("RINGFENCE_BLESS").is_some_and(|bless| bless == "1") {
            std::fs::write(&path, &rendered).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == rendered,
            "docs/setup-operations.md is stale: run `RINGFENCE_BLESS=1 cargo test -p ringfence-backend operations`"
        );
    }
}
