//! Other proxies, where they are installed: squid and tinyproxy, with nothing on but proxying.
//!
//! Their files are in the benchmark's scratch directory. Invariant: a peer that is not installed has no rows; one that
//! is installed and does not serve is a failure.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::serve::Served;

/// How long a peer may take to serve.
const PATIENCE: Duration = Duration::from_secs(20);

/// Starts what is installed.
pub(super) fn start_installed(scratch: &Path) -> Result<Vec<Served>, String> {
    let mut served = Vec::new();
    for (name, start) in [
        (
            "squid",
            squid as fn(&Path, &Path, u16) -> Result<Command, String>,
        ),
        ("tinyproxy", tinyproxy),
    ] {
        if let Some(program) = find(name) {
            let port = free_port()?;
            let command = start(&program, scratch, port)?;
            served.push(serve(name, command, port)?);
        }
    }
    Ok(served)
}

/// A program of PATH or of the directories for servers, which an ordinary user's PATH leaves out.
fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let servers = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(servers)
        .map(|directory| directory.join(name))
        .find(|program| program.is_file())
}

fn squid(program: &Path, scratch: &Path, port: u16) -> Result<Command, String> {
    let file = scratch.join("squid.conf");
    let mut text = format!("http_port 127.0.0.1:{port}\n");
    text.push_str(
        "http_access allow all\ncache deny all\naccess_log none\ncache_log /dev/null\n\
         cache_store_log none\npid_filename none\nnetdb_filename none\nvisible_hostname localhost\n\
         shutdown_lifetime 0 seconds\nmax_filedescriptors 4096\npinger_enable off\n",
    );
    // Writing to a string does not fail.
    let _ = writeln!(text, "coredump_dir {}", scratch.display());
    write(&file, &text)?;
    let mut command = Command::new(program);
    // By its name its shared memory is another than that of every other squid here, also one of another user's.
    let name = format!("bench{}", std::process::id());
    command.args(["-N", "-n", &name, "-f"]).arg(file);
    Ok(command)
}

fn tinyproxy(program: &Path, scratch: &Path, port: u16) -> Result<Command, String> {
    let file = scratch.join("tinyproxy.conf");
    let text = format!(
        "Port {port}\nListen 127.0.0.1\nTimeout 60\nMaxClients 200\nLogLevel Critical\n\
         LogFile \"/dev/null\"\nAllow 127.0.0.1\nDisableViaHeader Yes\n"
    );
    write(&file, &text)?;
    let mut command = Command::new(program);
    command.args(["-d", "-c"]).arg(file);
    Ok(command)
}

fn write(file: &Path, text: &str) -> Result<(), String> {
    std::fs::write(file, text).map_err(|cause| format!("can't write {}: {cause}", file.display()))
}

/// A port that nobody has just now: these programs can't be given a listener.
fn free_port() -> Result<u16, String> {
    let find = || {
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()
            .map(|address| address.port())
    };
    find().map_err(|cause: std::io::Error| format!("can't find a free port: {cause}"))
}

fn serve(name: &'static str, mut command: Command, port: u16) -> Result<Served, String> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let process = command
        .spawn()
        .map_err(|cause| format!("can't start {name}: {cause}"))?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let served = Served::new(name, address, process);
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(address).is_err() {
        if Instant::now() > deadline {
            return Err(format!("{name} does not serve"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(served)
}
