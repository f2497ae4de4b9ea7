//! A program that embeds the library: several commands in one session, behind this machine's real boundary.
//!
//! It has a main function of its own, because a session's init is this very program. Invariant: what a command is
//! said not to leave behind, it leaves behind without the boundary.

#[cfg(not(target_os = "linux"))]
fn main() {}

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    ringfence::init::run_if_asked();
    linux::run()
}

#[cfg(target_os = "linux")]
mod linux {
    #![expect(
        clippy::print_stdout,
        reason = "it reports as the standard test harness does"
    )]

    use std::error::Error;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::{Path, PathBuf};
    use std::process::{Command, ExitCode, Stdio};
    use std::time::{Duration, Instant};

    use ringfence::{
        CommandSpec, LoadRequest, Report, Session, SessionOptions, StartError, StateDirectory,
        load_policy,
    };
    use ringfence_plan::Level;
    use ringfence_plan::step::Observe;
    use ringfence_policy::AbsolutePath;
    use tempfile::TempDir;

    type Outcome = Result<(), Box<dyn Error>>;

    type Case = (&'static str, fn(&Scene) -> Outcome);

    const CASES: [Case; 5] = [
        (
            "commands_share_their_private_directory",
            commands_share_their_private_directory,
        ),
        (
            "what_a_command_plants_is_gone_before_the_next",
            what_a_command_plants_is_gone_before_the_next,
        ),
        (
            "what_is_left_running_plants_nothing_that_stays",
            what_is_left_running_plants_nothing_that_stays,
        ),
        (
            "a_workspace_that_can_not_be_listed_keeps_nothing_either",
            a_workspace_that_can_not_be_listed_keeps_nothing_either,
        ),
        ("the_end_ends_everything", the_end_ends_everything),
    ];

    /// Ways to make `$1`, a protected name that is not there.
    const MAKERS: [&str; 4] = [
        "echo planted > \"$1\"",
        "echo planted > made && mv made \"$1\"",
        "mkdir made && echo planted > made/inner && mv made \"$1\"",
        "echo planted > made && ln made \"$1\" && rm made",
    ];

    /// Runs every case, and ends as the standard test harness does.
    pub(super) fn run() -> ExitCode {
        if std::env::args().any(|argument| argument == "--list") {
            for (name, _) in CASES {
                println!("{name}: test");
            }
            return ExitCode::SUCCESS;
        }
        let (mut failed, mut skipped) = (0, 0);
        for (name, case) in CASES {
            let result = Scene::new().and_then(|scene| match scene.lacking()? {
                Some(why) => Ok(Some(why)),
                None => case(&scene).map(|()| None),
            });
            match result {
                Ok(None) => println!("test {name} ... ok"),
                Ok(Some(why)) => {
                    skipped += 1;
                    println!("test {name} ... ignored, {why}");
                }
                Err(error) => {
                    failed += 1;
                    println!("test {name} ... FAILED\n    {error}");
                }
            }
        }
        let verdict = if failed == 0 { "ok" } else { "FAILED" };
        let passed = CASES.len() - failed - skipped;
        println!("\ntest result: {verdict}. {passed} passed; {failed} failed; {skipped} ignored");
        ExitCode::from(u8::from(failed > 0))
    }

    /// A workspace with a repository in it, and nobody's home.
    struct Scene {
        _directory: TempDir,
        workspace: PathBuf,
        home: PathBuf,
        state: StateDirectory,
    }

    impl Scene {
        fn new() -> Result<Self, Box<dyn Error>> {
            // Not below /tmp, of which a session has its own.
            let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
            let base = directory.path().canonicalize()?;
            let (workspace, home) = (base.join("work"), base.join("home"));
            fs::create_dir(&home)?;
            let state = StateDirectory::at(&base.join("state"))?;
            fs::create_dir_all(workspace.join("sub/.git"))?;
            Ok(Self {
                _directory: directory,
                workspace,
                home,
                state,
            })
        }

        fn session(&self, observe: Observe) -> Result<Session, Box<dyn Error>> {
            let workspace = AbsolutePath::new(&self.workspace)?;
            let request = LoadRequest::new(workspace, AbsolutePath::new(&self.home)?);
            let policy = load_policy(&request, &self.state)?.policy;
            let options = SessionOptions {
                observe,
                ..SessionOptions::default()
            };
            Ok(Session::start(&policy, &self.state, options)?)
        }

        /// Why nothing can be judged here.
        fn lacking(&self) -> Result<Option<String>, Box<dyn Error>> {
            let session = self.session(Observe::Writes)?;
            let level = session.enforcement().level;
            session.end()?;
            if level == Level::Full {
                return Ok(None);
            }
            let why = format!("this machine enforces {level:?} and not Full");
            match std::env::var("RINGFENCE_MUST_ENFORCE").as_deref() {
                Ok("full") => Err(why.into()),
                _ => Ok(Some(why)),
            }
        }

        /// The same script without the boundary.
        fn plainly(&self, script: &str, object: &Path) -> Outcome {
            let mut shell = Command::new("/bin/sh");
            shell.args(["-c", script, "sh"]).arg(object);
            let status = shell.current_dir(&self.workspace).status()?;
            check(status.success(), || {
                format!("without the boundary: {status}")
            })
        }
    }

    fn shell(session: &mut Session, script: &str, object: &Path) -> Result<Report, Box<dyn Error>> {
        let words = ["/bin/sh", "-c", script, "sh"];
        let mut arguments: Vec<_> = words.map(Into::into).to_vec();
        arguments.push(object.into());
        let command = CommandSpec {
            arguments,
            directory: None,
        };
        Ok(session.execute(&command)?)
    }

    fn check(holds: bool, otherwise: impl FnOnce() -> String) -> Outcome {
        if holds {
            Ok(())
        } else {
            Err(otherwise().into())
        }
    }

    fn is_there(path: &Path) -> bool {
        path.symlink_metadata().is_ok()
    }

    /// Waits until `holds`; whether it came true.
    fn within(limit: Duration, holds: impl Fn() -> bool) -> bool {
        let deadline = Instant::now() + limit;
        while !holds() {
            if Instant::now() > deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        true
    }

    fn commands_share_their_private_directory(scene: &Scene) -> Outcome {
        let mut session = scene.session(Observe::Writes)?;
        let note = Path::new("/tmp/note-of-the-first-command");
        let first = shell(&mut session, "echo kept > \"$1\"", note)?;
        let second = shell(&mut session, "grep -q kept \"$1\" || exit 9; exit 7", note)?;
        let third = shell(&mut session, "kill -9 $$", note)?;
        let statuses = [first, second, third].map(|report| report.exit_status());
        check(statuses == [0, 7, 137], || format!("{statuses:?}"))?;
        check(!is_there(note), || "it lies in the host's /tmp".to_owned())?;
        session.end()?;
        Ok(())
    }

    fn what_a_command_plants_is_gone_before_the_next(scene: &Scene) -> Outcome {
        for observe in [Observe::Writes, Observe::Off] {
            let mut session = scene.session(observe)?;
            for object in [".envrc", "sub/.envrc"].map(|name| scene.workspace.join(name)) {
                for maker in MAKERS {
                    let label = || format!("{} by `{maker}`, {observe:?}", object.display());
                    // What the guard is faster than fails, and says so.
                    let quietly = format!("exec 2>/dev/null; {maker}");
                    let report = shell(&mut session, &quietly, &object)?;
                    check(!is_there(&object), || format!("{}: it stays", label()))?;
                    // Without the observer nobody can say who made it: the mount on it may be faster than the maker.
                    let moved = report.quarantined.iter();
                    let told = moved.clone().any(|entry| entry.origin.as_path() == object);
                    let refused = report.exit_status() != 0;
                    check(told || refused, || format!("{}: not told", label()))?;
                    let left = scene.workspace.join("made");
                    let _ = fs::remove_file(&left).or_else(|_| fs::remove_dir_all(&left));
                }
            }
            session.end()?;
        }
        for object in [".envrc", "sub/.envrc"].map(|name| scene.workspace.join(name)) {
            for maker in MAKERS {
                scene.plainly(maker, &object)?;
                check(is_there(&object), || format!("control: {maker}"))?;
                fs::remove_file(&object).or_else(|_| fs::remove_dir_all(&object))?;
            }
        }
        Ok(())
    }

    fn what_is_left_running_plants_nothing_that_stays(scene: &Scene) -> Outcome {
        let object = scene.workspace.join("sub/.envrc");
        let (go, done) = (scene.workspace.join("go"), scene.workspace.join("done"));
        let script = "setsid sh -c 'while ! [ -e go ]; do sleep 0.01; done; \
                      echo planted > \"$1\"; echo > done' sh \"$1\" </dev/null >/dev/null 2>&1 &";
        let mut session = scene.session(Observe::Writes)?;
        let started = shell(&mut session, script, &object)?.exit_status();
        check(started == 0, || format!("not started: {started}"))?;
        fs::write(&go, "")?;
        let planted = within(Duration::from_secs(20), || is_there(&done));
        check(planted, || "it was not left running".to_owned())?;
        let report = shell(&mut session, "true", &object)?;
        check(!is_there(&object), || "it stays".to_owned())?;
        let moved = &report.quarantined;
        check(moved.len() == 1, || format!("moved: {moved:?}"))?;
        session.end()?;
        fs::remove_file(&done)?;
        scene.plainly(script, &object)?;
        let planted = within(Duration::from_secs(20), || is_there(&done));
        check(planted && is_there(&object), || "control".to_owned())
    }

    fn a_workspace_that_can_not_be_listed_keeps_nothing_either(scene: &Scene) -> Outcome {
        let object = scene.workspace.join(".envrc");
        fs::set_permissions(&scene.workspace, fs::Permissions::from_mode(0o300))?;
        let judged = (|| {
            let mut session = match scene.session(Observe::Writes) {
                Ok(session) => session,
                // Whoever can't list it can't find what is guarded in it: nothing runs.
                Err(error) if error.is::<StartError>() => return Ok(()),
                Err(error) => return Err(error),
            };
            let planter = "echo planted > \"$1\"";
            let report = shell(&mut session, planter, &object)?;
            check(!is_there(&object), || "it stays".to_owned())?;
            let moved = report.quarantined.len();
            check(moved == 1, || format!("moved: {moved}, {:?}", report.notes))?;
            session.end()?;
            scene.plainly(planter, &object)?;
            check(is_there(&object), || "control".to_owned())
        })();
        fs::set_permissions(&scene.workspace, fs::Permissions::from_mode(0o700))?;
        judged
    }

    fn the_end_ends_everything(scene: &Scene) -> Outcome {
        let beat = scene.workspace.join("beat");
        let script = "setsid sh -c 'while sleep 0.05; do echo >> \"$1\"; done' sh \"$1\" </dev/null >/dev/null 2>&1 &";
        let length = || fs::metadata(&beat).map_or(0, |metadata| metadata.len());
        let beats = |since: u64| within(Duration::from_secs(10), || length() > since + 3);
        let mut session = scene.session(Observe::Writes)?;
        let started = shell(&mut session, script, &beat)?.exit_status();
        check(started == 0, || format!("not started: {started}"))?;
        check(beats(0), || "it was not left running".to_owned())?;
        session.end()?;
        let end = length();
        std::thread::sleep(Duration::from_millis(500));
        check(length() == end, || "it is still running".to_owned())?;
        // Without the boundary the same goes on when the shell has ended.
        let mut control = Command::new("/bin/sh");
        let going = "while sleep 0.05; do echo >> \"$1\"; done";
        control.args(["-c", going, "sh"]).arg(&beat);
        let mut control = control.stdin(Stdio::null()).spawn()?;
        let goes_on = beats(length());
        control.kill()?;
        control.wait()?;
        check(goes_on, || "control: it does not go on".to_owned())
    }
}
