//! A Windows plan as text for a person: each step in words, with the SDDL that a Windows engineer can check.
//!
//! Names in a plan are an attacker's: every path is escaped, so that a line of the text is one line of ours.
//! Invariant: equal plans render equally; different steps render differently.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use ringfence_nt::{AccessMask, Ace, AceFlags, AceKind, Control, SecurityDescriptor, Sid};
use ringfence_policy::document::NewRepositories;
use ringfence_policy::escape::escape_again;

use crate::plan::GuardedName;
use crate::windows::WindowsPath;
use crate::windows::descriptors::{EXECUTE, FULL, PASS, PROTECT, READ, STAY, WRITE};
use crate::windows::plan::{Accounts, HeldObject, WindowsPlan};
use crate::windows::sids::Placeholder;
use crate::windows::step::{AccountSids, ObjectKind, PersonStep, Purpose};

mod launch;
mod machine;

/// What SIDs are called in the text of one plan.
#[derive(Debug)]
pub(crate) struct Names {
    words: BTreeMap<Sid, String>,
    /// What templates stand for, or the placeholders that stand for it.
    accounts: Option<AccountSids>,
}

impl Names {
    fn of(plan: &WindowsPlan) -> Self {
        let mut names = BTreeMap::new();
        if let Some(accounts) = plan.accounts.sids() {
            names.insert(accounts.group, "GROUP".to_owned());
            names.insert(accounts.offline, "OFFLINE".to_owned());
            names.insert(accounts.online, "ONLINE".to_owned());
        }
        for placeholder in [Placeholder::Session, Placeholder::Logon] {
            names.insert(placeholder.sid(), placeholder.word().to_owned());
        }
        names.insert(plan.person, "PERSON".to_owned());
        names.insert(plan.marker, "MARKER".to_owned());
        for (index, root) in plan.roots.iter().enumerate() {
            names.insert(root.capability, format!("ROOT{}", index + 1));
            names.insert(root.home_sid, format!("HOME{}", index + 1));
        }
        for (sid, name) in KNOWN {
            names.entry(sid).or_insert_with(|| name.to_owned());
        }
        Self {
            words: names,
            accounts: plan.accounts.sids(),
        }
    }

    /// The name of a SID, or the SID.
    fn of_sid(&self, sid: Sid) -> String {
        self.words
            .get(&sid)
            .cloned()
            .unwrap_or_else(|| sid.to_string())
    }
}

/// Well-known SIDs by names that are the same on every machine.
const KNOWN: [(Sid, &str); 15] = [
    (Sid::EVERYONE, "Everyone"),
    (Sid::LOCAL, "LOCAL"),
    (Sid::CREATOR_OWNER, "CREATOR OWNER"),
    (Sid::CREATOR_GROUP, "CREATOR GROUP"),
    (Sid::OWNER_RIGHTS, "OWNER RIGHTS"),
    (Sid::INTERACTIVE, "INTERACTIVE"),
    (Sid::AUTHENTICATED_USERS, "Authenticated Users"),
    (Sid::RESTRICTED, "RESTRICTED"),
    (Sid::SYSTEM, "SYSTEM"),
    (Sid::WRITE_RESTRICTED, "WRITE RESTRICTED"),
    (Sid::ADMINISTRATORS, "Administrators"),
    (Sid::USERS, "Users"),
    (Sid::TRUSTED_INSTALLER, "TrustedInstaller"),
    (Sid::ANONYMOUS, "ANONYMOUS LOGON"),
    (Sid::ALL_APPLICATION_PACKAGES, "ALL APPLICATION PACKAGES"),
];

/// A mask in words, as far as it is one that plans use.
fn mask_words(mask: AccessMask) -> String {
    let words = match mask {
        WRITE => "read, write, execute, delete",
        PROTECT => "write, delete, permissions, owner",
        STAY => "delete, delete what is in it",
        PASS => "look at and pass through",
        EXECUTE => "read, execute",
        READ => "read data and extended attributes, execute",
        // Of keys, of tokens and desktops, of window stations, of processes and threads.
        FULL
        | AccessMask::GENERIC_ALL
        | AccessMask(0x000f_003f | 0x000f_01ff | 0x000f_037f | 0x001f_ffff) => "everything",
        AccessMask(0x0002_0019) => "read the key",
        AccessMask(0x000d_0026) => "write the key, delete, permissions, owner",
        AccessMask(0x0012_019f) => "read, write",
        AccessMask(0x0002_0098) => "query, query source, adjust defaults",
        AccessMask::FILE_DELETE_CHILD => "delete what is in it",
        AccessMask::READ_CONTROL => "read permissions",
        AccessMask(0xe000_0000) => "generic read, write, execute",
        AccessMask(0x6012_041d) => "write, execute, and read but no copies of tokens",
        _ => return mask.to_string(),
    };
    format!("{words} ({mask})")
}

