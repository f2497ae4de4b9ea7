//! Which process of the session holds the other end of a connection: asked by the harness when somebody is refused.
//!
//! The kernel names the socket ([`diag`]), and the process that holds it is looked for in `/proc`, on a thread of its
//! own. Invariant: a question takes bounded time whatever the session's processes hold, and its answer is about
//! processes of this session alone: both the network and `/proc` are the session's.

mod diag;

use std::fs;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair,
};

use super::limits::process_ids;
use crate::process;
use diag::Conversation;

/// How long is searched for one answer.
const PATIENCE: Duration = Duration::from_millis(400);
/// Descriptors of one process that are looked at.
const MAX_DESCRIPTORS: usize = 16 << 10;
/// Bytes of a question: its number, what carries the conversation, and both ends.
const QUESTION: usize = 4 + 1 + 2 * (16 + 2);
/// Bytes of a program's path that are told.
const MAX_PROGRAM: usize = 1024;

/// Answers the harness's questions; the harness's end is returned.
///
/// A question is a number (four bytes, little-endian), 6 for TCP or 17 for UDP, and two addresses, the caller's and the
/// one it talks to (sixteen bytes, IPv4 mapped, and a port of two, little-endian). The answer is the number, a process
/// (four bytes, 0 for none), and the path of its program.
pub(super) fn start_answering() -> Result<OwnedFd, Errno> {
    let (ours, theirs) = socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    std::thread::Builder::new()
        .name("callers".to_owned())
        .stack_size(64 << 10)
        .spawn(move || answer_until_closed(&ours))
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::AGAIN))?;
    Ok(theirs)
}

fn answer_until_closed(harness: &OwnedFd) {
    let mut question = [0; QUESTION];
    loop {
        match recv(harness, &mut question, RecvFlags::empty()) {
            Ok((QUESTION, _)) => {}
            Err(Errno::INTR) => continue,
            // The harness has closed it, or is no harness of ours.
            Ok(_) | Err(_) => return,
        }
        let [a, b, c, d, protocol, ends @ ..] = question;
        let found = conversation(protocol, &ends).and_then(find);
        let (process, mut program) = found.unwrap_or_default();
        program.truncate(MAX_PROGRAM);
        let answer = [&[a, b, c, d][..], &process.to_le_bytes(), &program].concat();
        if send(harness, &answer, SendFlags::NOSIGNAL).is_err() {
            return;
        }
    }
}

fn conversation(protocol: u8, ends: &[u8; 36]) -> Option<Conversation> {
    let (caller, served) = ends.split_first_chunk::<18>()?;
    Some(Conversation {
        protocol: match protocol {
            6 => diag::Protocol::Tcp,
            17 => diag::Protocol::Udp,
            _ => return None,
        },
        caller: address(caller)?,
        served: address(served.first_chunk()?)?,
    })
}

fn address(bytes: &[u8; 18]) -> Option<SocketAddr> {
    let (ip, port) = bytes.split_first_chunk::<16>()?;
    let port = u16::from_le_bytes(*port.first_chunk()?);
    let ip = IpAddr::from(Ipv6Addr::from(*ip)).to_canonical();
    Some(SocketAddr::new(ip, port))
}

/// The process that holds the caller's socket, and its program.
fn find(conversation: Conversation) -> Option<(u32, Vec<u8>)> {
    let inode = diag::inode_of(conversation)?;
    let process = holder(inode, Instant::now() + PATIENCE)?;
    Some((process, process::program(process)?))
}

/// The youngest process that holds the socket: of a parent and its child it is likelier the child that talks.
fn holder(inode: u32, deadline: Instant) -> Option<u32> {
    let wanted = format!("socket:[{inode}]");
    let mut processes: Vec<u32> = process_ids().collect();
    processes.sort_unstable();
    processes
        .into_iter()
        .rev()
        .take_while(|_| Instant::now() < deadline)
        .find(|process| holds(*process, wanted.as_bytes(), deadline))
}

