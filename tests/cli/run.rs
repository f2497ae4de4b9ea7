//! `run`: exit statuses, streams, and what a denial looks like. Needs the full boundary.

use std::io::Write;
use std::process::Stdio;

use crate::program::{Boundary, Home, boundary};

#[test]
fn statuses_of_the_command_pass_through() {
    let home = Home::new();
    if boundary(&home) == Boundary::Less {
        return;
    }
    for (script, status) in [
        ("true", 0),
        ("exit 1", 1),
        ("exit 42", 42),
        ("kill -9 $$", 137),
        ("kill -TERM $$", 143),
    ] {
        let ran = home.run(&["run", "--", "sh", "-c", script]);
        assert_eq!(ran.status, Some(status), "{}", ran.snapshot());
        assert!(ran.stdout.is_empty(), "{}", ran.snapshot());
    }
}

#[test]
fn what_can_not_be_started_is_126_or_127() {
    let home = Home::new();
    if boundary(&home) == Boundary::Less {
        return;
    }
    home.write("project/notes.txt", "no program\n");
    let missing = home.run(&["run", "--", "no-such-program"]);
    assert_eq!(missing.status, Some(127), "{}", missing.snapshot());
    insta::assert_snapshot!("run-not-found", missing.snapshot());
    let text = home.run(&["run", "--", "./notes.txt"]);
    assert_eq!(text.status, Some(126), "{}", text.snapshot());
    insta::assert_snapshot!("run-not-executable", text.snapshot());
    let empty = home.run(&["run", "--", ""]);
    assert_eq!(empty.status, Some(127), "{}", empty.snapshot());
    #[cfg(unix)]
    {
        let script = home.write("project/script", "#!/no/such/interpreter\n");
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(script, executable).unwrap();
        let script = home.run(&["run", "--", "./script"]);
        assert_eq!(script.status, Some(126), "{}", script.snapshot());
        insta::assert_snapshot!("run-without-interpreter", script.snapshot());
    }
}

#[test]
fn time_limit_is_104() {
    let home = Home::new();
    if boundary(&home) == Boundary::Less {
        return;
    }
    let ran = home.run(&["run", "--limit", "time=200ms", "--", "sleep", "60"]);
    assert_eq!(ran.status, Some(104), "{}", ran.snapshot());
    insta::assert_snapshot!("run-time-limit", ran.snapshot());
}

#[test]
fn limits_of_the_caller_are_named_with_their_cure() {
    let home = Home::new();
    if boundary(&home) == Boundary::Less {
        return;
    }
    for (limit, cure) in [
        ("ulimit -f 0", "ulimit -f unlimited"),
        ("ulimit -n 10", "ulimit -n 1024"),
    ] {
        let ran = home.run_after(limit, &["run", "--", "true"]);
        // A status of Ringfence's own: a signal would be none.
        assert!(
            matches!(ran.status, Some(102 | 105)),
            "{limit}: {}",
            ran.snapshot()
        );
        assert!(ran.stderr.contains(cure), "{limit}: {}", ran.snapshot());
    }
}

#[test]
fn the_signal_of_the_limit_on_file_sizes_is_as_the_caller_has_it() {
    let home = Home::new();
    if boundary(&home) == Boundary::Less {
        return;
    }
    // Signal 25, SIGXFSZ.
    let script = "mask=$(sed -n 's/^SigIgn:.//p' /proc/self/status); echo $(((0x$mask >> 24) & 1))";
    for (line, ignored) in [(":", "0"), ("trap '' XFSZ", "1")] {
        let ran = home.run_after(line, &["run", "--", "sh", "-c", script]);
        assert_eq!(ran.stdout.trim(), ignored, "{line}: {}", ran.snapshot());
    }
}

