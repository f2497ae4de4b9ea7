//! A case's script as a shell runs it, and what its answer says.
//!
//! A script is wrapped so that its answer is always words: without them the shell itself did not get that far. Pure,
//! and the same on every system. Invariant: a crash, a missing program and a tool that could not try are no refusal.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::tools::Tool;

/// What the wrapping says of a script that ended well.
pub(crate) const WORKED: &str = "ringfence-demo: worked";
/// What it says of one that was refused.
pub(crate) const REFUSED: &str = "ringfence-demo: refused";

/// Whose words a script is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shell {
    /// The POSIX shell.
    Posix,
    /// `cmd.exe`, from a file: then no program in between has a say in how its line is quoted.
    Cmd,
}

/// What a script's placeholders stand for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filling<'a> {
    /// The case's tool.
    pub(crate) tool: &'a Path,
    /// The world's home.
    pub(crate) home: &'a Path,
    /// The attacker's program.
    pub(crate) probe: &'a Path,
    /// The Unix server's path.
    pub(crate) socket: &'a Path,
    /// The TCP server's port.
    pub(crate) port: u16,
    /// The victim's process id.
    pub(crate) victim: u32,
}

/// A script, filled, and the variables that it reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filled {
    /// The text.
    pub(crate) script: String,
    /// Where paths are: `cmd.exe` reads its files in a code page that knows few of them.
    pub(crate) variables: Vec<(&'static str, OsString)>,
}

/// How PowerShell is started: nothing of the person's is loaded.
const POWERSHELL: &str =
    "\"%DEMO_TOOL%\" -NoLogo -NoProfile -NonInteractive -ExecutionPolicy Bypass -Command";

impl Shell {
    /// Fills a script's placeholders.
    pub(crate) fn fill(self, script: &str, filling: Filling<'_>) -> Filled {
        let numbers = script
            .replace("{port}", &filling.port.to_string())
            .replace("{victim}", &filling.victim.to_string());
        match self {
            Self::Posix => Filled {
                script: numbers
                    .replace("{home}", &quoted(filling.home))
                    .replace("{probe}", &quoted(filling.probe))
                    .replace("{tool}", &quoted(filling.tool))
                    .replace("{socket}", &quoted(filling.socket)),
                variables: Vec::new(),
            },
            Self::Cmd => Filled {
                script: numbers
                    .replace("{powershell}", POWERSHELL)
                    .replace("{home}", "%DEMO_HOME%")
                    .replace("{tool}", "\"%DEMO_TOOL%\""),
                variables: [("DEMO_HOME", filling.home), ("DEMO_TOOL", filling.tool)]
                    .map(|(name, path)| (name, OsStr::new(path).to_owned()))
                    .into(),
            },
        }
    }

    /// Puts the script where it says afterwards how it ended.
    ///
    /// POSIX: 70 is the probe's "I could not try"; 126, 127 and 129 to 192 are a shell's words for a program that is not
    /// there or crashed. `cmd.exe`: 9009 is its word for a program that is not there, and what crashed leaves a negative
    /// number; PowerShell scripts and this program end with 5 where they were refused, and with anything else where they
    /// were not heard.
    pub(crate) fn wrap(self, script: &str, tool: Tool) -> String {
        match self {
            Self::Posix => format!(
                "( {script} ); s=$?\n\
                 if [ $s -eq 0 ]; then echo '{WORKED}'\n\
                 elif [ $s -ne 70 ] && [ $s -ne 126 ] && [ $s -ne 127 ] && {{ [ $s -le 128 ] || [ $s -gt 192 ]; }}\n\
                 then echo '{REFUSED}'\n\
                 fi; exit $s"
            ),
            Self::Cmd => {
                let no_answer = match tool {
                    Tool::PowerShell | Tool::Own => "if not %s%==5 exit /b 70",
                    Tool::Shell | Tool::Git | Tool::C | Tool::Cargo | Tool::Python => {
                        "if %s% lss 0 exit /b 70\nif %s%==9009 exit /b 70\nif %s%==0 set s=1"
                    }
                };
                let text = format!(
                    "@echo off\n\
                     {script} || goto failed\n\
                     echo {WORKED}\n\
                     exit /b 0\n\
                     :failed\n\
                     set s=%errorlevel%\n\
                     {no_answer}\n\
                     echo {REFUSED}\n\
                     exit /b %s%\n"
                );
                text.replace('\n', "\r\n")
            }
        }
    }
}

fn quoted(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', "'\\''"))
}

/// What the last line of a wrapped script says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Worked,
    Refused,
    Broken,
}

