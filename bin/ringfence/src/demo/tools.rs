//! The ordinary programs that the demo's project is built with: what is installed is used, what is not is said.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a job or an attack needs beside a shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tool {
    /// Nothing.
    Shell,
    /// git.
    Git,
    /// A C compiler; the probe of the attacks is built with it.
    C,
    /// cargo, with the toolchain behind it.
    Cargo,
    /// Python 3.
    Python,
    /// Windows's own PowerShell.
    PowerShell,
    /// This program, as the attacker's tool of Windows.
    Own,
}

impl Tool {
    /// Its name, for a person.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Shell => "a shell",
            Self::Git => "git",
            Self::C => "a C compiler",
            Self::Cargo => "cargo",
            Self::Python => "python3",
            Self::PowerShell => "PowerShell",
            Self::Own => "this program",
        }
    }
}

/// The attacker's tool of Windows, from the project: a copy of this program.
pub(crate) const OWN_PROBE: &str = r"build\probe.exe";

/// What was found, by starting it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tools {
    /// git, as it is called.
    pub(crate) git: Option<PathBuf>,
    /// The C compiler.
    pub(crate) c: Option<PathBuf>,
    /// cargo.
    pub(crate) cargo: Option<PathBuf>,
    /// The interpreter itself, not a shim in front of it.
    pub(crate) python: Option<PathBuf>,
    /// PowerShell, by absolute path.
    pub(crate) powershell: Option<PathBuf>,
}

impl Tools {
    /// Looks for each tool on PATH and starts it once.
    pub(crate) fn probe() -> Self {
        let works = |program: &str| starts(program).then(|| PathBuf::from(program));
        Self {
            git: works("git"),
            // The probe that it builds knows Unix alone.
            c: ["cc", "gcc", "clang"]
                .into_iter()
                .filter(|_| cfg!(unix))
                .find_map(works),
            cargo: works("cargo"),
            python: ["python3", "python"].into_iter().find_map(probe_python),
            powershell: probe_powershell(),
        }
    }

    /// The program behind `tool`, if it is installed.
    pub(crate) fn program(&self, tool: Tool) -> Option<&Path> {
        match tool {
            Tool::Shell => Some(Path::new(if cfg!(windows) { "cmd" } else { "sh" })),
            Tool::Git => self.git.as_deref(),
            Tool::C => self.c.as_deref(),
            Tool::Cargo => self.cargo.as_deref(),
            Tool::Python => self.python.as_deref(),
            Tool::PowerShell => self.powershell.as_deref(),
            Tool::Own => cfg!(windows).then(|| Path::new(OWN_PROBE)),
        }
    }
}

fn starts(program: &str) -> bool {
    Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Version switchers put a script in front of the interpreter that needs the real home; the interpreter doesn't.
fn probe_python(program: &str) -> Option<PathBuf> {
    let output = Command::new(program)
        .args([
            "-c",
            "import sys; print(sys.executable); sys.exit(sys.version_info < (3,))",
        ])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let path = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    path.is_absolute().then_some(path)
}

/// Where Windows has it.
fn probe_powershell() -> Option<PathBuf> {
    let system = std::env::var_os("SystemRoot").filter(|_| cfg!(windows))?;
    let path = Path::new(&system).join(r"System32\WindowsPowerShell\v1.0\powershell.exe");
    path.is_file().then_some(path)
}