fn flag_words(flags: AceFlags) -> String {
    let directories = flags.contains(AceFlags::CONTAINER_INHERIT);
    let files = flags.contains(AceFlags::OBJECT_INHERIT);
    let below = match (directories, files) {
        (true, true) => "below",
        (true, false) => "containers below",
        (false, true) => "files below",
        (false, false) => return "here".to_owned(),
    };
    let first_level = if flags.contains(AceFlags::NO_PROPAGATE_INHERIT) {
        ", one level"
    } else {
        ""
    };
    let here = if flags.contains(AceFlags::INHERIT_ONLY) {
        ""
    } else {
        "here and "
    };
    format!("{here}{below}{first_level}")
}

/// One entry in words.
fn ace_words(ace: &Ace, names: &Names) -> String {
    let kind = match ace.kind {
        AceKind::Allow => "allow",
        AceKind::Deny => "deny ",
        AceKind::Audit => "audit",
        AceKind::MandatoryLabel => "label",
    };
    format!(
        "{kind} {}: {}, {}",
        names.of_sid(ace.sid),
        mask_words(ace.mask),
        flag_words(ace.flags)
    )
}

const fn purpose_words(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Root => "root",
        Purpose::Protected => "protected",
        Purpose::Between => "stays in place",
        Purpose::Ancestor => "passed through",
        Purpose::Tool => "tools",
        Purpose::Secret => "secret",
        Purpose::DeniedRead => "not read",
        Purpose::WorldWritable => "not written",
        Purpose::Profile => "profile",
        Purpose::Walked => "brought in line",
    }
}

impl WindowsPlan {
    /// The plan as text: what will be done in order, by whom, what is held, watched, missing, and how commands start.
    #[must_use]
    pub fn render_text(&self) -> String {
        let names = Names::of(self);
        let mut text = String::new();
        let _ = writeln!(text, "plan {}", self.hash());
        let _ = writeln!(text, "level {}", self.level.word());
        for part in &self.missing {
            let _ = writeln!(
                text,
                "missing {}: {} (cure: {})",
                part.what,
                escape_again(&part.cause),
                escape_again(&part.cure)
            );
        }
        for note in &self.notes {
            let _ = writeln!(text, "note {}", escape_again(note));
        }
        self.render_sids(&mut text);
        if !self.machine_steps.is_empty() {
            let _ = writeln!(text, "\nmachine steps, by set-up ({})", self.machine_hash);
        }
        for (index, step) in self.machine_steps.iter().enumerate() {
            machine::render(&mut text, index + 1, step, &names);
        }
        if !self.person_steps.is_empty() {
            let _ = writeln!(text, "\nsteps with the person's own rights");
        }
        for (index, step) in self.person_steps.iter().enumerate() {
            render_person(&mut text, index + 1, step, &names);
        }
        self.render_held(&mut text);
        self.render_guard(&mut text);
        if let Some(launch) = &self.launch {
            launch::render(&mut text, launch, &names);
        }
        text
    }

    fn render_sids(&self, text: &mut String) {
        let _ = writeln!(text, "\nnames");
        let mut name = |name: &str, sid: Sid, what: &str| {
            let row = format!("       {name:<8} {sid} {what}");
            let _ = writeln!(text, "{}", row.trim_end());
        };
        name("PERSON", self.person, "who asks");
        if let Some(accounts) = self.accounts.sids() {
            let state = match self.accounts {
                Accounts::Made(_) => "",
                Accounts::ToBeMade(_) => "stands for what set-up makes",
                Accounts::Person => "nobody",
            };
            name("GROUP", accounts.group, state);
            name("OFFLINE", accounts.offline, state);
            name("ONLINE", accounts.online, state);
        }
        name("MARKER", self.marker, "in every target's token");
        for (index, root) in self.roots.iter().enumerate() {
            let what = format!("writes {}", root.object.path.printable());
            name(&format!("ROOT{}", index + 1), root.capability, &what);
        }
        if let Some(root) = self.roots.first() {
            let what = format!("writes {}", root.home.printable());
            name("HOME1", root.home_sid, &what);
        }
        name("SESSION", Placeholder::Session.sid(), "drawn at launch");
        name("LOGON", Placeholder::Logon.sid(), "read at launch");
        for (sid, root) in &self.collected {
            let _ = writeln!(
                text,
                "       given up {sid}: its root {}:{:x} is gone",
                root.volume, root.file
            );
        }
    }

    fn render_held(&self, text: &mut String) {
        if self.held.is_empty() {
            return;
        }
        let _ = writeln!(text, "\nheld ({} objects)", self.held.len());
        for held in &self.held {
            let HeldObject {
                object,
                purpose,
                origin,
                ..
            } = held;
            let kind = match object.kind {
                ObjectKind::Directory => "\\",
                ObjectKind::File => "",
            };
            let origin = if origin.is_empty() {
                String::new()
            } else {
                format!(" [{}]", escape_again(origin))
            };
            let _ = writeln!(
                text,
                "       {:<15} {}{kind}{origin}",
                purpose_words(*purpose),
                object.path.printable()
            );
        }
    }

