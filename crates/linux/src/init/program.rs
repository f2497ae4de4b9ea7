//! What execve is given for a command: where to look for it, its arguments and its variables.
//!
//! Looks at no file. Invariant: only bytes that the request named are passed on.

use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use rustix::io::Errno;

use ringfence_backend::CommandRequest;

use crate::exec::{Lookup, Program};

/// Where a program without a slash is looked for when the command has no PATH.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Candidates, arguments and variables of a command for execve.
pub(super) fn lay_out(request: &CommandRequest) -> Result<Program, Errno> {
    let name = request.arguments.first().ok_or(Errno::INVAL)?;
    let (candidates, lookup) = if name.is_empty() {
        // Nothing is called that; each directory of PATH would be.
        (Vec::new(), Lookup::Search)
    } else if name.as_bytes().contains(&b'/') {
        (vec![c_string(name)?], Lookup::Path)
    } else {
        let path = request
            .environment
            .iter()
            .find(|(name, _)| name == "PATH")
            .map(|(_, value)| value.as_os_str());
        let path = path.unwrap_or(OsStr::new(DEFAULT_PATH));
        let directories = path
            .as_bytes()
            .split(|byte| *byte == b':')
            .filter(|directory| !directory.is_empty());
        let candidates = directories
            .map(|directory| {
                CString::new([directory, b"/", name.as_bytes()].concat()).map_err(|_| Errno::INVAL)
            })
            .collect::<Result<_, _>>()?;
        (candidates, Lookup::Search)
    };
    let environment = request
        .environment
        .iter()
        .map(|(name, value)| {
            CString::new([name.as_bytes(), b"=", value.as_bytes()].concat())
                .map_err(|_| Errno::INVAL)
        })
        .collect::<Result<_, _>>()?;
    let arguments = request
        .arguments
        .iter()
        .map(c_string)
        .collect::<Result<_, _>>()?;
    Ok(Program {
        candidates,
        lookup,
        arguments,
        environment,
    })
}

fn c_string(text: &OsString) -> Result<CString, Errno> {
    CString::new(text.as_bytes()).map_err(|_| Errno::INVAL)
}
