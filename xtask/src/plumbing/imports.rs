//! Which libraries of the system the elevated program calls, by the table in its file.
//!
//! The list of crates (`cargo xtask tidy`) says what it is built from; this says what the linker has kept of it.
//! Invariant: a library that is not on the list is a failure, so that one which speaks to a network is looked at first.

use std::fmt::Write as _;
use std::process::Command;

use super::{Part, PlumbingError, directory};
use crate::process;
use crate::project::Project;

/// The program.
const ELEVATED: &str = "ringfence-setup.exe";
/// What tells the table: part of mingw, which links the program.
const OBJDUMP: &str = "x86_64-w64-mingw32-objdump";

/// All that it may call.
const ALLOWED: &[&str] = &[
    "advapi32.dll",
    "api-ms-win-core-synch-l1-2-0.dll",
    // Random bytes alone.
    "bcrypt.dll",
    "bcryptprimitives.dll",
    "combase.dll",
    "crypt32.dll",
    "fwpuclnt.dll",
    "kernel32.dll",
    "msvcrt.dll",
    "netapi32.dll",
    "ntdll.dll",
    "ole32.dll",
    "oleaut32.dll",
    "shell32.dll",
    "userenv.dll",
    // `verify` connects to a listener of its own on this machine.
    "ws2_32.dll",
    // Processes of this machine with their users, whose tokens an administrator may not open.
    "wtsapi32.dll",
];

/// Names of libraries, in small letters, from what `objdump -p` prints.
fn libraries(printed: &str) -> Vec<String> {
    let mut found: Vec<String> = printed
        .lines()
        .filter_map(|line| line.trim().strip_prefix("DLL Name:"))
        .map(|name| name.trim().to_lowercase())
        .collect();
    found.sort();
    found.dedup();
    found
}

/// Looks at the program that was built.
pub(super) fn run(project: &Project) -> Result<Part, PlumbingError> {
    let program = directory(project).join(ELEVATED);
    if process::find(OBJDUMP).is_none() || !program.is_file() {
        return Ok(Part::Skipped(format!(
            "{OBJDUMP} is not installed (Debian: binutils-mingw-w64-x86-64), or {ELEVATED} was not built"
        )));
    }
    let mut command = Command::new(OBJDUMP);
    command.arg("-p").arg(&program);
    let finished = process::capture(command).map_err(PlumbingError::Run)?;
    let found = libraries(&finished.output);
    if !finished.success || found.is_empty() {
        return Ok(Part::Failed(format!("no table: {}", finished.output)));
    }
    let strangers: Vec<&String> = found
        .iter()
        .filter(|name| !ALLOWED.contains(&name.as_str()))
        .collect();
    if strangers.is_empty() {
        return Ok(Part::Held(format!(
            "{ELEVATED} calls {} libraries of the system: no HTTP, no TLS, no resolver\n",
            found.len()
        )));
    }
    let mut text = String::new();
    for name in strangers {
        let _ = writeln!(text, "{ELEVATED} calls {name}, which is not on its list");
    }
    Ok(Part::Failed(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_read_and_what_speaks_to_a_network_is_on_no_list() {
        let printed =
            " The Import Tables\n\tDLL Name: KERNEL32.dll\n\tvma: Hint\n\tDLL Name: WINHTTP.dll\n";
        assert_eq!(libraries(printed), ["kernel32.dll", "winhttp.dll"]);
        for name in [
            "winhttp.dll",
            "wininet.dll",
            "secur32.dll",
            "schannel.dll",
            "dnsapi.dll",
            "httpapi.dll",
            "urlmon.dll",
            "websocket.dll",
            "iphlpapi.dll",
        ] {
            assert!(!ALLOWED.contains(&name), "{name}");
        }
    }
}
