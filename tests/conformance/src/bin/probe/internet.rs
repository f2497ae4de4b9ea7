//! A test internet: a network namespace in which every address answers, servers that log what reaches them, and then
//! the given program.
//!
//! `probe internet LOG PROGRAM...`. Nothing of the machine's own network is there, so nothing can leave by mistake.
//! Names and their addresses are ordinary-looking ones: documentation ranges would be refused as such. Invariant: what
//! a server saw is in the log before its answer is sent.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use ringfence_conformance_tests::internet::{ADDRESSES, FLIPPING, PORTS};
use ringfence_conformance_tests::verdict::{Stopped, Verdict};

use rustix::thread::CapabilitySet;

use crate::calls::errno;

/// Where a name stands in the log.
#[derive(Clone)]
struct Log(Arc<Mutex<File>>);

impl Log {
    fn line(&self, line: &str) {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = writeln!(file, "{line}");
        let _ = file.flush();
    }
}

/// Makes the internet and runs `words` in it; exits as they do.
pub(crate) fn run(words: &[OsString]) -> ! {
    let status = match start(words) {
        Ok(status) => status,
        Err(stopped) => {
            crate::print(&Verdict::of(Err(stopped)));
            125
        }
    };
    std::process::exit(status)
}

fn start(words: &[OsString]) -> Result<i32, Stopped> {
    let [log, program, arguments @ ..] = words else {
        return Err(Stopped::untried("probe internet LOG PROGRAM..."));
    };
    let file = File::create(log).map_err(system("open of the log"))?;
    let log = Log(Arc::new(Mutex::new(file)));
    enter()?;
    serve(&log)?;
    let status = Command::new(program)
        .args(arguments)
        .status()
        .map_err(system("execve"))?;
    Ok(status.code().unwrap_or(124))
}

fn system(call: &str) -> impl Fn(std::io::Error) -> Stopped {
    move |error| Stopped {
        call: call.to_owned(),
        errno: error.raw_os_error().unwrap_or(0),
    }
}

/// New user and network namespaces, the caller's ids, loopback up, and every address local.
fn enter() -> Result<(), Stopped> {
    let ids = (
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    );
    // SAFETY: takes flags alone; this process has one thread.
    if unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNET) } != 0 {
        return Err(Stopped {
            call: "unshare".to_owned(),
            errno: errno(),
        });
    }
    for (file, text) in [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("{} {} 1", ids.0, ids.0)),
        ("gid_map", format!("{} {} 1", ids.1, ids.1)),
    ] {
        let path = format!("/proc/self/{file}");
        std::fs::write(&path, text).map_err(system(&path))?;
    }
    // An ordinary user's capabilities are gone at the next execve, unless they are ambient.
    lend_network_rights().map_err(|errno| Stopped {
        call: "prctl (ambient capabilities)".to_owned(),
        errno: errno.raw_os_error(),
    })?;
    let made = make_every_address_local();
    rustix::thread::clear_ambient_capability_set().map_err(|errno| Stopped {
        call: "prctl (ambient capabilities)".to_owned(),
        errno: errno.raw_os_error(),
    })?;
    made?;
    // The given program may start an origin of its own on a low port.
    let ports = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
    std::fs::write(ports, "0").map_err(system(ports))
}

fn lend_network_rights() -> Result<(), rustix::io::Errno> {
    let right = CapabilitySet::NET_ADMIN;
    let mut sets = rustix::thread::capabilities(None)?;
    sets.inheritable |= right;
    rustix::thread::set_capabilities(None, sets)?;
    rustix::thread::configure_capability_in_ambient_set(right, true)
}

/// Raises loopback and adds the local default routes.
fn make_every_address_local() -> Result<(), Stopped> {
    for words in [
        &["link", "set", "lo", "up"][..],
        &["route", "add", "local", "default", "dev", "lo"],
        &["-6", "route", "add", "local", "default", "dev", "lo"],
    ] {
        let made = Command::new("ip").args(words).output();
        let output = made.map_err(system("ip (of iproute2)"))?;
        // A kernel without IPv6 has an internet without it.
        if !output.status.success() && words.first() != Some(&"-6") {
            return Err(Stopped::untried(format!(
                "ip {words:?}: {}",
                String::from_utf8_lossy(&output.stderr)
            )));
        }
    }
    Ok(())
}

fn serve(log: &Log) -> Result<(), Stopped> {
    // What the system's resolver may ask: any address, and those of loopback that answer for themselves alone.
    for address in ["[::]:53", "127.0.0.53:53", "127.0.0.11:53"] {
        let Ok(socket) = reusable(address) else {
            continue;
        };
        let log = log.clone();
        std::thread::spawn(move || answer_names(&socket, &log));
    }
    let without = std::env::var("RINGFENCE_INTERNET_WITHOUT").unwrap_or_default();
    let without: Vec<u16> = without
        .split(',')
        .filter_map(|port| port.parse().ok())
        .collect();
    for port in PORTS {
        // Another origin's, which the given program starts.
        if without.contains(&port) {
            continue;
        }
        let listener = TcpListener::bind(("::", port))
            .or_else(|_| TcpListener::bind(("0.0.0.0", port)))
            .map_err(system("bind of an origin"))?;
        let log = log.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let log = log.clone();
                std::thread::spawn(move || origin(stream, port, &log));
            }
        });
    }
    for port in [443, 8125] {
        let socket = UdpSocket::bind(("::", port)).map_err(system("bind of datagrams"))?;
        let log = log.clone();
        std::thread::spawn(move || {
            let mut packet = [0; 2048];
            while let Ok((length, from)) = socket.recv_from(&mut packet) {
                log.line(&format!("udp {port} {length}"));
                let _ = socket.send_to(b"datagram", from);
            }
        });
    }
    Ok(())
}

