//! `ringfence setup`: what is done to a Windows machine once, shown, consented to by its hash, and taken back.
//!
//! Other systems need no set-up: there each command says so and does nothing.

use crate::cli::Setup;
use crate::failure::Failure;

/// Does what was asked for.
#[cfg(windows)]
pub(crate) fn run(setup: &Setup) -> Result<u8, Failure> {
    windows::run(setup)
}

/// Says that there is nothing to do.
#[cfg(not(windows))]
pub(crate) fn run(_setup: &Setup) -> Result<u8, Failure> {
    crate::output::data(
        "nothing is set up on this system, and nothing has to be: `ringfence run` makes each boundary anew, with your own rights\n`ringfence doctor` shows what this machine can enforce\n",
    )?;
    Ok(0)
}

#[cfg(windows)]
mod windows {
    use std::fmt::Write as _;
    use std::io::{self, IsTerminal as _, Write as _};
    use std::ops::ControlFlow;
    use std::path::{Path, PathBuf};

    use ringfence::audit;
    use ringfence::setup::{DamagedLedger, Prepared, Removal, Uninstall, exit_of, settled};
    use ringfence_backend::windows::{Progress, Proof, SetupOutcome, SetupReceipt, SetupVerb};
    use ringfence_plan::windows::WindowsPath;
    use ringfence_plan::windows::facts::Consent;
    use ringfence_plan::windows::filters::FilterForm;
    use ringfence_policy::ExitCode;

    use crate::cli::{PolicyOptions, Setup, SetupInstall, SetupPlain, SetupRepair, SetupUninstall};
    use crate::failure::Failure;
    use crate::render::escape::one_line;
    use crate::{context, output};

    /// Why nothing was done.
    #[derive(Debug, thiserror::Error)]
    enum SetupCommandError {
        #[error("there is nobody to ask: standard input is no console")]
        NobodyToAsk,
        #[error("the answer could not be read")]
        Answer(#[source] io::Error),
        #[error("`{0}` is on no drive of this machine")]
        Path(String),
    }

    pub(super) fn run(setup: &Setup) -> Result<u8, Failure> {
        match setup {
            Setup::Install(install) => self::install(install),
            Setup::Verify(plain) => verify(plain, SetupVerb::Verify),
            Setup::Dump(plain) => verify(plain, SetupVerb::Dump),
            Setup::Repair(repair) => self::repair(repair),
            Setup::Uninstall(uninstall) => self::uninstall(uninstall),
        }
    }

    fn prepare(policy: &PolicyOptions) -> Result<Prepared, Failure> {
        let policy = context::load(policy)?.loaded.policy;
        Ok(Prepared::new(&policy)?)
    }

    /// What the options say about filters that can hit others.
    const fn complement(options: &SetupInstall) -> Option<Consent> {
        match (
            options.filters.complement_filters,
            options.filters.named_filters,
        ) {
            (true, _) => Some(Consent::Given),
            (false, true) => Some(Consent::Missing),
            (false, false) => None,
        }
    }

    fn install(options: &SetupInstall) -> Result<u8, Failure> {
        let policy = context::load(&options.policy)?.loaded.policy;
        let prepared = Prepared::with_filters(&policy, complement(options))?;
        if options.filters.complement_filters && prepared.filters() == FilterForm::Named {
            output::message(
                "ringfence: no audit of this machine has seen a copy of a token get past the filters: they name the sandbox account alone\n",
            );
        }
        output::data(&prepared.plan.render_text())?;
        let tools: Vec<WindowsPath> = if options.tools {
            prepared.tools().cloned().collect()
        } else {
            Vec::new()
        };
        for tool in &tools {
            output::data(&format!(
                "commands may read and start programs in {}\n",
                tool.printable()
            ))?;
        }
        if prepared.plan.machine_steps.is_empty() {
            output::message(
                "ringfence: the machine is set up for you; only access rights are set\n",
            );
        } else {
            let hash = prepared.hash()?;
            let question = format!(
                "ringfence: the machine steps above, hash {hash}, are done by ringfence-setup.exe with administrator's rights"
            );
            if !options.yes && !ask(&question)? {
                return Ok(ExitCode::SetupMissing.code());
            }
            prepared.keep(&tools)?;
            let receipt = prepared.ask(SetupVerb::Install)?;
            say(&receipt);
            match receipt.outcome {
                SetupOutcome::Done | SetupOutcome::Unchanged => {}
                SetupOutcome::Refused
                | SetupOutcome::NotEnforced
                | SetupOutcome::Incomplete
                | SetupOutcome::Failed
                | SetupOutcome::Left => return Ok(exit_of(receipt.outcome)),
            }
        }
        prepared.keep(&tools)?;
        prepared.keep_filters()?;
        // With the accounts there, the person's steps are planned anew.
        let made = Prepared::again(&policy)?;
        let changed = made.apply(&mut progress)?;
        output::message(&format!(
            "ringfence: {changed} objects have new access rights\n"
        ));
        measure(&made);
        Ok(0)
    }

