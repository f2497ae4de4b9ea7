//! `ringfence demo`: a person's first minute. A small project is built, tested and looked at inside the boundary,
//! then attacked as a hostile agent would, and every row is shown beside its control.
//!
//! Invariant: nothing is left behind, and the status is 0 only if all that was tried ended as it should.

mod cases;
mod interrupt;
mod outside;
#[cfg(windows)]
mod probe;
mod report;
mod shell;
mod tools;
mod trial;
mod world;

use std::ffi::OsString;
use std::io::{self, stdout};
use std::path::Path;

use crate::render::escape::escape_os;

use self::cases::{Attack, HERE, Job, Where};
use self::interrupt::Interrupt;
use self::outside::Outside;
use self::report::{Kind, Row, Verdict};
use self::shell::{Filled, Filling};
use self::tools::Tools;
use self::trial::{Bench, Outcome, Side, Trial};
use self::world::{SECRET, Scratch, World};
use crate::cli::Demo;
use crate::failure::Failure;
use crate::output;
use crate::render::style::Colour;

/// The demo could not be shown.
#[derive(Debug, thiserror::Error)]
enum DemoError {
    #[error("this program's own file can't be found")]
    Program(#[source] io::Error),
    #[error("signals can't be taken over")]
    Signals(#[source] io::Error),
    #[error("the sample project could not be made")]
    World(#[source] world::WorldError),
    #[error("`{name}` could not be tried")]
    Try {
        name: &'static str,
        #[source]
        source: io::Error,
    },
}

/// Shows the boundary.
pub(crate) fn run(options: &Demo) -> Result<u8, Failure> {
    #[cfg(windows)]
    if let Some(attack) = &options.inside {
        return probe::run(attack);
    }
    let show = |text: &str| {
        if options.json {
            Ok(())
        } else {
            output::data(text)
        }
    };
    let colour = Colour::of(&stdout());
    let tools = Tools::probe();
    let interrupt =
        Interrupt::take_over().map_err(|error| Failure::internal(DemoError::Signals(error)))?;
    let scratch =
        Scratch::make(options.keep).map_err(|error| Failure::internal(DemoError::World(error)))?;
    show(&report::render_introduction(&tools, colour))?;
    let mut rows = Vec::new();
    let stage = Stage::make(&scratch, tools)?;
    if let Some((status, said)) = stage.refusal()? {
        output::message(&said);
        return Ok(status);
    }
    show(&report::render_heads(Kind::Job, colour))?;
    for job in HERE.jobs {
        let row = stage.job(job)?;
        if let Some(status) = interrupt.status() {
            return Ok(status);
        }
        rows.push(row);
        show(&report::render_row(rows.last(), colour))?;
    }
    show(&report::render_heads(Kind::Attack, colour))?;
    for attack in HERE.attacks {
        let row = stage.attack(attack)?;
        if let Some(status) = interrupt.status() {
            return Ok(status);
        }
        rows.push(row);
        show(&report::render_row(rows.last(), colour))?;
    }
    if options.json {
        output::json(&report::Summary::of(&rows))?;
    } else {
        output::data(&report::render_summary(&rows, colour))?;
    }
    if options.keep {
        output::message(&format!("ringfence: kept {}\n", escape_os(scratch.path())));
    }
    Ok(u8::from(!report::Summary::of(&rows).all_held()))
}

/// The two worlds and how cases run in them.
struct Stage {
    bench: Bench,
    tools: Tools,
    control: World,
    inside: World,
}

impl Stage {
    fn make(scratch: &Scratch, tools: Tools) -> Result<Self, Failure> {
        let program = std::env::current_exe()
            .map_err(|error| Failure::internal(DemoError::Program(error)))?;
        let world = |name| {
            World::make(scratch, name, &tools)
                .map_err(|error| Failure::internal(DemoError::World(error)))
        };
        let (control, inside) = (world("control")?, world("inside")?);
        let bench = Bench {
            shell: HERE.shell,
            program,
            scratch: scratch.path().to_owned(),
            variables: variables(),
        };
        Ok(Self {
            bench,
            tools,
            control,
            inside,
        })
    }

    /// Why nothing runs inside, with the status that says so; asked before anything is shown.
    fn refusal(&self) -> Result<Option<(u8, String)>, Failure> {
        let refused = self.bench.refusal(&self.inside);
        refused.map_err(failed("an empty command"))
    }

    fn job(&self, job: &Job) -> Result<Row, Failure> {
        let Some(tool) = self.tools.program(job.tool) else {
            return Ok(Row::left_out(
                Kind::Job,
                job.name,
                format!("{} is not installed", job.tool.name()),
            ));
        };
        let try_it = |side, world: &World| -> io::Result<Trial> {
            let filled = fill(job.script, world, tool, None)?;
            self.bench.work(side, world, &filled, job.tool)
        };
        let control = try_it(Side::Control, &self.control).map_err(failed(job.name))?;
        let inside = try_it(Side::Inside, &self.inside).map_err(failed(job.name))?;
        let verdict = match (&control.outcome, &inside.outcome) {
            (Outcome::Worked, Outcome::Worked) => Verdict::Held,
            (Outcome::Worked, Outcome::Unknown { .. }) => Verdict::NoAnswer,
            (Outcome::Worked, _) => Verdict::Broken,
            (_, _) => Verdict::NotTested,
        };
        Ok(Row::tried(Kind::Job, job.name, verdict, control, inside))
    }

    fn attack(&self, attack: &Attack) -> Result<Row, Failure> {
        let Some(tool) = self.tools.program(attack.tool) else {
            let why = format!("{} is not installed", attack.tool.name());
            return Ok(Row::left_out(Kind::Attack, attack.name, why));
        };
        if let Some(why) = host_refuses(attack.place) {
            return Ok(Row::left_out(Kind::Attack, attack.name, why));
        }
        let try_it = |side, world: &World| -> io::Result<Trial> {
            let socket = world.home.join("docker.sock");
            let mut outside = Outside::open(&socket)?;
            let filled = fill(attack.script, world, tool, Some((&outside, &socket)))?;
            self.bench
                .attack(side, world, &filled, attack, &mut outside)
        };
        let control = try_it(Side::Control, &self.control).map_err(failed(attack.name))?;
        let inside = try_it(Side::Inside, &self.inside).map_err(failed(attack.name))?;
        let verdict = match (&control.outcome, &inside.outcome) {
            (
                Outcome::Worked,
                Outcome::Refused { .. } | Outcome::Quarantined | Outcome::Contained,
            ) => Verdict::Held,
            (Outcome::Worked, Outcome::Worked) => Verdict::Broken,
            (Outcome::Worked, Outcome::Unknown { .. }) => Verdict::NoAnswer,
            (_, _) => Verdict::NotTested,
        };
        Ok(Row::tried(
            Kind::Attack,
            attack.name,
            verdict,
            control,
            inside,
        ))
    }
}

fn failed(name: &'static str) -> impl Fn(io::Error) -> Failure {
    move |source| Failure::internal(DemoError::Try { name, source })
}

/// Fills a script for a world, and for what is outside where there is any.
fn fill(
    script: &str,
    world: &World,
    tool: &Path,
    outside: Option<(&Outside, &Path)>,
) -> io::Result<Filled> {
    let (port, victim, socket) = match outside {
        Some((outside, socket)) => (outside.port()?, outside.victim(), socket),
        None => (0, 0, Path::new("")),
    };
    let filling = Filling {
        tool,
        home: &world.home,
        probe: &world.project.join("build/probe"),
        socket,
        port,
        victim,
    };
    Ok(HERE.shell.fill(script, filling))
}

/// Variables of both sides: where tools are found, and a token that nobody inside may see.
fn variables() -> Vec<(&'static str, OsString)> {
    if cfg!(windows) {
        return vec![("DEMO_API_TOKEN", OsString::from(SECRET))];
    }
    let mut variables = vec![
        ("LANG", OsString::from("C")),
        ("GIT_CONFIG_NOSYSTEM", OsString::from("1")),
        ("DEMO_API_TOKEN", OsString::from(SECRET)),
    ];
    for name in ["PATH", "USER", "RUSTUP_TOOLCHAIN"] {
        variables.extend(std::env::var_os(name).map(|value| (name, value)));
    }
    // The home is another one here; the toolchain stays where it is.
    for (name, default) in [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")] {
        let place = std::env::var_os(name).or_else(|| {
            Some(std::env::home_dir()?.join(default))
                .filter(|path| path.is_dir())
                .map(OsString::from)
        });
        variables.extend(place.map(|place| (name, place)));
    }
    variables
}

/// Why the control can't work on this host for this user, if so: the attack would prove nothing.
fn host_refuses(place: Where) -> Option<String> {
    if is_root() {
        return None;
    }
    let read = |path: &str| {
        std::fs::read_to_string(path)
            .map(|text| text.trim().to_owned())
            .ok()
    };
    match place {
        Where::Anywhere => None,
        Where::Root if cfg!(windows) => {
            Some("needs an administrator, also without a boundary".to_owned())
        }
        Where::Root => Some("needs root, also without a boundary".to_owned()),
        Where::UserNamespaces => user_namespaces_refused(read)
            .then(|| "this host gives its users no namespaces".to_owned()),
        Where::Tracing => match read("/proc/sys/kernel/yama/ptrace_scope").as_deref() {
            None | Some("0") => None,
            Some(_) => {
                Some("this host lets users trace only their own children (ptrace_scope)".to_owned())
            }
        },
        Where::LegacyTiocsti => match read("/proc/sys/dev/tty/legacy_tiocsti").as_deref() {
            None | Some("1") => None,
            Some(_) => {
                Some("this kernel has switched it off for users (legacy_tiocsti)".to_owned())
            }
        },
    }
}

fn user_namespaces_refused(read: impl Fn(&str) -> Option<String>) -> bool {
    let is = |path: &str, value: &str| read(path).is_some_and(|text| text == value);
    is("/proc/sys/user/max_user_namespaces", "0")
        || is("/proc/sys/kernel/unprivileged_userns_clone", "0")
        || is(
            "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
            "1",
        )
}

/// Root's own files belong to uid 0; `/proc/self` belongs to the effective uid (proc(5)).
#[cfg(unix)]
fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

/// An administrator's process may write to this file; it is opened, and nothing is written.
#[cfg(not(unix))]
fn is_root() -> bool {
    std::env::var_os("SystemRoot").is_some_and(|system| {
        let file = Path::new(&system).join(r"System32\drivers\etc\hosts");
        std::fs::OpenOptions::new().append(true).open(file).is_ok()
    })
}

/// A tool's name where a person reads it.
fn tool_names(tools: &Tools) -> (Vec<&'static str>, Vec<&'static str>) {
    HERE.tools.iter().copied().fold(
        (Vec::new(), Vec::new()),
        |(mut found, mut missing), tool| {
            if tools.program(tool).is_some() {
                found.push(tool.name());
            } else {
                missing.push(tool.name());
            }
            (found, missing)
        },
    )
}

#[cfg(all(test, windows))]
mod tests {
    //! The controls, as `cmd.exe` understands them.

    use super::cases::Effect;
    use super::tools::Tool;
    use super::*;

    #[test]
    #[ignore = "wine has no junctions, no streams, and another cmd.exe: for Windows itself"]
    fn the_controls_of_cmd_work_without_a_boundary() {
        let tools = Tools {
            git: None,
            cargo: None,
            python: None,
            powershell: None,
            ..Tools::probe()
        };
        let scratch = Scratch::make(false).unwrap();
        let stage = Stage::make(&scratch, tools).unwrap();
        let mut failed = Vec::new();
        for attack in HERE.attacks {
            let Some(tool) = stage.tools.program(attack.tool) else {
                continue;
            };
            let is_left_out = attack.effect == Effect::Victim
                // Of a test's program there is no demo.
                || attack.tool == Tool::Own
                || host_refuses(attack.place).is_some();
            if is_left_out {
                continue;
            }
            let socket = scratch.path().join("socket");
            let mut outside = Outside::open(&socket).unwrap();
            let world = &stage.control;
            let filled = fill(attack.script, world, tool, Some((&outside, &socket))).unwrap();
            let trial = stage
                .bench
                .attack(Side::Control, world, &filled, attack, &mut outside)
                .unwrap();
            if trial.outcome != Outcome::Worked {
                failed.push((attack.name, trial.outcome));
            }
        }
        for job in HERE.jobs {
            let Some(tool) = stage.tools.program(job.tool) else {
                continue;
            };
            let filled = fill(job.script, &stage.control, tool, None).unwrap();
            let bench = &stage.bench;
            let trial = bench
                .work(Side::Control, &stage.control, &filled, job.tool)
                .unwrap();
            if trial.outcome != Outcome::Worked {
                failed.push((job.name, trial.outcome));
            }
        }
        assert_eq!(failed, []);
        let path = scratch.path().to_owned();
        drop(scratch);
        assert!(!path.exists());
    }
}
