//! The table of the demo on Windows, in the words of `cmd.exe` and PowerShell.
//!
//! Invariant: a script's last word is its answer; `cmd.exe` tells a failed redirection to `||` and `&&` alone, so each
//! is one chain of these.

use super::{Attack, Effect, Job, Where, anywhere, git, shell};
use crate::demo::tools::Tool;

/// The jobs, in order.
pub(crate) const JOBS: &[Job] = &[
    Job {
        name: "cargo test (Rust crate)",
        tool: Tool::Cargo,
        script: "{tool} test --offline --quiet",
    },
    Job {
        name: "python -m unittest, with a server on its loopback",
        tool: Tool::Python,
        script: "{tool} -m unittest --quiet",
    },
    Job {
        name: "git status, log, diff",
        tool: Tool::Git,
        script: "{tool} status --short && {tool} log --oneline && {tool} diff | findstr changed >nul",
    },
    Job {
        name: "edit, rename and delete files",
        tool: Tool::Shell,
        script: "echo draft>a.txt && move a.txt b.txt >nul && findstr draft b.txt >nul && (del b.txt & if exist b.txt (cmd /d /c exit 1) else (cmd /d /c exit 0))",
    },
    Job {
        name: "use a temporary file in the next command",
        tool: Tool::Shell,
        script: "echo x>\"%TEMP%\\demo.txt\" && type \"%TEMP%\\demo.txt\" >nul && (del \"%TEMP%\\demo.txt\" & cmd /d /c exit 0)",
    },
    Job {
        name: "start PowerShell",
        tool: Tool::PowerShell,
        script: "{powershell} \"Get-ChildItem | Out-Null; exit 0\"",
    },
];

/// What PowerShell is to try. It says what it was told, and ends with 5 where it was refused by a code of its own
/// (`E_ACCESSDENIED`, `ERROR_ACCESS_DENIED`, `WSAEACCES`, `WBEM_E_ACCESS_DENIED`): any other end is no answer.
macro_rules! tried {
    ($($what:literal),+) => {
        concat!(
            "{powershell} \"try { ",
            $($what,)+
            "; exit 0 } catch { $e = $_.Exception.GetBaseException(); Write-Output $e.Message; ",
            "if ($e.HResult -eq -2147024891 -or $e.NativeErrorCode -eq 5 -or $e.NativeErrorCode -eq 10013 ",
            "-or $e.ErrorCode -eq -2147217405) { exit 5 }; exit 70 }\""
        )
    };
}

/// The same, where a service of the system is to start a process of which the command knows nothing: it shows by its
/// lock.
macro_rules! started_elsewhere {
    ($($what:literal),+) => {
        tried!(
            "$program = $PSHOME + '\\powershell.exe'; ",
            "$words = '-NoLogo -NoProfile -NonInteractive -ExecutionPolicy Bypass -File build\\daemon.ps1'; ",
            "Remove-Item build\\daemon.pid -ErrorAction SilentlyContinue; ",
            $($what,)+
            "; for ($i = 0; $i -lt 200 -and -not (Test-Path build\\daemon.pid); $i++) { Start-Sleep -Milliseconds 50 }"
        )
    };
}

const fn powershell(name: &'static str, script: &'static str, effect: Effect) -> Attack {
    anywhere(Tool::PowerShell, name, script, effect)
}

/// By this program itself, which ends as PowerShell does.
const fn own(name: &'static str, script: &'static str) -> Attack {
    anywhere(Tool::Own, name, script, Effect::Answer)
}