fn holds(process: u32, wanted: &[u8], deadline: Instant) -> bool {
    // Gone already, or hidden: then nothing of it is found.
    let descriptors = fs::read_dir(format!("/proc/{process}/fd"));
    descriptors
        .into_iter()
        .flatten()
        .flatten()
        .take(MAX_DESCRIPTORS)
        .take_while(|_| Instant::now() < deadline)
        .any(|entry| {
            fs::read_link(entry.path()).is_ok_and(|link| link.as_os_str().as_bytes() == wanted)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream, UdpSocket};

    /// What the other side of the pair is told.
    fn ask(harness: &OwnedFd, protocol: u8, caller: SocketAddr, served: SocketAddr) -> Vec<u8> {
        let mut question = b"\x01\x02\x03\x04".to_vec();
        question.push(protocol);
        for end in [caller, served] {
            let ip = match end.ip() {
                IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                IpAddr::V6(ip) => ip,
            };
            question.extend(ip.octets());
            question.extend(end.port().to_le_bytes());
        }
        send(harness, &question, SendFlags::NOSIGNAL).unwrap();
        let mut answer = vec![0; 2048];
        let (length, _) = recv(harness, &mut answer, RecvFlags::empty()).unwrap();
        answer.truncate(length);
        answer
    }

    fn ourselves() -> Vec<u8> {
        let program = std::env::current_exe().unwrap();
        let id = std::process::id().to_le_bytes();
        [b"\x01\x02\x03\x04", &id, program.as_os_str().as_bytes()].concat()
    }

    const NOBODY: &[u8] = b"\x01\x02\x03\x04\0\0\0\0";

    /// The answer is `expected`, at the latest when the children of other tests are gone: each holds copies of all
    /// descriptors of this process until it executes or ends.
    fn assert_told(ask: impl Fn() -> Vec<u8>, expected: &[u8]) {
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut told = ask();
        while told != expected && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
            told = ask();
        }
        assert_eq!(told, expected);
    }

    #[test]
    fn the_holder_of_a_connection_is_found_by_both_ends() {
        if crate::is_nested() {
            eprintln!("nested: the session that this runs in refuses to tell of sockets");
            return;
        }
        let harness = start_answering().unwrap();
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (caller, served) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
            assert_told(|| ask(&harness, 6, caller, served), &ourselves());
            // The same numbers, but another destination: the listener must not be taken for the caller.
            let mut other = served;
            other.set_port(1);
            assert_eq!(ask(&harness, 6, caller, other), NOBODY);
            assert_eq!(ask(&harness, 17, caller, served), NOBODY);
            drop(client);
            assert_told(|| ask(&harness, 6, caller, served), NOBODY);
        }
    }

    #[test]
    fn the_sender_of_a_packet_is_found_where_the_other_end_has_every_address() {
        if crate::is_nested() {
            eprintln!("nested: the session that this runs in refuses to tell of sockets");
            return;
        }
        let harness = start_answering().unwrap();
        let connected = UdpSocket::bind("127.0.0.1:0").unwrap();
        connected.connect("127.0.0.1:53").unwrap();
        let wild = UdpSocket::bind("[::]:0").unwrap();
        let served = "0.0.0.0:53".parse().unwrap();
        for socket in [&connected, &wild] {
            let port = socket.local_addr().unwrap().port();
            let caller = SocketAddr::from(([127, 0, 0, 1], port));
            assert_told(|| ask(&harness, 17, caller, served), &ourselves());
        }
        let caller = connected.local_addr().unwrap();
        drop(connected);
        assert_told(|| ask(&harness, 17, caller, served), NOBODY);
    }

    #[test]
    fn what_is_no_question_ends_the_conversation() {
        let harness = start_answering().unwrap();
        send(&harness, &[0; 7], SendFlags::NOSIGNAL).unwrap();
        let mut answer = [0; 16];
        assert_eq!(
            recv(&harness, &mut answer, RecvFlags::empty()).unwrap().0,
            0
        );
    }

    #[test]
    fn a_process_that_holds_very_many_descriptors_is_given_up_at_the_deadline() {
        assert_eq!(holder(u32::MAX, Instant::now()), None);
    }
}