    fn render_guard(&self, text: &mut String) {
        if self.guard.absent.is_empty() && self.guard.roots.is_empty() {
            return;
        }
        let new = match self.guard.new_repositories {
            NewRepositories::Clean => "clean",
            NewRepositories::Quarantine => "quarantine",
            NewRepositories::Allow => "allow",
        };
        let _ = writeln!(text, "\nwatched (new repositories: {new})");
        for root in &self.guard.roots {
            let _ = writeln!(text, "       repositories below {}", root.printable());
        }
        for directory in &self.guard.commit_directories {
            let _ = writeln!(text, "       commits to {}", directory.printable());
        }
        for (directory, names) in absent_by_directory(&self.guard.absent) {
            let _ = writeln!(text, "       absent in {}", directory.printable());
            let _ = writeln!(text, "         {}", names.join("  "));
        }
    }
}

/// Names that do not exist, by the directory that they would be in; with the words of the policy where those are not the
/// name.
fn absent_by_directory(absent: &[GuardedName<WindowsPath>]) -> BTreeMap<WindowsPath, Vec<String>> {
    let mut directories: BTreeMap<WindowsPath, Vec<String>> = BTreeMap::new();
    for guarded in absent {
        let whole = guarded.path.printable();
        let name = whole.rsplit('\\').next().unwrap_or_default().to_owned();
        let origin = escape_again(&guarded.origin);
        let directory = guarded
            .path
            .parent()
            .unwrap_or_else(|| guarded.path.clone());
        let names = directories.entry(directory).or_default();
        names.push(if origin == name {
            name
        } else {
            format!("{name} ({origin})")
        });
    }
    directories
}

/// The lines that two renderings do not share, with `-` and `+`, in order.
#[must_use]
pub fn diff(old: &WindowsPlan, new: &WindowsPlan) -> String {
    crate::render::diff_text(&old.render_text(), &new.render_text())
}

fn render_person(text: &mut String, number: usize, step: &PersonStep, names: &Names) {
    match step {
        PersonStep::SetDacl {
            object,
            purpose,
            before,
            after,
        } => {
            let _ = writeln!(
                text,
                "{number:>5}  set the list of {} ({})",
                object.path.printable(),
                purpose_words(*purpose)
            );
            render_change(text, before, after, names);
        }
        PersonStep::Walk { root, purpose } => {
            let _ = writeln!(
                text,
                "{number:>5}  bring in line what lies below {} ({})",
                root.path.printable(),
                purpose_words(*purpose)
            );
        }
        PersonStep::MakeHome { path, descriptor } => {
            let _ = writeln!(
                text,
                "{number:>5}  make the private home {}",
                path.printable()
            );
            render_descriptor(text, descriptor, names);
        }
    }
}

/// The entries that come and go, then both descriptors whole.
fn render_change(
    text: &mut String,
    before: &SecurityDescriptor,
    after: &SecurityDescriptor,
    names: &Names,
) {
    let protected = |one: &SecurityDescriptor| one.control.contains(Control::DACL_PROTECTED);
    if protected(after) && !protected(before) {
        let _ = writeln!(text, "         stop inheriting");
    }
    // Entries that stay when inheritance stops are no longer marked as inherited; that is no change of theirs.
    let (old, new) = if protected(after) && !protected(before) {
        (unmarked(before), unmarked(after))
    } else {
        (entries(before), entries(after))
    };
    for (sign, from, to) in [('-', &new, &old), ('+', &old, &new)] {
        for ace in only_in(from, to) {
            let _ = writeln!(text, "       {sign} {}", ace_words(&ace, names));
        }
    }
    let _ = writeln!(text, "         was {}", before.to_sddl());
    let _ = writeln!(text, "         now {}", after.to_sddl());
}

fn entries(descriptor: &SecurityDescriptor) -> Vec<Ace> {
    descriptor
        .acl()
        .map_or_else(Vec::new, |acl| acl.aces.clone())
}

fn unmarked(descriptor: &SecurityDescriptor) -> Vec<Ace> {
    let unmark = |ace: Ace| Ace {
        flags: ace.flags.without(AceFlags::INHERITED),
        ..ace
    };
    entries(descriptor).into_iter().map(unmark).collect()
}

/// The entries of `to` that `from` does not have.
fn only_in(from: &[Ace], to: &[Ace]) -> Vec<Ace> {
    let mut present = from.to_vec();
    let mut only = Vec::new();
    for ace in to {
        match present.iter().position(|known| known == ace) {
            Some(index) => drop(present.swap_remove(index)),
            None => only.push(*ace),
        }
    }
    only
}

/// Every entry in words, then the descriptor whole.
fn render_descriptor(text: &mut String, descriptor: &SecurityDescriptor, names: &Names) {
    for ace in descriptor.acl().into_iter().flat_map(|acl| &acl.aces) {
        let _ = writeln!(text, "         {}", ace_words(ace, names));
    }
    let _ = writeln!(text, "         sddl {}", descriptor.to_sddl());
}
