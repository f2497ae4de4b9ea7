//! Rules for how commands start: the token of targets, the runner, and what a session shares with its harness.
//!
//! Invariant: nothing but SYSTEM, the person and the session itself may change what separates sessions.

use std::collections::HashSet;

use ringfence_nt::{AccessMask, Ace, AceKind, SecurityDescriptor, Sid};

use super::{Lint, LintRule};
use crate::windows::launch::{
    Identity, LaunchSpec, RunnerHardening, TOKEN_OF_RUNNER, TOKEN_OF_TARGET, WHAT_TARGETS_MAKE,
};
use crate::windows::sids;

impl Lint<'_> {
    pub(super) fn launch(&mut self, launch: &LaunchSpec) {
        use ringfence_nt::FilterFlags;
        let token = &launch.token;
        let restricting: HashSet<Sid> = token.restricting.iter().map(|one| one.sid).collect();
        let needed = FilterFlags::DISABLE_MAX_PRIVILEGE.with(FilterFlags::WRITE_RESTRICTED);
        let session = sids::Placeholder::Session.sid();
        // What the default lists of drives and new folders give to everybody who has logged on.
        let everybody = [
            sids::Placeholder::Logon.sid(),
            Sid::ADMINISTRATORS,
            Sid::AUTHENTICATED_USERS,
            Sid::INTERACTIVE,
            Sid::LOCAL,
        ];
        let is_account = matches!(launch.identity, Identity::Account(_));
        let counts = |sid: &Sid| is_account && !token.deny_only.contains(sid);
        let gives = |ace: &Ace| {
            let bound = ace.sid == Sid::OWNER_RIGHTS && AccessMask::READ_CONTROL.contains(ace.mask);
            let own = [session, Sid::SYSTEM].contains(&ace.sid) || bound;
            ace.kind == AceKind::Allow && !own && !WHAT_TARGETS_MAKE.contains(ace.mask)
        };
        let person_restricting =
            launch.identity == Identity::Person && restricting.contains(&self.plan.person);
        if !token.flags.contains(needed)
            || !restricting.contains(&session)
            || !restricting.contains(&self.plan.marker)
            || restricting.contains(&Sid::EVERYONE)
            || restricting.contains(&Sid::USERS)
            || restricting.contains(&Sid::AUTHENTICATED_USERS)
            || person_restricting
            || everybody.iter().any(counts)
            || token.default_dacl.aces.iter().any(gives)
        {
            self.error(LintRule::TokenTooWide, &"token of targets");
        }
        let Some(runner) = &launch.runner else {
            return;
        };
        self.runner(runner);
    }

    /// The runner has its targets' user: what it gives an account it gives to them. The logon SID is theirs for denies
    /// alone, so that the runner may be named by it, on its token for what the system asks of it and no more.
    fn runner(&mut self, runner: &RunnerHardening) {
        let accounts = self.plan.accounts.sids();
        let logon = sids::Placeholder::Logon.sid();
        let is_sandbox = |sid: Sid| accounts.is_some_and(|all| all.all().contains(&sid));
        for (name, descriptor, by_logon) in [
            ("runner's process", &runner.process, AccessMask::NONE),
            ("runner's threads", &runner.thread, AccessMask::NONE),
            ("runner's token", &runner.token, TOKEN_OF_RUNNER),
        ] {
            let aces = descriptor.acl().map_or(&[][..], |acl| &acl.aces);
            let gives = |ace: &Ace| {
                is_sandbox(ace.sid) || (ace.sid == logon && !by_logon.contains(ace.mask))
            };
            let open = aces
                .iter()
                .any(|ace| ace.kind == AceKind::Allow && gives(ace));
            let bound = aces
                .iter()
                .any(|ace| ace.sid == Sid::OWNER_RIGHTS && ace.mask == AccessMask::READ_CONTROL);
            if open || !bound {
                self.error(LintRule::RunnerOpen, &name);
            }
        }
        if runner
            .default_dacl
            .aces
            .iter()
            .any(|ace| is_sandbox(ace.sid))
        {
            self.error(LintRule::RunnerOpen, &"what the runner makes");
        }
    }

    /// What a session's objects give: SYSTEM, the person and the session everything, the accounts what they need.
    pub(super) fn session(&mut self, launch: &LaunchSpec) {
        let generic = AccessMask::GENERIC_READ | AccessMask::GENERIC_WRITE;
        let used = generic | AccessMask::GENERIC_EXECUTE;
        let session = sids::Placeholder::Session.sid();
        for (name, descriptor) in [
            ("window station", &launch.station),
            ("desktop", &launch.desktop),
        ] {
            if !self.gives_at_most(descriptor, &[session], used) {
                self.error(LintRule::SessionOpen, &name);
            }
        }
        // Whoever may duplicate or impersonate a token takes it.
        if !self.gives_at_most(&launch.token.descriptor, &[], TOKEN_OF_TARGET) {
            self.error(LintRule::SessionOpen, &"token of targets");
        }
        let Some(pipe) = &launch.pipe else {
            return;
        };
        let talk = AccessMask::FILE_GENERIC_READ | AccessMask::FILE_GENERIC_WRITE;
        // The runner's user is the targets' too: only the marker tells them apart.
        let aces = pipe.descriptor.acl().map_or(&[][..], |acl| &acl.aces);
        let is_closed = aces.first().is_some_and(|ace| {
            ace.kind == AceKind::Deny
                && ace.sid == self.plan.marker
                && ace.mask.contains(AccessMask::FILE_ALL_ACCESS)
        });
        if !is_closed || !self.gives_at_most(&pipe.descriptor, &[], talk) {
            self.error(LintRule::SessionOpen, &"pipe");
        }
    }

    /// Whether a list gives `most` at most to the accounts or to the session, and nothing to anybody but them, `whole`,
    /// SYSTEM, the person and the owner's bare `READ_CONTROL`.
    fn gives_at_most(
        &self,
        descriptor: &SecurityDescriptor,
        whole: &[Sid],
        most: AccessMask,
    ) -> bool {
        let Some(acl) = descriptor.acl() else {
            return false;
        };
        let plan = self.plan;
        let accounts = plan.accounts.sids();
        // In same-user mode the person is whom the targets run as.
        let is_user = |sid: Sid| match accounts {
            Some(accounts) => accounts.all().contains(&sid),
            None => sid == plan.person,
        };
        let session = sids::Placeholder::Session.sid();
        let is_fine = |ace: &Ace| {
            let is_trusted = ace.sid == Sid::SYSTEM
                || whole.contains(&ace.sid)
                || (ace.sid == plan.person && (accounts.is_some() || !whole.is_empty()));
            let is_bound =
                ace.sid == Sid::OWNER_RIGHTS && AccessMask::READ_CONTROL.contains(ace.mask);
            let is_needed = (is_user(ace.sid) || ace.sid == session) && most.contains(ace.mask);
            ace.kind != AceKind::Allow || is_trusted || is_bound || is_needed
        };
        descriptor
            .control
            .contains(ringfence_nt::Control::DACL_PROTECTED)
            && acl.is_canonical()
            && acl.aces.iter().all(is_fine)
    }
}
