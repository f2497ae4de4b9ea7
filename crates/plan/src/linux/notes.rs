//! What a person should know that changes nothing of the boundary: one line each.

use ringfence_policy::Policy;
use ringfence_policy::document::HardLinks;

use crate::linux::facts::LinuxFacts;
use crate::linux::holds::is_writable_mode;
use crate::linux::sockets;
use crate::render::printable;

/// Adds the notes that follow from the facts alone.
pub(crate) fn collect(policy: &Policy, facts: &LinuxFacts, notes: &mut Vec<String>) {
    sockets::notes(facts, notes);
    // Where nothing is written, nothing is to be said of what writing would do.
    let is_written = is_writable_mode(policy.mode.value);
    for root in &facts.roots {
        let count = root.outside_links.len();
        if let (Some(first), HardLinks::Warn, true) = (
            root.outside_links.first(),
            policy.filesystem.hard_links.value,
            is_written,
        ) {
            notes.push(format!(
                "{count} file(s) below `{}` are also something outside it, `{}` for one: writing them writes both (`hard_links = \"read-only\"` refuses it)",
                printable(&root.named),
                printable(first)
            ));
        }
        if let Some(first) = root.unread.first() {
            notes.push(format!(
                "{} director(ies) below `{}` could not be read, `{}` for one: what lies in them was not looked at",
                root.unread.len(),
                printable(&root.named),
                printable(first)
            ));
        }
        for mount in root.mounts.iter().filter(|_| is_written) {
            notes.push(format!(
                "`{}` is a mount inside a writable root and stays read-only (name it with `--writable-root` to write it)",
                printable(mount)
            ));
        }
    }
}
