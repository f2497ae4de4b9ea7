//! What the checks need of this machine: programs, targets of the compiler, `cargo-deny`.
//!
//! It installs only as root (apt, rustup, cargo); for anybody else it writes down one command to copy. Invariant:
//! what is still missing afterwards is known by name, so that the steps that need it are skipped aloud.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Extent, Verdict};
use crate::process;
use crate::project::{self, Project};

/// A program some step starts, and the Debian package that brings it.
///
/// Node.js with npm (some 400 packages in Debian), Maven (a Java machine) and uv (not in Debian) are too heavy to
/// install for one case of the conformance suite each: it runs them where they are, else it skips them by name.
const PROGRAMS: [(&str, &str); 14] = [
    ("bash", "bash"),
    ("bwrap", "bubblewrap"),
    ("ip", "iproute2"),
    ("openssl", "openssl"),
    ("git", "git"),
    ("go", "golang-go"),
    ("make", "make"),
    ("pip3", "python3-pip"),
    ("python3", "python3"),
    ("strace", "strace"),
    ("gcc", "gcc"),
    ("setpriv", "util-linux"),
    ("ssh", "openssh-client"),
    ("sshd", "openssh-server"),
];

/// What the oracles of the Windows model need beside programs in PATH: a file that shows it, and its Debian package.
const ORACLE_PACKAGES: [(&str, &str); 3] = [
    (
        "/usr/lib/python3/dist-packages/samba/__init__.py",
        "python3-samba",
    ),
    ("/usr/sbin/smbd", "samba"),
    (
        "/usr/lib/x86_64-linux-gnu/samba/vfs/acl_xattr.so",
        "samba-vfs-modules",
    ),
];

/// What the Windows programs are linked with and tried under: files that show it, one of which must be there, and the
/// Debian packages. A quick run leaves them out.
const WINDOWS_PACKAGES: [(&[&str], &str); 2] = [
    (&["/usr/bin/x86_64-w64-mingw32-gcc"], "gcc-mingw-w64-x86-64"),
    (
        &["/usr/bin/wine64", "/usr/lib/wine/wine64", "/usr/bin/wine"],
        "wine64",
    ),
];

/// The targets that are linted beside this machine's own.
pub(crate) const FOREIGN_TARGETS: [&str; 4] = [
    "x86_64-pc-windows-gnu",
    "x86_64-pc-windows-msvc",
    "aarch64-pc-windows-msvc",
    "aarch64-apple-darwin",
];

/// The target of the release build: one static file.
pub(crate) const STATIC_TARGET: &str = crate::bench::TARGET;

/// The version of cargo-deny that `deny.toml` is written for.
const DENY_VERSION: &str = "0.20.2";

/// Something a step may need.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Need {
    /// A program in PATH.
    Program(&'static str),
    /// A Debian package that the Windows programs are linked with or tried under.
    WindowsPackage(&'static str),
    /// A Debian package that the oracles need; only where there are oracles.
    OraclePackage(&'static str),
    /// A target of the compiler.
    Target(&'static str),
    /// The dependency checker.
    CargoDeny,
}

impl std::fmt::Display for Need {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Program(name) | Self::OraclePackage(name) | Self::WindowsPackage(name) => {
                write!(formatter, "{name}")
            }
            Self::Target(name) => write!(formatter, "rust target {name}"),
            Self::CargoDeny => write!(formatter, "cargo-deny"),
        }
    }
}

/// Who runs the checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caller {
    /// uid 0: may install.
    Root,
    /// Anybody else.
    Ordinary,
}

/// What this machine has and lacks.
#[derive(Debug)]
pub(crate) struct Tools {
    /// Who runs the checks.
    pub(crate) caller: Caller,
    missing: BTreeSet<Need>,
}

impl Tools {
    /// Finds what is missing and, as root, installs it.
    pub(crate) fn prepare(project: &Project, extent: Extent) -> (Self, Verdict) {
        let caller = observe_caller();
        let mut tools = Self {
            caller,
            missing: observe_missing(project, extent),
        };
        if tools.missing.is_empty() {
            return (tools, Verdict::Passed(None));
        }
        if extent == Extent::Quick || caller == Caller::Ordinary {
            let reason = format!("missing: {}", tools.names());
            return (tools, Verdict::Skipped(reason));
        }
        let mut output = String::new();
        for command in tools.commands(project) {
            match process::capture(command) {
                Ok(finished) => output.push_str(&finished.output),
                Err(failure) => output.push_str(&failure.to_string()),
            }
        }
        tools.missing = observe_missing(project, extent);
        if tools.missing.is_empty() {
            (tools, Verdict::Passed(None))
        } else {
            output.push_str("still missing: ");
            output.push_str(&tools.names());
            (
                tools,
                Verdict::Failed {
                    tests: None,
                    output,
                },
            )
        }
    }