    /// Has the rule measured that every plan is partial without; what can't be tried now the audit tries.
    fn measure(made: &Prepared) {
        let Some(root) = made.plan.roots.first() else {
            return;
        };
        let workspace = PathBuf::from(root.object.path.to_string());
        let said = match std::env::current_exe() {
            Ok(own) => audit::measure_links(own, workspace).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match said {
            Ok(None) => {}
            Ok(Some(found)) => output::message(&format!("ringfence: {found}\n")),
            Err(cause) => output::message(&format!(
                "ringfence: not measured ({cause}): run `ringfence audit`\n"
            )),
        }
    }

    fn verify(options: &SetupPlain, verb: SetupVerb) -> Result<u8, Failure> {
        let prepared = prepare(&options.policy)?;
        let receipt = prepared.ask(verb)?;
        if options.json || verb == SetupVerb::Dump {
            output::json(&receipt)?;
        } else {
            say(&receipt);
        }
        Ok(exit_of(receipt.outcome))
    }

    fn repair(options: &SetupRepair) -> Result<u8, Failure> {
        let prepared = prepare(&options.policy)?;
        let Some(path) = &options.path else {
            let receipt = prepared.ask(SetupVerb::Repair)?;
            say(&receipt);
            return Ok(exit_of(receipt.outcome));
        };
        let path = on_drive(path)?;
        let changed = prepared.repair(&path, &mut progress)?;
        output::message(&format!(
            "ringfence: {changed} objects have new access rights\n"
        ));
        Ok(0)
    }

    fn uninstall(options: &SetupUninstall) -> Result<u8, Failure> {
        // No plan: what is refused as a workspace must not keep a set-up on the machine.
        let uninstall = Uninstall::new()?;
        if let Some(root) = &options.root {
            return release(&uninstall, root);
        }
        let removal = Removal {
            damaged_ledger: if options.damaged_ledger {
                DamagedLedger::TakeBack
            } else {
                DamagedLedger::List
            },
            scan: options.scan.clone(),
        };
        let question = "ringfence: everything that set-up did is taken back, sandbox accounts and their profiles are deleted";
        if !options.yes && !ask(question)? {
            return Ok(ExitCode::SetupMissing.code());
        }
        // First with the person's own rights: afterwards nobody knows whom the entries named.
        let first = uninstall.revoke()?;
        let mut receipt = uninstall.ask(&removal)?;
        let left = if first.is_empty() {
            first
        } else {
            // The elevated part has opened to the person what commands had closed to them.
            uninstall.revoke()?
        };
        if left.is_empty() {
            receipt = settled(receipt);
        }
        for one in &left {
            output::message(&format!("ringfence: left: {}\n", one_line(one)));
        }
        say(&receipt);
        Ok(match (exit_of(receipt.outcome), left.is_empty()) {
            (0, true) => 0,
            (0, false) => ExitCode::Internal.code(),
            (status, _) => status,
        })
    }

    /// Takes back what one workspace has.
    fn release(uninstall: &Uninstall, root: &Path) -> Result<u8, Failure> {
        let left = uninstall.release(&on_drive(root)?)?;
        for one in &left {
            output::message(&format!("ringfence: left: {}\n", one_line(one)));
        }
        if !left.is_empty() {
            return Ok(ExitCode::Internal.code());
        }
        output::message("ringfence: no access rights of Ringfence are left there\n");
        Ok(0)
    }

    fn on_drive(path: &Path) -> Result<WindowsPath, Failure> {
        let real = ringfence::paths::real(path).unwrap_or_else(|_| path.to_owned());
        WindowsPath::observed(&real.to_string_lossy()).map_err(|_| {
            let path = one_line(&path.to_string_lossy()).into_owned();
            Failure::new(ExitCode::Usage, SetupCommandError::Path(path))
        })
    }

    /// A yes or no.
    fn ask(question: &str) -> Result<bool, Failure> {
        if !io::stdin().is_terminal() {
            return Err(
                Failure::new(ExitCode::Usage, SetupCommandError::NobodyToAsk)
                    .with_hint("read `ringfence plan`, then add --yes"),
            );
        }
        output::message(&format!("{question}; go on? [y/N] "));
        let _ = io::stderr().flush();
        let mut answer = String::new();
        io::stdin()
            .read_line(&mut answer)
            .map_err(|error| Failure::internal(SetupCommandError::Answer(error)))?;
        Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
    }

    /// Never stops by itself: a person does it with Ctrl-C, and the next call goes on.
    fn progress(progress: Progress) -> ControlFlow<()> {
        if io::stderr().is_terminal() {
            output::message(&format!(
                "\rringfence: {} objects looked at, {} changed",
                progress.visited, progress.changed
            ));
        }
        ControlFlow::Continue(())
    }

    /// What the elevated program answered.
    fn say(receipt: &SetupReceipt) {
        let mut text = String::new();
        for step in &receipt.changed {
            let _ = writeln!(text, "done   {}", one_line(step));
        }
        for (step, how) in &receipt.undone {
            let _ = writeln!(text, "undone {} ({how:?})", one_line(step));
        }
        for check in &receipt.checks {
            let word = match check.proof {
                Proof::Proven => "proven",
                Proof::Failed => "FAILED",
                Proof::NotTried => "not tried",
            };
            let _ = writeln!(
                text,
                "{word:<9} {}: {}",
                one_line(&check.name),
                one_line(&check.detail)
            );
        }
        for fault in &receipt.faults {
            let causes: Vec<String> = fault
                .causes
                .iter()
                .map(|cause| one_line(cause).into_owned())
                .collect();
            let _ = writeln!(text, "failed: {}", causes.join(": "));
            if let Some(hint) = &fault.hint {
                let _ = writeln!(text, "  hint: {}", one_line(hint));
            }
        }
        for remnant in &receipt.left {
            let _ = writeln!(text, "left   {remnant:?}");
        }
        let words = match receipt.outcome {
            SetupOutcome::Done => "done",
            SetupOutcome::Unchanged => "nothing had to be changed",
            SetupOutcome::Refused => "refused; nothing was changed",
            SetupOutcome::NotEnforced => "not enforced: this machine does not hold what was set up",
            SetupOutcome::Incomplete => "set-up is missing or incomplete",
            SetupOutcome::Failed => "failed",
            SetupOutcome::Left => "something is left, see above",
        };
        let _ = writeln!(text, "ringfence-setup: {words}");
        output::message(&text);
    }
}
