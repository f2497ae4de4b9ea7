//! `ringfence demo`: a person's first minute. A small project is built, tested and looked at inside the boundary,
//! then attacked as a hostile agent would, and every row is shown beside its control.
//!
//! Invariant: nothing is left behind, and the status is 0 only if all that was tried ended as it should.

mod cases;
mod interrupt;
mod outside;
mod report;
mod tools;
mod trial;
mod world;

use std::ffi::OsString;
use std::io::{self, stdout};

use crate::render::escape::escape_os;

use self::cases::{ATTACKS, Attack, JOBS, Job, Where};
use self::interrupt::Interrupt;
use self::outside::Outside;
use self::report::{Kind, Row, Verdict};
use self::tools::{Tool, Tools};
use self::trial::{Bench, Filling, Outcome, Side, Trial, fill};
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
    show(&report::render_heads(Kind::Job, colour))?;
    for job in JOBS {
        let row = stage.job(job)?;
        if let Some(status) = interrupt.status() {
            return Ok(status);
        }
        rows.push(row);
        show(&report::render_row(rows.last(), colour))?;
    }
    show(&report::render_heads(Kind::Attack, colour))?;
    for attack in ATTACKS {
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

    fn job(&self, job: &Job) -> Result<Row, Failure> {
        let Some(tool) = self.tools.program(job.tool) else {
            return Ok(Row::left_out(
                Kind::Job,
                job.name,
                format!("{} is not installed", job.tool.name()),
            ));
        };
        let try_it = |side, world: &World| -> io::Result<Trial> {
            let filling = Filling {
                tool,
                outside: None,
                socket: "".as_ref(),
            };
            self.bench
                .work(side, world, &fill(job.script, world, filling)?)
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
            let filling = Filling {
                tool,
                outside: Some(&outside),
                socket: &socket,
            };
            let script = fill(attack.script, world, filling)?;
            self.bench
                .attack(side, world, &script, attack.effect, &mut outside)
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

/// Variables of both sides: where tools are found, and a token that nobody inside may see.
fn variables() -> Vec<(&'static str, OsString)> {
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
fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

/// A tool's name where a person reads it.
fn tool_names(tools: &Tools) -> (Vec<&'static str>, Vec<&'static str>) {
    [Tool::Git, Tool::C, Tool::Cargo, Tool::Python]
        .into_iter()
        .fold(
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
