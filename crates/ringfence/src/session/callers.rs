//! Whose a connection is, and which process holds its other end: the one by construction, the other by the runner's word.
//!
//! Invariant: whatever the runner answers, or whether it does, changes nothing but the name of a process in the record.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ringfence_egress::Subject;
use ringfence_egress::caller::{Attribution, Ends, Transport, UnknownCaller};
use ringfence_policy::decision::Process;
use ringfence_policy::escape::escape;
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{RecvFlags, SendFlags, recv, send};

/// How long an answer is waited for. The runner gives up a little earlier.
const PATIENCE: Duration = Duration::from_millis(500);
/// The most bytes of an answer.
const MAX_ANSWER: usize = 4 + 4 + 1024;

/// The callers of one session.
pub(super) struct Callers {
    subject: Subject,
    runner: Option<Mutex<Asking>>,
}

/// The way to the runner, and how many questions went there.
struct Asking {
    runner: OwnedFd,
    count: u32,
}

impl Callers {
    /// Callers of `subject`, whom the runner names where there is a way to ask it.
    pub(super) fn new(subject: Subject, runner: Option<OwnedFd>) -> Self {
        let runner = runner.filter(|runner| {
            // Without a limit a runner that is stopped would be waited for.
            let set = |timeout| set_socket_timeout(runner, timeout, Some(PATIENCE));
            set(Timeout::Recv).and_then(|()| set(Timeout::Send)).is_ok()
        });
        let runner = runner.map(|runner| Mutex::new(Asking { runner, count: 0 }));
        Self { subject, runner }
    }
}

impl Attribution for Callers {
    fn subject(&self, _ends: Ends) -> Result<Subject, UnknownCaller> {
        Ok(self.subject.clone())
    }

    fn process(&self, ends: Ends) -> Option<Process> {
        let protocol = match ends.transport {
            Transport::Tcp => 6,
            Transport::Udp => 17,
            Transport::Pair => return None,
        };
        let asking = self.runner.as_ref()?;
        let mut asking = asking.lock().unwrap_or_else(PoisonError::into_inner);
        asking.ask(protocol, ends).ok()?
    }
}

impl Asking {
    fn ask(&mut self, protocol: u8, ends: Ends) -> Result<Option<Process>, Errno> {
        self.count = self.count.wrapping_add(1);
        let number = self.count.to_le_bytes();
        let mut question = number.to_vec();
        question.push(protocol);
        for end in [ends.peer, ends.local] {
            push_address(&mut question, end);
        }
        send(&self.runner, &question, SendFlags::NOSIGNAL)?;
        loop {
            let mut answer = [0; MAX_ANSWER];
            let (length, _) = recv(&self.runner, &mut answer, RecvFlags::empty())?;
            let answer = answer.get(..length).unwrap_or_default();
            match answer.split_first_chunk::<4>() {
                Some((answered, found)) if *answered == number => return Ok(process(found)),
                // To a question that was given up.
                Some(_) => {}
                // It has closed its side, or says what is no answer.
                None => return Ok(None),
            }
        }
    }
}

/// The address as the runner reads it: sixteen bytes, IPv4 mapped, and the port, little-endian.
pub(super) fn push_address(question: &mut Vec<u8>, address: SocketAddr) {
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    question.extend(ip.octets());
    question.extend(address.port().to_le_bytes());
}

/// The runner's words are read as hostile.
fn process(found: &[u8]) -> Option<Process> {
    let (id, program) = found.split_first_chunk::<4>()?;
    let id = u32::from_le_bytes(*id);
    (id != 0).then(|| Process {
        id,
        program: escape(program).into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    fn callers(runner: OwnedFd) -> Callers {
        let subject = Subject {
            session: "s".to_owned(),
            command: None,
        };
        Callers::new(subject, Some(runner))
    }

    fn pair() -> (OwnedFd, OwnedFd) {
        let flags = SocketFlags::CLOEXEC;
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap()
    }

    fn ends() -> Ends {
        Ends {
            peer: "127.0.0.1:50000".parse().unwrap(),
            local: "[::ffff:198.18.0.1]:443".parse().unwrap(),
            transport: Transport::Tcp,
        }
    }

    /// A runner that gives one question these answers, each behind a number.
    fn answering(answers: &'static [(u32, &'static [u8])]) -> Callers {
        let (ours, theirs) = pair();
        std::thread::spawn(move || {
            let mut question = [0; 64];
            let (length, _) = recv(&theirs, &mut question, RecvFlags::empty()).unwrap();
            assert_eq!(length, 41);
            assert_eq!(&question[..7], b"\x01\0\0\0\x06\0\0");
            for (number, rest) in answers {
                let answer = [&number.to_le_bytes(), *rest].concat();
                send(&theirs, &answer, SendFlags::NOSIGNAL).unwrap();
            }
        });
        callers(ours)
    }

    #[test]
    fn the_answer_to_the_question_counts_alone_and_is_escaped() {
        let callers = answering(&[
            (7, b"\x09\0\0\0/bin/late"),
            (1, b"\x0c\0\0\0/bin/\x1b[2Jcurl"),
        ]);
        let found = callers.process(ends()).unwrap();
        assert_eq!(found.id, 12);
        assert!(found.program.starts_with("/bin/"), "{}", found.program);
        assert!(!found.program.contains('\x1b'), "{}", found.program);
    }

    #[test]
    fn a_runner_without_an_answer_leaves_the_caller_without_a_name() {
        const ANSWERS: [&[(u32, &[u8])]; 4] = [
            &[(1, b"\0\0\0\0")],
            &[(1, b"\x01")],
            &[(9, b"\x01\0\0\0x")],
            &[],
        ];
        for answers in ANSWERS {
            assert_eq!(answering(answers).process(ends()), None);
        }
        let (silent, _kept) = pair();
        assert_eq!(callers(silent).process(ends()), None);
        let mut pair = ends();
        pair.transport = Transport::Pair;
        assert_eq!(answering(&[]).process(pair), None);
    }
}