/// Reads the answer: the words and the status have to agree.
pub(crate) fn answer(output: &[u8], is_success: bool) -> Answer {
    let text = String::from_utf8_lossy(output);
    match text.lines().last().map(str::trim_end) {
        Some(WORKED) if is_success => Answer::Worked,
        Some(REFUSED) if !is_success => Answer::Refused,
        Some(_) | None => Answer::Broken,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::cases::{System, WINDOWS};

    fn filling() -> Filling<'static> {
        Filling {
            tool: Path::new("C:\\Program Files\\Git\\git.exe"),
            home: Path::new("C:\\Users\\J\u{f6}rg & Ann\\demo"),
            probe: Path::new("probe"),
            socket: Path::new("socket"),
            port: 18080,
            victim: 4711,
        }
    }

    #[test]
    fn words_and_status_have_to_agree() {
        let said = |words: &str| format!("x\r\n{words}\r\n").into_bytes();
        assert_eq!(answer(&said(WORKED), true), Answer::Worked);
        assert_eq!(answer(&said(REFUSED), false), Answer::Refused);
        assert_eq!(answer(&said(WORKED), false), Answer::Broken);
        assert_eq!(answer(&said(REFUSED), true), Answer::Broken);
        assert_eq!(answer(b"", false), Answer::Broken);
        assert_eq!(answer(&said("killed"), false), Answer::Broken);
    }

    #[test]
    fn no_path_stands_in_a_file_of_cmd_and_every_placeholder_is_filled() {
        let System { jobs, attacks, .. } = WINDOWS;
        let scripts = jobs.iter().map(|job| (job.script, job.tool));
        for (script, tool) in scripts.chain(attacks.iter().map(|case| (case.script, case.tool))) {
            let filled = Shell::Cmd.fill(script, filling());
            assert!(!filled.script.contains("rg & Ann"), "{script}");
            for placeholder in ["{home}", "{tool}", "{powershell}", "{port}", "{victim}"] {
                assert!(!filled.script.contains(placeholder), "{script}");
            }
            assert!(!filled.script.contains('\n'), "one chain: {script}");
            let text = Shell::Cmd.wrap(&filled.script, tool);
            assert!(
                text.is_ascii() && text.ends_with("exit /b %s%\r\n"),
                "{text}"
            );
            assert_eq!(text.matches('\n').count(), text.matches("\r\n").count());
        }
        let [(home, path), _] = Shell::Cmd.fill("", filling()).variables.try_into().unwrap();
        assert_eq!(
            (home, path.as_os_str()),
            ("DEMO_HOME", filling().home.as_os_str())
        );
    }

    #[test]
    fn no_attack_by_powershell_takes_every_failure_for_a_refusal() {
        let all = WINDOWS.attacks.iter();
        let tried =
            all.filter(|case| case.tool == Tool::PowerShell && case.script.contains("catch"));
        let mut count = 0;
        for case in tried {
            count += 1;
            assert!(case.script.contains("-2147024891"), "{}", case.name);
            assert!(case.script.ends_with("exit 70 }\""), "{}", case.name);
            // Within the quotes of cmd.exe there are none of PowerShell's.
            assert_eq!(case.script.matches('"').count(), 2, "{}", case.name);
            assert!(!case.script.contains('%'), "{}", case.name);
        }
        assert!(count >= 6, "{count}");
    }

    #[test]
    fn only_powershells_own_word_is_its_refusal() {
        assert!(
            Shell::Cmd
                .wrap("x", Tool::PowerShell)
                .contains("if not %s%==5 exit /b 70")
        );
        assert!(!Shell::Cmd.wrap("x", Tool::Git).contains("==5"));
    }

    /// The scripts of this system's shell, run for what they say of themselves.
    #[cfg(unix)]
    #[test]
    fn the_posix_wrapping_tells_a_refusal_from_a_crash() {
        let says = |script: &str| {
            let mut command = std::process::Command::new("sh");
            let wrapped = Shell::Posix.wrap(script, Tool::Shell);
            let output = command.args(["-c", &wrapped]).output().unwrap();
            answer(&output.stdout, output.status.success())
        };
        assert_eq!(says("true"), Answer::Worked);
        assert_eq!(says("false"), Answer::Refused);
        assert_eq!(says("exit 70"), Answer::Broken);
        assert_eq!(says("no-such-program-anywhere 2>/dev/null"), Answer::Broken);
        assert_eq!(says("kill -SEGV $$"), Answer::Broken);
    }

    /// The same with Windows's `cmd.exe`.
    #[cfg(windows)]
    #[test]
    #[ignore = "wine's cmd.exe runs what follows && and || whatever came before: for Windows itself"]
    fn the_wrapping_for_cmd_tells_a_refusal_from_a_crash() {
        let directory = std::env::temp_dir().join(format!("ringfence-cmd-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let says = |script: &str, tool| {
            let text = Shell::Cmd.wrap(script, tool);
            std::fs::write(directory.join("case.cmd"), text).unwrap();
            let output = std::process::Command::new("cmd")
                .args(["/d", "/c", "case.cmd"])
                .current_dir(&directory)
                .output()
                .unwrap();
            answer(&output.stdout, output.status.success())
        };
        assert_eq!(says("cmd /d /c exit 0", Tool::Shell), Answer::Worked);
        assert_eq!(
            says("type no-such-file 2>nul", Tool::Shell),
            Answer::Refused
        );
        assert_eq!(says("echo x>no\\such\\file", Tool::Shell), Answer::Refused);
        assert_eq!(
            says("cmd /d /c exit -1073741819", Tool::Shell),
            Answer::Broken
        );
        assert_eq!(says("cmd /d /c exit 5", Tool::PowerShell), Answer::Refused);
        assert_eq!(says("cmd /d /c exit 1", Tool::PowerShell), Answer::Broken);
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