    /// The reason to skip a step that needs all of `needs`, if there is one.
    pub(crate) fn lacking(&self, needs: &[Need]) -> Option<String> {
        let lacking: Vec<String> = needs
            .iter()
            .filter(|need| self.missing.contains(need))
            .map(ToString::to_string)
            .collect();
        (!lacking.is_empty()).then(|| format!("missing: {}", lacking.join(", ")))
    }

    /// One command to copy, for what is still missing.
    pub(crate) fn advice(&self) -> Option<String> {
        let lines = self.command_lines();
        (!lines.is_empty())
            .then(|| format!("to install what is missing:\n  {}", lines.join(" && ")))
    }

    fn names(&self) -> String {
        let names: Vec<String> = self.missing.iter().map(ToString::to_string).collect();
        names.join(", ")
    }

    fn packages(&self) -> Vec<&'static str> {
        let programs = PROGRAMS
            .iter()
            .filter(|(program, _)| self.missing.contains(&Need::Program(program)));
        let oracles = ORACLE_PACKAGES
            .iter()
            .filter(|(_, package)| self.missing.contains(&Need::OraclePackage(package)));
        let windows = WINDOWS_PACKAGES
            .iter()
            .filter(|(_, package)| self.missing.contains(&Need::WindowsPackage(package)))
            .map(|(_, package)| *package);
        programs
            .chain(oracles)
            .map(|(_, package)| *package)
            .chain(windows)
            .collect()
    }

    fn targets(&self) -> Vec<&'static str> {
        self.missing
            .iter()
            .filter_map(|need| match need {
                Need::Target(name) => Some(*name),
                Need::Program(_)
                | Need::OraclePackage(_)
                | Need::WindowsPackage(_)
                | Need::CargoDeny => None,
            })
            .collect()
    }

    fn command_lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let packages = self.packages();
        if !packages.is_empty() {
            lines.push("sudo apt-get update".to_owned());
            lines.push(format!("sudo apt-get install --yes {}", packages.join(" ")));
        }
        let targets = self.targets();
        if !targets.is_empty() {
            lines.push(format!("rustup target add {}", targets.join(" ")));
        }
        if self.missing.contains(&Need::CargoDeny) {
            lines.push(format!("cargo install cargo-deny@{DENY_VERSION} --locked"));
        }
        lines
    }

    /// The same as [`Self::command_lines`], to be run by root.
    fn commands(&self, project: &Project) -> Vec<Command> {
        let mut commands = Vec::new();
        let packages = self.packages();
        if !packages.is_empty() {
            let mut update = Command::new("apt-get");
            update.arg("update");
            let mut install = Command::new("apt-get");
            install.args(["install", "--yes", "--no-install-recommends"]);
            install.args(packages);
            for command in [&mut update, &mut install] {
                command.env("DEBIAN_FRONTEND", "noninteractive");
            }
            commands.extend([update, install]);
        }
        let targets = self.targets();
        if !targets.is_empty() {
            let mut add = Command::new("rustup");
            add.current_dir(&project.root).args(["target", "add"]);
            add.args(targets);
            commands.push(add);
        }
        if self.missing.contains(&Need::CargoDeny) {
            commands.push(install_cargo_deny(project));
        }
        commands
    }
}

/// Builds cargo-deny as fast as it goes: it runs for a second, so the minutes of an optimised build are wasted.
fn install_cargo_deny(project: &Project) -> Command {
    let mut install = project::cargo(&project.root);
    install.args(["install", "--locked", "--no-default-features"]);
    install.arg(format!("cargo-deny@{DENY_VERSION}"));
    install
        .arg("--target-dir")
        .arg(project.target.join("tools"));
    for (key, value) in [
        ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0"),
        ("CARGO_PROFILE_RELEASE_LTO", "off"),
        ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "256"),
        ("CARGO_PROFILE_RELEASE_DEBUG", "0"),
    ] {
        install.env(key, value);
    }
    install
}

