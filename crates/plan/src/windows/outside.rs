//! What the plan does outside the roots: the way down to them, tools, secrets elsewhere, places that anyone may write.
//!
//! Each is judged by what the accounts can reach by themselves; where that is as wanted, nothing is done.
//! Invariant: an inheritable entry is planned only where the refuse list allows one.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use ringfence_nt::{AccessMask, Ace, AceKind};
use ringfence_policy::Policy;

use crate::layout::{Entry, Kind};
use crate::plan::Missing;
use crate::windows::descriptors::{
    EXECUTE, PASS, PROTECT, READ, STAY, Trustees, bind_owner, same_access, with_entries,
};
use crate::windows::error::PlanError;
use crate::windows::facts::{
    Consent, ObjectFact, Presence, ToolDirectory, ToolFound, WindowsFacts,
};
use crate::windows::launch::WriteClassRule;
use crate::windows::objects::Objects;
use crate::windows::path::WindowsPath;
use crate::windows::plan::HeldObject;
use crate::windows::reach::Reach;
use crate::windows::refuse::RefuseList;
use crate::windows::step::{ObjectKind, Purpose};

/// Plans what lies outside the roots.
#[derive(Debug)]
pub(crate) struct Outside<'a> {
    pub(crate) facts: &'a WindowsFacts,
    pub(crate) objects: &'a Objects<'a>,
    pub(crate) reach: &'a Reach,
    pub(crate) list: &'a RefuseList<'a>,
    pub(crate) trustees: &'a Trustees,
    pub(crate) roots: &'a [WindowsPath],
    /// What another policy of the person keeps from all their sandboxed commands.
    pub(crate) denied: BTreeSet<WindowsPath>,
    pub(crate) held: BTreeMap<WindowsPath, HeldObject>,
    /// Directories on PATH in which commands may start programs.
    pub(crate) path: Vec<WindowsPath>,
    /// What the second pass has to cover.
    pub(crate) rule: WriteClassRule,
    pub(crate) notes: Vec<String>,
    pub(crate) missing: Vec<Missing>,
}

