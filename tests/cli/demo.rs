//! `demo`: what it leaves.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::program::{Boundary, Home, boundary};

#[test]
fn an_interrupted_demo_leaves_nothing() {
    let home = Home::new();
    if boundary(&home) == Boundary::Less {
        return;
    }
    let scratch = || {
        let entries = std::fs::read_dir(home.project().parent().unwrap()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names
            .filter(|name| name.starts_with(".ringfence-demo-"))
            .count()
    };
    for (name, status) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        let mut demo = home
            .command()
            .arg("demo")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // It says first what it will do, when its directory is there.
        let mut output = BufReader::new(demo.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(scratch(), 1, "{name}: {line}");
        let sent = Command::new("kill")
            .args([format!("-{name}"), demo.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
        let rest = output.lines().count();
        assert_eq!(demo.wait().unwrap().code(), Some(status), "{name} {rest}");
        assert_eq!(scratch(), 0, "{name}");
    }
}
