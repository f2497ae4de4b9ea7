//! `unix_sockets`: the sockets of the host that a rule names are reached, and no other by any trick.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use super::writes::text;
use crate::checks::{Checks, Context, Failure};
use crate::fixture::Fixture;
use crate::ground::Ground;
use crate::launch::Launch;
use crate::suite::{Case, Needs};

/// The cases of this module.
pub(super) const CASES: &[Case] = &[
    Case {
        name: "socket.granted",
        promise: "the Unix socket that a rule names is reached, and no other: by path, by name, by a swapped link, by a race, by a descriptor",
        needs: Needs::Full,
        run: full,
    },
    Case {
        name: "socket.granted-partial",
        promise: "the same without user namespaces",
        needs: Needs::Landlock,
        run: partial,
    },
    Case {
        name: "socket.granted-nested",
        promise: "inside another sandbox that listens no Unix socket of the host is opened, and the run says so",
        needs: Needs::Full,
        run: nested,
    },
    Case {
        name: "socket.granted-dangerous",
        promise: "a socket that equals root, or an agent's, is granted with a warning; one that is not there is said to be missing",
        needs: Needs::Full,
        run: dangerous,
    },
    Case {
        name: "socket.granted-held",
        promise: "no command can hold up the session by a socket that lingers and that it sent to where the session's own programs close it",
        needs: Needs::Full,
        run: held,
    },
];

/// Prints what comes of asking a socket to linger, and of sending it through a fresh Unix socket.
const LINGER: &str = "
import socket, struct, sys
def answer(what, attempt):
    try:
        attempt()
        print(what, 0)
    except OSError as error:
        print(what, error.errno)
tcp = socket.socket()
answer('linger', lambda: tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 1)))
end = socket.socket(socket.AF_UNIX)
if sys.argv[1] == 'outside':
    end, other = socket.socketpair()
try:
    end.getsockopt(socket.SOL_SOCKET, 83)
    print('known')
except OSError:
    print('unknown')
answer('send', lambda: socket.send_fds(end, [b'x'], [tcp.fileno()]))
";

const REFUSED: &[i32] = &[
    libc::ENOENT,
    libc::ECONNREFUSED,
    libc::EISCONN,
    libc::ESOCKTNOSUPPORT,
];

/// Says its name to whoever connects, with a descriptor.
fn server(path: &Path, name: &'static str) -> Result<(), Failure> {
    let listener = UnixListener::bind(path).context(|| format!("binding {}", path.display()))?;
    let null = std::fs::File::open("/dev/null").context(|| "opening /dev/null".to_owned())?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            let passed = [null.as_fd()];
            control.push(SendAncillaryMessage::ScmRights(&passed));
            let parts = [IoSlice::new(name.as_bytes())];
            let _ = sendmsg(&stream, &parts, &mut control, SendFlags::NOSIGNAL);
        }
    });
    Ok(())
}

/// A granted socket and another one in each of several places.
struct Scene {
    fixture: Fixture,
    granted: PathBuf,
    own: PathBuf,
    other: PathBuf,
    linked: PathBuf,
}

fn scene(ground: &Ground) -> Result<Scene, Failure> {
    let fixture = ground.fixture()?;
    let scene = Scene {
        granted: fixture.outside.join("granted.sock"),
        // Not at the top: without namespaces nothing can be renamed there.
        own: fixture.workspace.join("run/own.sock"),
        other: fixture.outside.join("other.sock"),
        linked: fixture.workspace.join("linked.sock"),
        fixture,
    };
    let run = scene.fixture.workspace.join("run");
    std::fs::create_dir(&run).context(|| format!("making {}", run.display()))?;
    server(&scene.granted, "granted")?;
    server(&scene.own, "granted")?;
    server(&scene.other, "other")?;
    let failed = || "making a link".to_owned();
    std::os::unix::fs::symlink(&scene.granted, &scene.linked).context(failed)?;
    let wrong = scene.fixture.workspace.join("wrong.sock");
    std::os::unix::fs::symlink(&scene.other, wrong).context(failed)?;
    Ok(scene)
}

fn full(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    for observe in ["writes", "off"] {
        attack(ground, checks, &["--observe", observe], &[])?;
    }
    Ok(())
}

fn partial(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let wrapper = [ground.probe.clone().into_os_string(), "deny-userns".into()];
    attack(ground, checks, &[], &wrapper)
}

