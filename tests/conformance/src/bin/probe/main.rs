//! The attacker of the conformance suite: one attack per run, one typed result on standard output.
//!
//! `probe NAME OBJECT...` runs one attack and prints one JSON line. `probe batch JSON` runs a list of them, each in a
//! process of its own, and prints one line each, so that one crash never hides another result.
//! Invariant: the exit status says nothing; what isn't printed has not been tried.

#![cfg_attr(
    unix,
    expect(
        unsafe_code,
        reason = "an attack is a system call as it is; wrappers would refuse the hostile forms"
    )
)]

#[cfg(unix)]
mod calls;
#[cfg(unix)]
mod egress;
#[cfg(unix)]
mod internet;
#[cfg(unix)]
mod kernel;
#[cfg(unix)]
mod load;
#[cfg(unix)]
mod reads;
#[cfg(unix)]
mod sockets;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;
#[cfg(unix)]
mod wrappers;
#[cfg(unix)]
mod writes;

use std::ffi::OsString;
use std::process::{Command, Stdio};

use ringfence_conformance_tests::finished::crash;
use ringfence_conformance_tests::verdict::{Stopped, Verdict};

#[cfg(unix)]
use crate::calls::Outcome;

fn main() {
    let mut arguments = std::env::args_os().skip(1);
    let Some(name) = arguments.next().and_then(|name| name.into_string().ok()) else {
        print(&Verdict::of(Err(Stopped::untried(
            "usage: probe NAME OBJECT...",
        ))));
        return;
    };
    let words: Vec<OsString> = arguments.collect();
    match name.as_str() {
        "batch" => batch(&words),
        #[cfg(unix)]
        "deny-userns" | "deny-landlock" => wrappers::run(&name, &words),
        #[cfg(unix)]
        "internet" => internet::run(&words),
        #[cfg(windows)]
        "exit" | "copy" => windows::behave(&name, &words),
        #[cfg(unix)]
        _ => print(&Verdict::of(attack(&name, words))),
        #[cfg(windows)]
        _ => print(&Verdict::of(windows::attack(&name, &words))),
    }
}

fn print(verdict: &Verdict) {
    use std::io::Write;
    let line = serde_json::to_string(verdict).unwrap_or_default();
    let mut output = std::io::stdout().lock();
    let _ = writeln!(output, "{line}");
    let _ = output.flush();
}

#[cfg(unix)]
fn attack(name: &str, words: Vec<OsString>) -> Outcome {
    use std::ffi::CString;
    use std::os::unix::ffi::OsStringExt as _;

    use ringfence_conformance_tests::write_calls::write_call;

    let words: Vec<CString> = words
        .into_iter()
        .map(|word| {
            CString::new(word.into_vec()).map_err(|_| Stopped::untried("a word with a NUL byte"))
        })
        .collect::<Result<_, _>>()?;
    if write_call(name).is_some() {
        let target = writes::Target::new(&words)?;
        return writes::run(name, &target)
            .unwrap_or_else(|| Err(Stopped::untried("a row without an attack")));
    }
    reads::run(name, &words)
        .or_else(|| sockets::run(name, &words))
        .or_else(|| unix::run(name, &words))
        .or_else(|| egress::run(name, &words))
        .or_else(|| kernel::run(name, &words))
        .unwrap_or_else(|| Err(Stopped::untried(format!("no attack is named {name}"))))
}

/// Runs every attack of the list, each in a process of its own.
fn batch(words: &[OsString]) {
    let list = words.first().map(|word| word.to_string_lossy());
    let attacks: Vec<Vec<String>> = list
        .and_then(|list| serde_json::from_str(&list).ok())
        .unwrap_or_default();
    for attack in attacks {
        print(&run_alone(&attack));
    }
}

fn run_alone(attack: &[String]) -> Verdict {
    #[cfg(unix)]
    let program = Ok(std::path::PathBuf::from("/proc/self/exe"));
    #[cfg(windows)]
    let program = std::env::current_exe();
    let start = |program| {
        Command::new(program)
            .args(attack)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
    };
    let output = match program.and_then(start) {
        Ok(output) => output,
        Err(error) => {
            return Verdict::Failed {
                errno: 0,
                call: format!("starting the attack: {error}"),
            };
        }
    };
    if let Some(signal) = crash(output.status) {
        return Verdict::Crashed { signal };
    }
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .last()
        .and_then(|line| serde_json::from_str(line).ok())
        .unwrap_or(Verdict::Silent {
            status: output.status.code().unwrap_or(-1),
        })
}