/// A datagram socket beside another of the same port.
fn reusable(address: &str) -> std::io::Result<UdpSocket> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};
    let address: SocketAddr = address
        .parse()
        .map_err(|_| std::io::ErrorKind::InvalidInput)?;
    let family = if address.is_ipv6() {
        AddressFamily::INET6
    } else {
        AddressFamily::INET
    };
    let socket = socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, false)?;
    }
    bind(&socket, &address)?;
    Ok(socket.into())
}

/// Answers A and AAAA from the table; logs every question.
fn answer_names(socket: &UdpSocket, log: &Log) {
    let mut asked: HashMap<String, usize> = HashMap::new();
    let mut packet = [0; 1500];
    while let Ok((length, from)) = socket.recv_from(&mut packet) {
        let question = packet.get(..length).unwrap_or_default();
        let Some((name, kind, end)) = read_question(question) else {
            log.line("dns malformed");
            continue;
        };
        log.line(&format!("dns {name}"));
        let times = asked.entry(name.clone()).or_default();
        *times += 1;
        // The second pair of questions, A and AAAA, gets the other address.
        let key = if name == FLIPPING && *times > 2 {
            "flipped"
        } else {
            &name
        };
        let known = ADDRESSES.iter().find(|(known, _)| *known == key);
        let addresses: Vec<IpAddr> = known.map_or_else(Vec::new, |(_, list)| {
            list.iter().filter_map(|text| text.parse().ok()).collect()
        });
        let reply = reply(question, end, kind, known.is_some(), &addresses);
        let _ = socket.send_to(&reply, from);
    }
}

/// Name, type, and where the question ends.
fn read_question(packet: &[u8]) -> Option<(String, u16, usize)> {
    let mut at = 12;
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*packet.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(packet.get(at..at + length)?).to_lowercase());
        at += length;
    }
    let kind = u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]);
    Some((labels.join("."), kind, at + 4))
}

fn reply(question: &[u8], end: usize, kind: u16, known: bool, addresses: &[IpAddr]) -> Vec<u8> {
    let records: Vec<Vec<u8>> = addresses
        .iter()
        .filter_map(|address| match (address, kind) {
            (IpAddr::V4(v4), 1) => Some(v4.octets().to_vec()),
            (IpAddr::V6(v6), 28) => Some(v6.octets().to_vec()),
            (IpAddr::V4(_) | IpAddr::V6(_), _) => None,
        })
        .collect();
    let mut reply = question.get(..2).unwrap_or_default().to_vec();
    let code = if known { 0 } else { 3 };
    reply.extend([0x81, 0x80 | code, 0, 1, 0]);
    reply.push(u8::try_from(records.len()).unwrap_or(0));
    reply.extend([0, 0, 0, 0]);
    reply.extend(question.get(12..end).unwrap_or_default());
    for record in records {
        reply.extend([0xc0, 12]);
        reply.extend(kind.to_be_bytes());
        reply.extend([0, 1, 0, 0, 0, 0, 0]);
        reply.push(u8::try_from(record.len()).unwrap_or(0));
        reply.extend(record);
    }
    reply
}

/// One origin for every port: SSH greets first, TLS is only looked at, the rest is HTTP.
fn origin(mut stream: TcpStream, port: u16, log: &Log) {
    let at = stream.local_addr().map_or_else(
        |_| "?".to_owned(),
        |local| SocketAddr::new(local.ip().to_canonical(), port).to_string(),
    );
    if port == 22 {
        log.line(&format!("tcp {at}"));
        let _ = stream.write_all(b"SSH-2.0-origin\r\n");
        let mut heard = [0; 1024];
        while let Ok(length @ 1..) = stream.read(&mut heard) {
            log.line(&format!("tcp {at} heard {length}"));
        }
        return;
    }
    let mut first = [0; 1];
    match stream.peek(&mut first) {
        Ok(1) if first == [0x16] => {
            log.line(&format!("tls {at}"));
            // The whole greeting first: closing with some of it unread would be a reset.
            let mut head = [0; 5];
            if stream.read_exact(&mut head).is_ok() {
                let [.., high, low] = head;
                let length = u64::from(u16::from_be_bytes([high, low]));
                let _ = std::io::copy(&mut (&stream).take(length), &mut std::io::sink());
            }
            let _ = stream.write_all(b"\x15\x03\x03\x00\x02\x02\x28");
        }
        Ok(1) => while http(&mut stream, &at, log).is_some() {},
        Ok(_) | Err(_) => log.line(&format!("tcp {at}")),
    }
}

/// One request; `None` at the end.
fn http(stream: &mut TcpStream, at: &str, log: &Log) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        head.push(line);
    }
    let host = head
        .iter()
        .find_map(|line| {
            line.to_lowercase()
                .strip_prefix("host:")
                .map(|host| host.trim().to_owned())
        })
        .unwrap_or_default();
    let request = head.first().cloned().unwrap_or_default();
    log.line(&format!("http {at} host={host} {request}"));
    let body = format!("origin {at}\n");
    let length = body.len();
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}");
    stream.write_all(answer.as_bytes()).ok()
}