#[test]
fn a_refused_write_is_explained_as_explain_does() {
    let home = Home::new();
    if boundary(&home) == Boundary::Less {
        return;
    }
    let outside = home.write("other/notes.txt", "mine\n");
    let script = format!("echo theirs > '{}'", outside.display());
    let control = std::process::Command::new("sh")
        .args(["-c", &script])
        .status()
        .unwrap();
    assert!(control.success(), "the control must work");
    std::fs::write(&outside, "mine\n").unwrap();
    let ran = home.run(&["run", "--", "sh", "-c", &script]);
    assert_ne!(ran.status, Some(0), "{}", ran.snapshot());
    assert_eq!(std::fs::read_to_string(&outside).unwrap(), "mine\n");
    let explained = home.run(&["explain".as_ref(), "write".as_ref(), outside.as_os_str()]);
    for line in explained
        .stdout
        .lines()
        .filter(|line| !line.starts_with("  decided by:"))
    {
        assert!(
            ran.stderr.contains(line.trim()),
            "{line}\n{}",
            ran.snapshot()
        );
    }
}

#[test]
fn streams_are_untouched_and_ours_is_standard_error() {
    let home = Home::new();
    if boundary(&home) == Boundary::Less {
        return;
    }
    let mut command = home.command();
    command
        .args(["run", "--", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let sent: Vec<u8> = (0..3_000_000_u32)
        .map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1])
        .collect();
    let mut stdin = child.stdin.take().unwrap();
    let writing = sent.clone();
    let writer = std::thread::spawn(move || stdin.write_all(&writing).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.stdout == sent, "the stream was changed");
}

#[test]
fn full_access_is_loud_even_when_quiet() {
    let home = Home::new();
    let ran = home.run(&["run", "--quiet", "--mode", "full-access", "--", "true"]);
    assert_eq!(ran.status, Some(0), "{}", ran.snapshot());
    insta::assert_snapshot!("run-full-access", ran.snapshot());
}

#[test]
fn a_json_report_is_all_that_is_said() {
    let home = Home::new();
    if boundary(&home) == Boundary::Less {
        return;
    }
    let file = home.write("project/file", "");
    std::fs::hard_link(file, home.project().join("../outside")).unwrap();
    for (options, note) in [
        (&["--json"] as &[&str], "also something outside"),
        (&["--json", "--mode", "full-access"], "there is no boundary"),
    ] {
        let ran = home.run(&[&["run"], options, &["--", "true"]].concat());
        let report: serde_json::Value = serde_json::from_str(&ran.stderr).unwrap();
        let notes = report["notes"].as_array().unwrap();
        let told = notes
            .iter()
            .filter(|said| said.as_str().unwrap().contains(note));
        assert_eq!(told.count(), 1, "{}", ran.snapshot());
    }
}

#[test]
fn a_damaged_record_of_a_session_is_told_once() {
    let home = Home::new();
    if boundary(&home) == Boundary::Less {
        return;
    }
    home.run(&["run", "--", "true"]);
    home.write(
        ".local/state/ringfence/sessions/0123456789abcdef",
        "damaged",
    );
    let ran = home.run(&["run", "--", "true"]);
    assert_eq!(ran.status, Some(0), "{}", ran.snapshot());
    assert_eq!(
        ran.stderr.matches("WARNING").count(),
        1,
        "{}",
        ran.snapshot()
    );
    let doctor = home.run(&["doctor"]);
    assert!(
        doctor.stdout.contains("1 could not be swept"),
        "{}",
        doctor.snapshot()
    );
}

#[test]
fn what_lies_in_quarantine_is_changed_by_no_other_name() {
    let home = Home::new();
    if boundary(&home) == Boundary::Less {
        return;
    }
    let in_session = |script: &str| home.run(&["run", "--", "sh", "-c", script]);
    in_session("echo reviewed > f; ln f .mcp.json; test -e .mcp.json");
    assert!(!home.project().join(".mcp.json").exists());
    let next = in_session("echo EVIL > f");
    assert!(
        !next.stderr.contains("also something outside"),
        "{}",
        next.snapshot()
    );
    let listed: serde_json::Value =
        serde_json::from_str(&home.run(&["quarantine", "list", "--json"]).stdout).unwrap();
    let id = listed[0]["id"].as_str().unwrap();
    home.write("project/.mcp.json", "mine\n");
    let occupied = home.run(&["quarantine", "restore", id]);
    assert_eq!(occupied.status, Some(2), "{}", occupied.snapshot());
    std::fs::remove_file(home.project().join(".mcp.json")).unwrap();
    let restored = home.run(&["quarantine", "restore", id]);
    assert_eq!(restored.status, Some(0), "{}", restored.snapshot());
    let text = std::fs::read_to_string(home.project().join(".mcp.json")).unwrap();
    assert_eq!(text, "reviewed\n");
}

