//! What work costs inside: processor time inside ÷ outside, for real work and for loops that do one thing.
//!
//! The observer's own work, done by the session's init, is not in these figures. Invariant: the same shell script runs in all places, and it must succeed there.

use std::path::Path;
use std::time::Duration;

use crate::arguments::Arguments;
use crate::contender::{self, Contender, Observer};
use crate::cpu;
use crate::samples::{Samples, milliseconds, ratio};
use crate::scene::{Scene, write_deep};
use crate::table::{Goal, Row, Unit};
use crate::trial::{self, TrialError};

/// Some work, and what it may cost with the observer off and with `writes`.
struct Work {
    name: &'static str,
    script: &'static str,
    off: Goal,
    writes: Goal,
}

/// `$1` is the workspace, `$2` a number of repetitions.
const WORK: [Work; 6] = [
    Work {
        name: "make",
        script: "cd \"$1/project\" && make -s clean && make -s",
        off: Goal::AtMost(1.02),
        writes: Goal::AtMost(1.10),
    },
    Work {
        name: "git",
        script: "cd \"$1\" && i=0 && while [ $i -lt \"$2\" ]; do git -c safe.directory='*' status -s && git -c safe.directory='*' log --oneline && git -c safe.directory='*' diff --stat; i=$((i+1)); done",
        off: Goal::AtMost(1.02),
        writes: Goal::AtMost(1.10),
    },
    Work {
        name: "spawn loop",
        script: "i=0; while [ $i -lt \"$(($2 * 40))\" ]; do /bin/true; i=$((i+1)); done",
        off: Goal::AtMost(1.02),
        writes: Goal::None,
    },
    Work {
        name: "stat of many files",
        script: "find \"$1/tree\" -size +100k",
        off: Goal::AtMost(1.05),
        writes: Goal::None,
    },
    Work {
        name: "open-heavy scan",
        script: "grep -r needle \"$1/tree\"; [ $? -eq 1 ]",
        off: Goal::AtMost(1.15),
        writes: Goal::None,
    },
    Work {
        name: "file-creation loop",
        script: "mkdir \"$1/new\" && cd \"$1/new\" && i=0 && while [ $i -lt \"$(($2 * 200))\" ]; do : > f$i; i=$((i+1)); done; rm -r \"$1/new\"",
        off: Goal::None,
        writes: Goal::None,
    },
];

/// All of it.
pub(crate) fn measure(arguments: &Arguments) -> Result<Vec<Row>, TrialError> {
    let scene = Scene::make(0)?;
    prepare(arguments, &scene)?;
    let workspace = scene.workspace().to_string_lossy().into_owned();
    let count = arguments.repetitions(50, 2).to_string();
    let mut rows = Vec::new();
    for work in &WORK {
        let script = cpu::timed(work.script);
        let target = ["bash", "-c", &script, "bash", &workspace, &count];
        let contenders = [
            contender::plain(&target),
            contender::ringfence(arguments, &scene, Observer::Off, &target),
            contender::ringfence(arguments, &scene, Observer::Writes, &target),
        ];
        let [plain, off, writes] = processor_time(&contenders, arguments.repetitions(7, 1));
        let row = |suffix, goal, inside: &Result<Samples, String>| {
            let what = format!("{}: inside ÷ outside, {suffix}", work.name);
            match (inside, &plain) {
                (Ok(inside), Ok(outside)) => {
                    let (inside, outside) = (inside.median(), outside.median());
                    let detail = format!(
                        "{:.0} ms and {:.0} ms of processor time",
                        milliseconds(inside),
                        milliseconds(outside)
                    );
                    Row::new(&what, Unit::Ratio, goal, ratio(inside, outside), detail)
                }
                (Err(why), _) | (_, Err(why)) => Row::failed(&what, Unit::Ratio, goal, why.clone()),
            }
        };
        rows.push(row("observer off", work.off, &off));
        rows.push(row("observer writes", work.writes, &writes));
    }
    Ok(rows)
}

/// Processor time of each contender, interleaved, after one round for nothing.
fn processor_time(contenders: &[Contender; 3], rounds: usize) -> [Result<Samples, String>; 3] {
    let mut times: [Result<Vec<Duration>, String>; 3] = [const { Ok(Vec::new()) }; 3];
    for round in 0..=rounds {
        for (contender, lane) in contenders.iter().zip(&mut times) {
            let Ok(measured) = lane else { continue };
            match trial::capture(contender) {
                Ok(output) => match cpu::read(&output) {
                    Some(time) if round > 0 => measured.push(time),
                    Some(_) => {}
                    None => *lane = Err(format!("no times in {output:?}")),
                },
                Err(why) => *lane = Err(why.to_string()),
            }
        }
    }
    times.map(|lane| lane.and_then(|times| Samples::new(times).ok_or("no rounds".to_owned())))
}

/// A small C project, a git history, and a tree of many small files.
fn prepare(arguments: &Arguments, scene: &Scene) -> Result<(), TrialError> {
    let project = scene.workspace().join("project");
    let sources = arguments.repetitions(30, 3);
    for index in 0..sources {
        let text = format!(
            "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\nint f{index}(int x) {{ char b[64]; snprintf(b, sizeof b, \"%d\", x); return (int)strlen(b); }}\n"
        );
        write_deep(&project.join(format!("f{index}.c")), text.as_bytes())?;
    }
    let makefile = "OBJECTS := $(patsubst %.c,%.o,$(wildcard *.c))\nlibf.a: $(OBJECTS)\n\tar rc $@ $^\nclean:\n\trm -f *.o *.a\n";
    write_deep(&project.join("Makefile"), makefile.as_bytes())?;
    commit(&scene.workspace())?;
    for index in 0..arguments.repetitions(100_000, 2000) {
        let path =
            scene
                .workspace()
                .join(format!("tree/d{:03}/f{:03}", index / 1000, index % 1000));
        write_deep(&path, b"hay\n")?;
    }
    Ok(())
}

/// Commits the project, so that git has something to look at.
fn commit(workspace: &Path) -> Result<(), TrialError> {
    let workspace = workspace.to_string_lossy();
    let script = "cd \"$1\" && git init -q && printf 'tree\\nnew\\n' > .gitignore && git add project .gitignore && \
                  git -c user.name=bench -c user.email=bench@example.com commit -qm one";
    trial::run_once(&Contender::new(
        "git",
        ["sh", "-c", script, "sh", &workspace],
    ))
    .map(drop)
}