impl Outside<'_> {
    /// Plans everything outside, the narrowest entries first: of two that want one object the first stays.
    ///
    /// # Errors
    /// [`PlanError::FactsMismatch`].
    pub(crate) fn all(&mut self, policy: &Policy) -> Result<(), PlanError> {
        self.secrets(policy)?;
        self.shared_places()?;
        self.tools()?;
        for root in self.roots {
            self.passage(root)?;
        }
        Ok(())
    }

    /// The rights of the accounts without any entry of ours.
    fn natural_reach(&self, fact: &ObjectFact) -> AccessMask {
        let Some(descriptor) = &fact.descriptor else {
            return self.reach.of_accounts(None);
        };
        let bare = with_entries(descriptor, None, fact.object.kind, &[], self.trustees);
        self.reach.of_accounts(Some(&bare))
    }

    fn in_root(&self, path: &WindowsPath) -> bool {
        self.roots.iter().any(|root| path.starts_with(root))
    }

    /// The entries of every purpose that an object outside has: one plan must not take away what another one of the
    /// person put there, and the same two purposes give the same entries in whatever order they are met.
    fn entries(&self, fact: &ObjectFact, purpose: Purpose) -> Vec<Ace> {
        let kind = fact.object.kind;
        let mut purposes = BTreeSet::from([purpose]);
        if self.denied.contains(&fact.object.path) {
            purposes.insert(Purpose::DeniedRead);
        }
        let shared = self.facts.shared_places.contains(&fact.object.path);
        if shared && self.is_closable(fact).unwrap_or(false) {
            purposes.insert(Purpose::WorldWritable);
        }
        let all = purposes.into_iter();
        let mut ours: Vec<Ace> = all
            .flat_map(|purpose| self.trustees.entries(purpose, kind))
            .collect();
        ours.sort_by_key(|ace| ace.kind != AceKind::Deny);
        ours
    }

    /// Whether everybody may write an object, and an entry of ours may take that from the accounts.
    fn is_closable(&self, fact: &ObjectFact) -> Result<bool, PlanError> {
        let writes = self.natural_reach(fact) & PROTECT;
        let descriptor = fact.descriptor.as_ref();
        let owner = descriptor.and_then(|descriptor| descriptor.owner);
        let is_theirs = owner == Some(self.facts.person.sid);
        Ok(!writes.is_empty() && is_theirs && self.list.check(&fact.object.path)?.is_none())
    }

    /// Gives `fact` the entries of `purpose`; says what stands against it otherwise.
    fn hold(
        &mut self,
        fact: &ObjectFact,
        purpose: Purpose,
        origin: &str,
    ) -> Result<(), &'static str> {
        if self.held.contains_key(&fact.object.path) {
            return Ok(());
        }
        let Some(before) = &fact.descriptor else {
            return Err("its access control list can't be read");
        };
        if before.acl().is_none() {
            return Err("it has no access control list");
        }
        let kind = fact.object.kind;
        let ours = self.entries(fact, purpose);
        let stamped = with_entries(before, None, kind, &ours, self.trustees);
        let descriptor = bind_owner(stamped, kind, self.trustees);
        let may_change = self
            .reach
            .of_person(Some(before))
            .contains(AccessMask::WRITE_DAC);
        if !may_change && !same_access(before, &descriptor) {
            return Err("you may not change its access control list");
        }
        self.held.insert(
            fact.object.path.clone(),
            HeldObject {
                object: fact.object.clone(),
                purpose,
                origin: origin.to_owned(),
                root: None,
                descriptor,
            },
        );
        Ok(())
    }

    /// Directories above `path`: Node, pnpm and `MSBuild` look at each of them.
    fn passage(&mut self, path: &WindowsPath) -> Result<(), PlanError> {
        for above in path.ancestors() {
            if self.in_root(&above) {
                continue;
            }
            let fact = self.objects.require(&above)?;
            let reach = self.natural_reach(fact);
            if reach.contains(PASS) && !reach.intersects(STAY) {
                continue;
            }
            let held = match self.list.check_passage(&above)? {
                Some(refusal) => Err(refusal.reason.text()),
                None => self.hold(fact, Purpose::Ancestor, "above a root"),
            };
            let Err(cause) = held else {
                continue;
            };
            let (above, path) = (above.printable(), path.printable());
            if !reach.contains(PASS) {
                self.notes.push(format!(
                    "commands can't look at `{above}`, which programs like Node and MSBuild do on the way to `{path}`: {cause}"
                ));
            }
            if reach.contains(AccessMask::FILE_DELETE_CHILD) {
                self.rule = WriteClassRule::SameUser;
                self.notes.push(format!(
                    "`{above}` lets everybody delete what is in it, and no entry is put there ({cause}): commands are held by the second pass of their token alone, which has to cover FILE_DELETE_CHILD"
                ));
            }
        }
        Ok(())
    }

    fn tools(&mut self) -> Result<(), PlanError> {
        for tool in &self.facts.tools {
            if self.in_root(&tool.path) {
                self.usable(tool);
                continue;
            }
            let fact = self.objects.require(&tool.path)?;
            if self.natural_reach(fact).contains(EXECUTE) {
                self.usable(tool);
                continue;
            }
            let origin = ringfence_policy::escape::escape_windows(&tool.origin);
            let path = tool.path.printable();
            if tool.consent == Consent::Missing {
                self.notes.push(format!(
                    "commands can't start programs in `{path}` ({origin}): agree to it with `ringfence setup install --tools`"
                ));
                continue;
            }
            let held = match self.list.check_tool(&tool.path)? {
                Some(refusal) => Err(refusal.reason.text()),
                None => self.hold(fact, Purpose::Tool, &origin),
            };
            match held {
                Ok(()) => {
                    self.usable(tool);
                    self.passage(&tool.path)?;
                }
                Err(cause) => self.notes.push(format!(
                    "commands can't start programs in `{path}` ({origin}): {cause}"
                )),
            }
        }
        Ok(())
    }

    fn usable(&mut self, tool: &ToolDirectory) {
        // PATH knows no way to write a name with its separator in it.
        if tool.found == ToolFound::Path && !tool.path.to_string().contains(';') {
            self.path.push(tool.path.clone());
        }
    }

    fn secrets(&mut self, policy: &Policy) -> Result<(), PlanError> {
        let hidden = policy.filesystem.hidden.iter();
        let known: HashSet<&str> = hidden.map(|hidden| hidden.name.as_str()).collect();
        for fact in &self.facts.hidden {
            if !known.contains(fact.name.as_str()) {
                continue;
            }
            let path = match &fact.entry {
                Entry::Absent | Entry::AbsentParent { .. } | Entry::Symlink { kind: None, .. } => {
                    continue;
                }
                Entry::File | Entry::Directory | Entry::Other => &fact.path,
                Entry::Symlink {
                    target,
                    kind: Some(Kind::File | Kind::Directory | Kind::Other),
                } => target,
            };
            self.secret(path, &fact.name)?;
        }
        for path in &self.facts.ssh_names {
            self.secret(path, "SSH configuration")?;
        }
        Ok(())
    }

    fn secret(&mut self, path: &WindowsPath, origin: &str) -> Result<(), PlanError> {
        if self.in_root(path) {
            return Ok(());
        }
        let fact = self.objects.require(path)?;
        self.granted_inside(path);
        if !self.natural_reach(fact).intersects(READ) {
            return Ok(());
        }
        // OpenSSH refuses keys that name a group; nothing inherited may stand where the refuse list speaks.
        let refusal = match fact.object.kind {
            ObjectKind::Directory => self.list.check(path)?,
            ObjectKind::File => self.list.check_key(path),
        };
        let cause = match refusal {
            Some(refusal) => Err(refusal.reason.text()),
            None => self.hold(fact, Purpose::DeniedRead, origin),
        };
        if let Err(cause) = cause {
            let path = path.printable();
            self.missing.push(Missing {
                what: "unreadable-secrets".to_owned(),
                cause: format!("`{path}` is readable by every user of this machine, and no entry is put on it: {cause}"),
                cure: format!("take the right away from Users: `icacls \"{path}\" /inheritance:r /grant:r \"%USERNAME%:F\"`"),
            });
        }
        Ok(())
    }

    /// Roots of the person's other policies in a secret: each grants their accounts reading, whatever is denied above.
    fn granted_inside(&mut self, secret: &WindowsPath) {
        let given = self.facts.capabilities.iter();
        let inside = given.filter(|one| {
            one.presence == Presence::Present
                && one.path.starts_with(secret)
                && !self.roots.contains(&one.path)
        });
        let mut paths: Vec<&WindowsPath> = inside.map(|one| &one.path).collect();
        paths.sort_unstable();
        paths.dedup();
        for path in paths {
            let (path, secret) = (path.printable(), secret.printable());
            self.missing.push(Missing {
                what: "unreadable-secrets".to_owned(),
                cause: format!("`{secret}` is not to be read, and `{path}` in it is a writable root of another policy of yours, which every sandboxed command of yours reads"),
                cure: format!("give that root back, `ringfence setup repair \"{path}\"`, or take `{secret}` out of `filesystem.deny_read`"),
            });
        }
    }

    fn shared_places(&mut self) -> Result<(), PlanError> {
        for path in &self.facts.shared_places {
            if self.in_root(path) {
                continue;
            }
            let fact = self.objects.require(path)?;
            let writes = self.natural_reach(fact) & PROTECT;
            if writes.is_empty() {
                continue;
            }
            let held = self.is_closable(fact)?
                && self
                    .hold(fact, Purpose::WorldWritable, "anyone may write it")
                    .is_ok();
            if !held {
                self.notes.push(format!(
                    "`{}` may be written by every user of this machine ({writes}): commands are held by the second pass of their token alone",
                    path.printable()
                ));
            }
        }
        Ok(())
    }
}