#[test]
fn what_is_made_under_a_protected_name_is_moved_and_can_be_restored() {
    let home = Home::new();
    if boundary(&home) == Boundary::Less {
        return;
    }
    let ran = home.run(&[
        "run",
        "--",
        "sh",
        "-c",
        "mkdir .codex && echo made > .codex/config.toml",
    ]);
    assert_eq!(ran.status, Some(0), "{}", ran.snapshot());
    assert!(
        !home.project().join(".codex").exists(),
        "{}",
        ran.snapshot()
    );
    let listed: serde_json::Value =
        serde_json::from_str(&home.run(&["quarantine", "list", "--json"]).stdout).unwrap();
    let id = listed[0]["id"].as_str().unwrap();
    assert!(
        ran.stderr
            .contains(&format!("ringfence quarantine restore {id}")),
        "{}",
        ran.snapshot()
    );
    let restored = home.run(&["quarantine", "restore", id]);
    assert_eq!(restored.status, Some(0), "{}", restored.snapshot());
    let text = std::fs::read_to_string(home.project().join(".codex/config.toml")).unwrap();
    assert_eq!(text, "made\n");
}

#[test]
fn json_report_and_event_stream_hold_the_denial() {
    let home = Home::new();
    if boundary(&home) == Boundary::Less {
        return;
    }
    let outside = home.write("other/notes.txt", "mine\n");
    let events = home.project().parent().unwrap().join("events.jsonl");
    let script = format!("echo theirs > '{}'", outside.display());
    let ran = home.run(&[
        "run".as_ref(),
        "--json".as_ref(),
        "--events".as_ref(),
        events.as_os_str(),
        "--".as_ref(),
        "sh".as_ref(),
        "-c".as_ref(),
        script.as_ref(),
    ]);
    let report: serde_json::Value =
        serde_json::from_str(ran.stderr.lines().last().unwrap()).unwrap();
    assert_eq!(report["level"], "full");
    let explained = home.run(&[
        "explain".as_ref(),
        "--json".as_ref(),
        "write".as_ref(),
        outside.as_os_str(),
    ]);
    let explained: serde_json::Value = serde_json::from_str(&explained.stdout).unwrap();
    assert_eq!(explained["verdict"], "deny");
    assert_eq!(report["denials"][0]["rule"], explained["rule"]);
    assert_eq!(report["denials"][0]["grant"], explained["grant"]);
    let stream = std::fs::read_to_string(&events).unwrap();
    let kinds: Vec<String> = stream
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["event"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    for kind in [
        "session.start",
        "exec.start",
        "fs.denied",
        "exec.end",
        "session.end",
    ] {
        assert!(
            kinds.iter().any(|known| known == kind),
            "{kind} in {kinds:?}"
        );
    }
}

#[test]
fn doctor_proves_each_layer() {
    let home = Home::new();
    if boundary(&home) == Boundary::Less {
        return;
    }
    let ran = home.run(&["doctor"]);
    assert_eq!(ran.status, Some(0), "{}", ran.snapshot());
    assert!(ran.stdout.contains("Level: full."), "{}", ran.snapshot());
    for layer in [
        "namespaces",
        "landlock",
        "seccomp",
        "new /proc",
        "listener",
        "memory limit",
        "state directory",
        "killed sessions",
        "hard links",
    ] {
        assert!(
            ran.stdout.to_lowercase().contains(layer),
            "{layer}\n{}",
            ran.snapshot()
        );
    }
}

#[test]
fn doctor_counts_hard_links_with_a_name_outside() {
    let home = Home::new();
    if boundary(&home) == Boundary::Less {
        return;
    }
    let outside = home.write("store/package.js", "one file, two names\n");
    home.write("project/own.txt", "mine\n");
    let own = home.project().join("own.txt");
    std::fs::hard_link(&own, home.project().join("second.txt")).unwrap();
    let row = |ran: &crate::program::Ran| {
        let rows = ran.stdout.lines();
        rows.filter(|line| line.starts_with("hard links "))
            .collect::<String>()
    };
    let before = row(&home.run(&["doctor"]));
    assert!(before.contains("no file"), "{before}");
    std::fs::hard_link(&outside, home.project().join("linked.js")).unwrap();
    let after = home.run(&["doctor"]);
    let counted = row(&after);
    assert!(
        counted.contains("1 in ") && counted.contains("linked.js"),
        "{}",
        after.snapshot()
    );
    assert_eq!(after.status, Some(0));
}

#[test]
fn a_failure_that_a_hidden_secret_may_explain_names_it() {
    let home = Home::new();
    if boundary(&home) == Boundary::Less {
        return;
    }
    let without = home.run(&["run", "--", "cat", ".env"]);
    assert!(
        !without.stderr.contains("ringfence"),
        "{}",
        without.snapshot()
    );
    home.write("project/.env", "TOKEN=x\n");
    let failed = home.run(&["run", "--", "cat", ".env"]);
    assert_eq!(failed.status, Some(1), "{}", failed.snapshot());
    assert!(
        failed
            .stderr
            .contains("denied read [SCRATCH]/home/project/.env (rule fs.secret)"),
        "{}",
        failed.snapshot()
    );
    // What names them is the failure: a success says nothing.
    let worked = home.run(&["run", "--", "true"]);
    assert_eq!(worked.stderr, "", "{}", worked.snapshot());
    // And who watches is told which it was, and how to allow it.
    let watched = home.run(&["run", "--observe", "all", "--", "cat", ".env"]);
    assert!(
        watched.stderr.contains("denied read") && !watched.stderr.contains("hidden"),
        "{}",
        watched.snapshot()
    );
}

#[test]
fn a_program_in_a_place_that_the_session_does_not_show_is_not_called_a_script() {
    let home = Home::new();
    if boundary(&home) == Boundary::Less {
        return;
    }
    let directory = tempfile::Builder::new().tempdir_in("/var/tmp").unwrap();
    let tool = directory.path().join("tool");
    std::fs::copy("/bin/true", &tool).unwrap();
    let failed = home.run(&["run", "--", tool.to_str().unwrap()]);
    assert_eq!(failed.status, Some(127), "{}", failed.snapshot());
    assert!(
        failed.stderr.contains("is not there inside") && !failed.stderr.contains("interpreter"),
        "{}",
        failed.snapshot()
    );
}

#[test]
fn a_failure_with_nothing_refused_is_not_commented_on_and_a_hint_is_given_once() {
    let home = Home::new();
    if boundary(&home) == Boundary::Less {
        return;
    }
    home.write("project/.env", "TOKEN=x\n");
    let search = ["run", "--", "grep", "nothing-like-this", "/etc/passwd"];
    for _ in 0..2 {
        let failed = home.run(&search);
        assert_eq!(failed.status, Some(1), "{}", failed.snapshot());
        assert_eq!(failed.stderr, "", "{}", failed.snapshot());
    }
    let with_token = |home: &Home| {
        let mut command = home.command();
        command.args(search).env("EXAMPLE_TOKEN", "x");
        home.finish(command)
    };
    let first = with_token(&home);
    assert!(
        first
            .stderr
            .contains("withheld from the environment: EXAMPLE_TOKEN"),
        "{}",
        first.snapshot()
    );
    let second = with_token(&home);
    assert_eq!(second.stderr, "", "{}", second.snapshot());
}