fn observe_missing(project: &Project, extent: Extent) -> BTreeSet<Need> {
    let programs = PROGRAMS
        .iter()
        .filter(|(program, _)| process::find(program).is_none())
        .map(|(program, _)| Need::Program(program));
    let mut missing: BTreeSet<Need> = programs.collect();
    if extent == Extent::Quick {
        return missing;
    }
    if observe_oracles(project) {
        let lacking = ORACLE_PACKAGES
            .iter()
            .filter(|(file, _)| !Path::new(file).exists());
        missing.extend(lacking.map(|(_, package)| Need::OraclePackage(package)));
    }
    let lacking = WINDOWS_PACKAGES
        .iter()
        .filter(|(files, _)| !files.iter().any(|file| Path::new(file).exists()));
    missing.extend(lacking.map(|(_, package)| Need::WindowsPackage(package)));
    let installed = observe_targets(project);
    missing.extend(
        FOREIGN_TARGETS
            .into_iter()
            .chain([STATIC_TARGET])
            .filter(|target| !installed.contains(*target))
            .map(Need::Target),
    );
    if cargo_deny().is_none() {
        missing.insert(Need::CargoDeny);
    }
    missing
}

/// Whether the oracles of the Windows model are here: where the variable points, or beside the checkout.
fn observe_oracles(project: &Project) -> bool {
    std::env::var_os("RINGFENCE_ORACLES")
        .map_or_else(|| project.root.join("../shared/oracles"), PathBuf::from)
        .is_dir()
}

/// Where cargo-deny is: in PATH, or where `cargo install` puts it.
pub(crate) fn cargo_deny() -> Option<PathBuf> {
    process::find("cargo-deny").or_else(|| {
        let home = std::env::var_os("CARGO_HOME")
            .map(PathBuf::from)
            .or_else(|| Some(std::env::home_dir()?.join(".cargo")))?;
        let installed = home.join("bin").join("cargo-deny");
        installed.is_file().then_some(installed)
    })
}

/// The targets whose standard library lies beside the compiler in use, with or without rustup.
fn observe_targets(project: &Project) -> BTreeSet<String> {
    let mut command = Command::new("rustc");
    command.current_dir(&project.root);
    command.args(["--print", "sysroot"]);
    let Ok(finished) = process::capture(command) else {
        return BTreeSet::new();
    };
    let libraries = PathBuf::from(finished.output.trim()).join("lib/rustlib");
    let Ok(entries) = std::fs::read_dir(libraries) else {
        return BTreeSet::new();
    };
    entries
        .flatten()
        .filter(|entry| entry.path().join("lib").is_dir())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Who we are: the owner of our own entry in `/proc`; a system without one has nothing here to install with.
fn observe_caller() -> Caller {
    match std::fs::metadata("/proc/self") {
        Ok(found) if found.uid() == 0 => Caller::Root,
        Ok(_) | Err(_) => Caller::Ordinary,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lacking_everything() -> Tools {
        Tools {
            caller: Caller::Ordinary,
            missing: [
                Need::Program("bwrap"),
                Need::OraclePackage("python3-samba"),
                Need::Target(STATIC_TARGET),
                Need::CargoDeny,
            ]
            .into(),
        }
    }

    #[test]
    fn what_is_missing_becomes_one_command() {
        let advice = lacking_everything().advice().unwrap();
        let command = advice.lines().nth(1).unwrap().trim();
        assert_eq!(
            command,
            format!(
                "sudo apt-get update && sudo apt-get install --yes bubblewrap python3-samba && \
                 rustup target add {STATIC_TARGET} && cargo install cargo-deny@{DENY_VERSION} --locked"
            )
        );
    }

    #[test]
    fn a_step_is_skipped_for_what_it_needs_alone() {
        let tools = lacking_everything();
        let reason = tools.lacking(&[Need::CargoDeny, Need::Program("git")]);
        assert_eq!(reason.as_deref(), Some("missing: cargo-deny"));
        assert_eq!(tools.lacking(&[Need::Program("git")]), None);
    }

    #[test]
    fn nothing_missing_gives_no_advice() {
        let tools = Tools {
            caller: Caller::Root,
            missing: BTreeSet::new(),
        };
        assert_eq!(tools.advice(), None);
    }
}