/// The attacks, in order: those on git's directory come last, because their controls really break it.
pub(crate) const ATTACKS: &[Attack] = &[
    shell(
        "append to a PowerShell profile",
        "echo evil>>\"{home}\\Documents\\profile.ps1\"",
        Effect::File("Documents/profile.ps1"),
    ),
    shell(
        "the same through a junction in the project",
        "mklink /J innocent \"{home}\\Documents\" >nul && echo evil2>>innocent\\profile.ps1",
        Effect::File("Documents/profile.ps1"),
    ),
    shell(
        "overwrite a file of another project",
        "echo evil>\"{home}\\other\\notes.txt\"",
        Effect::File("other/notes.txt"),
    ),
    Attack {
        name: "make a file in C:\\Windows",
        tool: Tool::Shell,
        place: Where::Root,
        // What is made is taken away, whether or not that works.
        script: "echo evil>\"%SystemRoot%\\ringfence-demo.txt\" && (del \"%SystemRoot%\\ringfence-demo.txt\" 2>nul & cmd /d /c exit 0)",
        effect: Effect::Answer,
    },
    shell(
        "read .ssh\\id_ed25519",
        "type \"{home}\\.ssh\\id_ed25519\"",
        Effect::Leak,
    ),
    shell(
        "the same through a junction",
        "mklink /J keys \"{home}\\.ssh\" >nul && type keys\\id_ed25519",
        Effect::Leak,
    ),
    shell(
        "the same through a hard link",
        "mklink /H key2 \"{home}\\.ssh\\id_ed25519\" >nul && type key2",
        Effect::Leak,
    ),
    shell("read the project's .env", "type .env", Effect::Leak),
    shell(
        "the same by the name of its stream",
        "more <\".env::$DATA\"",
        Effect::Leak,
    ),
    shell(
        "read a token from the environment",
        "(if not defined DEMO_API_TOKEN (cmd /d /c exit 1)) && echo %DEMO_API_TOKEN%",
        Effect::Leak,
    ),
    shell(
        "create .codex\\config.toml",
        "mkdir .codex && echo approval_policy = \"never\">.codex\\config.toml",
        Effect::File("project/.codex/config.toml"),
    ),
    shell(
        "create .envrc",
        "echo evil>.envrc",
        Effect::File("project/.envrc"),
    ),
    shell(
        "the same by another spelling (.ENVRC. with a dot)",
        "echo evil2>\".ENVRC.\"",
        Effect::File("project/.envrc"),
    ),
    shell(
        "leave an AutoRun command in the registry",
        // Under a name that cmd.exe does not read; what is made is taken away, whether or not that works.
        "reg add \"HKCU\\Software\\Microsoft\\Command Processor\" /v RingfenceDemo /d evil /f >nul && (reg delete \"HKCU\\Software\\Microsoft\\Command Processor\" /v RingfenceDemo /f >nul 2>nul & cmd /d /c exit 0)",
        Effect::Answer,
    ),
    powershell(
        "connect to a server on the host's loopback",
        tried!("(New-Object Net.Sockets.TcpClient).Connect('127.0.0.1', {port})"),
        Effect::Tcp,
    ),
    shell(
        "kill a process outside",
        "taskkill /F /PID {victim}",
        Effect::Victim,
    ),
    powershell(
        "take hold of a process outside",
        tried!("(Get-Process -Id {victim} -ErrorAction Stop).PriorityClass = 'BelowNormal'"),
        Effect::Answer,
    ),
    // Outside it is the demo itself that started them.
    own(
        "open the Ringfence process that started it",
        "{tool} demo --inside starter-process",
    ),
    own("open its token", "{tool} demo --inside starter-token"),
    own("open its threads", "{tool} demo --inside starter-threads"),
    own(
        "connect to a pipe between programs of Ringfence",
        "{tool} demo --inside pipes",
    ),
    powershell(
        "have the task scheduler start a process",
        // What is made is taken away, whether or not that works.
        started_elsewhere!(
            "$s = New-Object -ComObject Schedule.Service; $s.Connect(); $t = $s.NewTask(0); ",
            "$a = $t.Actions.Create(0); $a.Path = $program; $a.Arguments = $words; $a.WorkingDirectory = $PWD.Path; ",
            "$r = $s.GetFolder('\\').RegisterTaskDefinition('RingfenceDemo', $t, 6, $null, $null, 3); ",
            "try { $null = $r.Run($null) } finally { $s.GetFolder('\\').DeleteTask('RingfenceDemo', 0) }"
        ),
        Effect::Daemon,
    ),
    powershell(
        "have WMI start a process",
        started_elsewhere!(
            "$r = ([wmiclass]'Win32_Process').Create($program + ' ' + $words, $PWD.Path); ",
            "if ($r.ReturnValue -eq 2 -or $r.ReturnValue -eq 3) { Write-Output 'Access is denied'; exit 5 }; ",
            "if ($r.ReturnValue -ne 0) { exit 70 }"
        ),
        Effect::Daemon,
    ),
    powershell(
        "have Explorer start a process (COM)",
        started_elsewhere!(
            "$w = [Activator]::CreateInstance([Type]::GetTypeFromCLSID('9BA05972-F6A8-11CF-A442-00A0C90A8F39')); ",
            "$w.Item().Document.Application.ShellExecute($program, $words, $PWD.Path, 'open', 0)"
        ),
        Effect::Daemon,
    ),
    Attack {
        name: "install a service",
        tool: Tool::PowerShell,
        place: Where::Root,
        script: tried!(
            "$sc = $env:SystemRoot + '\\System32\\sc.exe'; ",
            "$null = & $sc create RingfenceDemo binPath= 'cmd.exe /d /c exit' start= demand; $code = $LASTEXITCODE; ",
            "if ($code -eq 0) { $null = & $sc delete RingfenceDemo }; ",
            "if ($code -eq 5) { Write-Output 'Access is denied'; exit 5 }; if ($code -ne 0) { exit 70 }"
        ),
        effect: Effect::Answer,
    },
    powershell(
        "leave a process running",
        "(del build\\daemon.pid 2>nul & start \"\" /b {powershell} \". build\\daemon.ps1\" >nul 2>nul <nul) && {powershell} \"for ($i = 0; $i -lt 600 -and -not (Test-Path build\\daemon.pid); $i++) { Start-Sleep -Milliseconds 50 }; exit 0\"",
        Effect::Daemon,
    ),
    git(
        "plant .git\\hooks\\pre-commit",
        "echo evil>.git\\hooks\\pre-commit",
        Effect::File("project/.git/hooks/pre-commit"),
    ),
    git(
        "set core.fsmonitor with git config",
        "{tool} config core.fsmonitor ./evil",
        Effect::File("project/.git/config"),
    ),
    git(
        "hide a stream behind .git\\config",
        "echo evil>\".git\\config:hidden\"",
        Effect::File("project/.git/config:hidden"),
    ),
    git(
        "delete .git through its parent",
        "rmdir /s /q .git",
        Effect::File("project/.git/config"),
    ),
    git(
        "rename .git, git init, plant a hook",
        "(if exist .git (ren .git .git2)) && {tool} init -q && (if not exist .git\\hooks mkdir .git\\hooks) && echo evil2>.git\\hooks\\pre-commit",
        Effect::File("project/.git/hooks/pre-commit"),
    ),
];
