//! Doors between the two loopbacks: `publish` inward, `connect` outward, with the network off.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::checks::{Checks, Context, Failure};
use crate::ground::Ground;
use crate::launch::Launch;
use crate::suite::{Case, Needs};

/// The cases of this module.
pub(super) const CASES: &[Case] = &[
    Case {
        name: "loopback.connect",
        promise: "connect opens one server of the host's loopback, with the network off, and no other port",
        needs: Needs::Full,
        run: connect,
    },
    Case {
        name: "loopback.publish",
        promise: "publish opens one port of the session to the host's loopback, and no other port",
        needs: Needs::Full,
        run: publish,
    },
    Case {
        name: "loopback.publish-taken",
        promise: "a published port that is taken on the host is an error that says so, and nothing runs",
        needs: Needs::Full,
        run: taken,
    },
];

const PATIENCE: Duration = Duration::from_secs(30);

/// A server on the host that greets every connection, until its listener is dropped with the process.
fn greeter() -> Result<u16, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").context(|| "binding".to_owned())?;
    let port = listener
        .local_addr()
        .context(|| "getsockname".to_owned())?
        .port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // A banner and its end together: neither may be lost on the way.
            let _ = stream.write_all(b"greetings");
        }
    });
    Ok(port)
}

fn connect(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let (granted, other) = (greeter()?, greeter()?);
    let attack = |port: u16| {
        [
            "banner".to_owned(),
            "127.0.0.1".to_owned(),
            port.to_string(),
        ]
    };
    let launch =
        Launch::new(ground, &fixture).options(&["--connect", &format!("127.0.0.1:{granted}")]);
    let verdict = launch.attack_inside(&attack(granted))?;
    checks.sibling("the granted server", &verdict);
    checks.same(
        "what it says arrives whole",
        &verdict.detail(),
        &"greetings",
    );
    checks.control("another server", &launch.attack_plain(&attack(other))?);
    checks.refused(
        "another server",
        &launch.attack_inside(&attack(other))?,
        &[libc::ECONNREFUSED],
    );
    let without = Launch::new(ground, &fixture);
    checks.refused(
        "the same server without the grant",
        &without.attack_inside(&attack(granted))?,
        &[libc::ECONNREFUSED],
    );
    Ok(())
}

/// A port of the host's loopback that is free now.
fn free_port() -> Result<u16, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").context(|| "binding".to_owned())?;
    let address = listener.local_addr();
    Ok(address.context(|| "getsockname".to_owned())?.port())
}

/// A command that ends with its value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn publish(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let (published, silent) = (free_port()?, free_port()?);
    // Both listen before either answers: what the published one says proves that the other one is there too.
    let server = "import socket, sys, threading\n\
        def serve(s):\n\
        \x20   while True:\n\
        \x20       c, _ = s.accept(); c.sendall(c.recv(9)[::-1]); c.close()\n\
        for s in [socket.create_server(('127.0.0.1', int(p))) for p in sys.argv[1:]]:\n\
        \x20   threading.Thread(target=serve, args=(s,)).start()\n";
    let launch = Launch::new(ground, &fixture).options(&["--publish", &published.to_string()]);
    let words = [
        "python3",
        "-c",
        server,
        &published.to_string(),
        &silent.to_string(),
    ];
    let mut command = launch.inside_command(&words)?;
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context(|| "starting ringfence".to_owned())?;
    let _running = Running(child);
    let answer = ask(published);
    checks.same(
        "the published server answers",
        &answer.as_deref(),
        &Some("cba"),
    );
    let refused = TcpStream::connect(("127.0.0.1", silent)).err();
    checks.same(
        "a port that is not published",
        &refused.and_then(|error| error.raw_os_error()),
        &Some(libc::ECONNREFUSED),
    );
    Ok(())
}

/// Asks until the server inside is up.
fn ask(port: u16) -> Option<String> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
            let mut said = String::new();
            if stream.write_all(b"abc").is_ok()
                && stream.read_to_string(&mut said).is_ok()
                && !said.is_empty()
            {
                return Some(said);
            }
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    None
}

fn taken(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let port = greeter()?.to_string();
    let made = fixture.workspace.join("made");
    let finished = Launch::new(ground, &fixture)
        .options(&["--publish", &port])
        .shell(": > made")?;
    checks.same("exit status", &finished.code(), &102);
    checks.that("it names the port", finished.said().contains(&port), || {
        finished.said()
    });
    checks.that("nothing ran", !made.exists(), || {
        "the command did".to_owned()
    });
    Ok(())
}