fn attack(
    ground: &Ground,
    checks: &mut Checks,
    options: &[&str],
    wrapper: &[std::ffi::OsString],
) -> Result<(), Failure> {
    let scene = scene(ground)?;
    let (granted, own, other) = (text(&scene.granted), text(&scene.own), text(&scene.other));
    let linked = text(&scene.linked);
    let plain = Launch::new(ground, &scene.fixture);
    let inside = Launch::new(ground, &scene.fixture)
        .options(options)
        .options(&["--unix-socket", &granted, "--unix-socket", &own])
        .wrapper(wrapper);
    for path in [&granted, &own, &linked] {
        for attack in ["unix-ask", "unix-many"] {
            let verdict = inside.attack_inside(&[attack, path])?;
            checks.sibling(&format!("{attack} {path}"), &verdict);
            checks.same("who answered", &verdict.detail(), &"granted");
        }
    }
    let wrong = text(&scene.fixture.workspace.join("wrong.sock"));
    let datagram = scene.fixture.outside.join("datagram.sock");
    let _datagrams =
        UnixDatagram::bind(&datagram).context(|| format!("binding {}", datagram.display()))?;
    let kind = libc::SOCK_DGRAM.to_string();
    for words in [
        vec!["unix-ask", &other],
        vec!["unix-ask", &wrong],
        vec!["unix-race-path", &granted, &other],
        vec!["unix-descriptors", &granted],
        vec!["unix-connect", &text(&datagram), &kind],
        vec!["inherited-connect", &text(&datagram)],
    ] {
        let label = words.join(" ");
        checks.control(&label, &plain.attack_plain(&words)?);
        checks.refused(&label, &inside.attack_inside(&words)?, REFUSED);
    }
    // Without a boundary the kernel copies the address once: these have no control there, and nothing to win here.
    for words in [
        vec!["unix-race-family", &other],
        vec!["unix-again", &granted, &other],
    ] {
        let verdict = inside.attack_inside(&words)?;
        checks.refused(&words.join(" "), &verdict, REFUSED);
    }
    let without = Launch::new(ground, &scene.fixture).wrapper(wrapper);
    let verdict = without.attack_inside(&["unix-ask", &granted])?;
    checks.refused("without the rule", &verdict, &[]);
    swapped(ground, checks, &inside)
}

/// A link to another socket in the place of the granted one, which lies in the workspace.
fn swapped(ground: &Ground, checks: &mut Checks, inside: &Launch<'_>) -> Result<(), Failure> {
    let control = scene(ground)?;
    let (own, other) = (text(&control.own), text(&control.other));
    let words = ["unix-swap", own.as_str(), other.as_str()];
    let verdict = Launch::new(ground, &control.fixture).attack_plain(&words)?;
    checks.same("control: a swapped link", &verdict.detail(), &"other");
    let victim = inside.fixture();
    let own = text(&victim.workspace.join("run/own.sock"));
    let other = text(&victim.outside.join("other.sock"));
    let verdict = inside.attack_inside(&["unix-swap", &own, &other])?;
    checks.same("a swapped link", &verdict.detail(), &"granted");
    Ok(())
}

fn nested(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let scene = scene(ground)?;
    let (granted, ringfence) = (text(&scene.granted), text(&ground.ringfence));
    let probe = text(&ground.probe);
    // The outer boundary hides the outer state; the inner one needs a state of its own.
    let script = format!(
        "mkdir -p -m 700 /tmp/inner; RINGFENCE_STATE=/tmp/inner XDG_STATE_HOME=/tmp/inner {ringfence} run \
         --unix-socket {granted} -- {probe} unix-ask {granted}"
    );
    let run = Launch::new(ground, &scene.fixture).shell(&script)?;
    checks.refused("the inner session", &run.verdict(), &[libc::ENOENT]);
    checks.that("it says so", run.said().contains("unix-sockets"), || {
        run.said()
    });
    Ok(())
}

fn dangerous(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    for (name, warning) in [
        ("docker.sock", "can become root on this machine"),
        ("S.gpg-agent", "can sign with your keys"),
        ("wayland-0", "can do what you can on this machine"),
    ] {
        let path = fixture.outside.join(name);
        server(&path, "granted")?;
        let path = text(&path);
        let run = Launch::new(ground, &fixture)
            .options(&["--unix-socket", &path])
            .inside(&[&text(&ground.probe), "unix-ask", &path])?;
        checks.sibling(name, &run.verdict());
        let said = run.said();
        let warned = said.contains("WARNING: ") && said.contains(warning) && said.contains(&path);
        checks.that(&format!("{name}: the warning"), warned, || said.clone());
    }
    let absent = text(&fixture.outside.join("absent.sock"));
    let run = Launch::new(ground, &fixture)
        .options(&["--unix-socket", &absent])
        .inside(&[&text(&ground.probe), "unix-ask", &absent])?;
    checks.refused("an absent socket", &run.verdict(), &[libc::ENOENT]);
    checks.that("it is said", run.said().contains("is not there"), || {
        run.said()
    });
    Ok(())
}

/// The kernel option that keeps descriptors out, `SO_PASSRIGHTS`, is there since Linux 6.16.
fn held(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let path = fixture.outside.join("granted.sock");
    server(&path, "granted")?;
    let path = text(&path);
    let launch = Launch::new(ground, &fixture).options(&["--unix-socket", &path]);
    let outside = launch.plain(&["python3", "-c", LINGER, "outside"])?.text();
    let known = outside.contains("known") && !outside.contains("unknown");
    let control = outside.contains("linger 0") && outside.contains("send 0");
    checks.that("control: both are possible", control, || outside.clone());
    let inside = launch.inside(&["python3", "-c", LINGER, "inside"])?.text();
    let lingers = format!("linger {}", libc::ENOPROTOOPT);
    checks.that("it can't linger", inside.contains(&lingers), || {
        inside.clone()
    });
    let sends = format!("send {}", if known { libc::EPERM } else { 0 });
    checks.that("nothing is sent to us", inside.contains(&sends), || {
        inside.clone()
    });
    Ok(())
}
