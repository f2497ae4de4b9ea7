//! A real sshd of the test's own, one process for each connection, behind a socket of the file system.
//!
//! It runs outside of the test internet, whose namespace has too few ids for it. Invariant: it knows one key, made for
//! the test, and one user: the one who runs the suite.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::checks::{Context, Failure};
use crate::launch::eventually;

/// Where sshd is, whatever PATH says: it insists on being called by its full name.
const SSHD: &str = "/usr/sbin/sshd";

/// What a client needs.
#[derive(Debug)]
pub(super) struct SshServer {
    /// The socket that leads to it.
    pub(super) socket: PathBuf,
    /// The client's key.
    pub(super) key: PathBuf,
    /// The server's key, as a client knows it.
    pub(super) known: PathBuf,
    /// Who logs in.
    pub(super) user: String,
    /// Holds the client's key too.
    pub(super) agent: Agent,
}

/// An ssh-agent. Dropped, it ends.
#[derive(Debug)]
pub(super) struct Agent {
    /// Its socket.
    pub(super) socket: PathBuf,
    process: Child,
}

impl Agent {
    fn start(socket: PathBuf, key: &Path) -> Result<Self, Failure> {
        let process = Command::new("ssh-agent")
            .args(["-D", "-a"])
            .arg(&socket)
            .stdout(Stdio::null())
            .spawn()
            .context(|| "starting ssh-agent".to_owned())?;
        let agent = Self { socket, process };
        if !eventually(20, || agent.socket.exists()) {
            return Err(Failure::Meaningless("ssh-agent made no socket".to_owned()));
        }
        let mut add = Command::new("ssh-add");
        done(add.arg("-q").arg(key).env("SSH_AUTH_SOCK", &agent.socket))?;
        Ok(agent)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // One that has ended by itself is already where it should be.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Whether there is one to be started.
pub(super) fn is_installed() -> bool {
    Path::new(SSHD).exists()
}

impl SshServer {
    /// Serves `hosts` from files in `directory`, until the suite ends.
    ///
    /// # Errors
    /// [`Failure`] naming the file or program.
    pub(super) fn start(directory: &Path, hosts: &[&str]) -> Result<Self, Failure> {
        let (key, host_key) = (directory.join("client-key"), directory.join("host-key"));
        for key in [&key, &host_key] {
            done(
                Command::new("ssh-keygen")
                    .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                    .arg(key),
            )?;
        }
        let server = Self {
            socket: directory.join("sshd.sock"),
            known: directory.join("known-hosts"),
            user: done(Command::new("id").arg("-un"))?,
            agent: Agent::start(directory.join("agent.sock"), &key)?,
            key,
        };
        let public = read(&host_key.with_extension("pub"))?;
        let known: Vec<String> = hosts
            .iter()
            .map(|host| format!("{host} {public}"))
            .collect();
        write(&server.known, &known.concat())?;
        let authorized = directory.join("authorized-keys");
        write(&authorized, &read(&server.key.with_extension("pub"))?)?;
        let configuration = directory.join("sshd-config");
        let text = format!(
            "HostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\nPermitRootLogin yes\nPidFile none\n",
            host_key.display(),
            authorized.display()
        );
        write(&configuration, &text)?;
        // Debian's sshd wants it, and a machine without systemd has none.
        if rustix::process::geteuid().is_root() {
            let _ = std::fs::create_dir_all("/run/sshd");
        }
        let listener = UnixListener::bind(&server.socket)
            .context(|| format!("binding {}", server.socket.display()))?;
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let Ok(output) = stream.try_clone() else {
                    continue;
                };
                let started = Command::new(SSHD)
                    .args(["-i", "-e", "-f"])
                    .arg(&configuration)
                    .stdin(Stdio::from(OwnedFd::from(stream)))
                    .stdout(Stdio::from(OwnedFd::from(output)))
                    .stderr(Stdio::null())
                    .spawn();
                if let Ok(mut sshd) = started {
                    std::thread::spawn(move || sshd.wait());
                }
            }
        });
        Ok(server)
    }
}

fn done(command: &mut Command) -> Result<String, Failure> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().context(|| format!("starting {name}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(Failure::Meaningless(format!("{name}: {said}")))
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).context(|| format!("reading {}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).context(|| format!("writing {}", path.display()))
}
