//! The command line of the yardstick. It checks no path. Invariant: every option has exactly one value.

use std::ffi::OsString;
use std::path::PathBuf;

/// How to call it.
pub(crate) const USAGE: &str = "\
usage: limit --workspace DIR --tmp DIR [--protect NAME]... [--protect-list FILE] [--hide PATH]... [--trace] -- COMMAND...";

/// What the caller asked for.
pub(crate) struct Options {
    /// The writable root.
    pub(crate) workspace: PathBuf,
    /// A directory of the host that becomes `/tmp`.
    pub(crate) tmp: PathBuf,
    /// Names below the workspace that stay read-only.
    pub(crate) protect: Vec<PathBuf>,
    /// Files and directories that are hidden.
    pub(crate) hide: Vec<PathBuf>,
    /// Print what each stage took.
    pub(crate) trace: bool,
    /// The program and its arguments.
    pub(crate) command: Vec<OsString>,
}

impl Options {
    /// Reads the arguments after the program's name.
    pub(crate) fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Self, String> {
        let mut arguments = arguments;
        let (mut workspace, mut tmp) = (None, None);
        let (mut protect, mut hide) = (Vec::new(), Vec::new());
        let mut trace = false;
        while let Some(option) = arguments.next() {
            let name = option.to_string_lossy().into_owned();
            if name == "--" {
                break;
            }
            if name == "--trace" {
                trace = true;
                continue;
            }
            let Some(value) = arguments.next().map(PathBuf::from) else {
                return Err(format!("{name} wants a value"));
            };
            match name.as_str() {
                "--workspace" => workspace = Some(value),
                "--tmp" => tmp = Some(value),
                "--protect" => protect.push(value),
                "--protect-list" => {
                    let list = std::fs::read_to_string(&value)
                        .map_err(|cause| format!("can't read {}: {cause}", value.display()))?;
                    protect.extend(list.lines().map(PathBuf::from));
                }
                "--hide" => hide.push(value),
                _ => return Err(format!("unknown option {name}")),
            }
        }
        let command: Vec<OsString> = arguments.collect();
        if command.is_empty() {
            return Err("no command".to_owned());
        }
        Ok(Self {
            workspace: workspace.ok_or("no --workspace")?,
            tmp: tmp.ok_or("no --tmp")?,
            protect,
            hide,
            trace,
            command,
        })
    }
}
