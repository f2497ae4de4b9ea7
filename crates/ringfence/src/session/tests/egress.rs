//! A session whose proxy ends before it.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ringfence_audit::SessionId;
use ringfence_egress::caller::{Attribution, Ends, UnknownCaller};
use ringfence_egress::{Listener, Subject};
use ringfence_plan::step::{ServedSocket, Service};
use ringfence_policy::Policy;
use ringfence_policy::document::Require;
use ringfence_policy::layers::{LayerKind, Sourced};
use ringfence_policy::policy::NetworkPolicy;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{Shutdown, shutdown};

use super::super::egress::{Egress, HandedOut, Prepared};
use super::{Afterwards, bench, run};

/// A proxy with two listeners of this machine's loopback, and a second descriptor of the first.
fn proxy(policy: &Policy) -> (Egress, OwnedFd, [SocketAddr; 2]) {
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let addresses = [0, 1].map(|index: usize| listeners[index].local_addr().unwrap());
    let handle = OwnedFd::from(listeners[0].try_clone().unwrap());
    let sockets = listeners.into_iter().map(|listener| {
        let socket = ServedSocket {
            address: listener.local_addr().unwrap(),
            service: Service::Proxy,
        };
        (socket, OwnedFd::from(listener))
    });
    let session = SessionId("0123456789abcdef".to_owned());
    let handed_out = HandedOut {
        sockets: sockets.collect(),
        ..HandedOut::default()
    };
    let egress = Egress::start(policy, &session, handed_out, &[]).unwrap();
    (egress, handle, addresses)
}

/// Waits until the proxy has news: a minute is longer than anything takes.
fn await_news(egress: &Egress) {
    let mut fds = [PollFd::from_borrowed_fd(egress.readiness(), PollFlags::IN)];
    let minute = Timespec {
        tv_sec: 60,
        tv_nsec: 0,
    };
    assert_eq!(poll(&mut fds, Some(&minute)), Ok(1), "no news");
}

#[test]
fn a_proxy_that_loses_one_listener_ends_with_all_of_them_and_says_why_once() {
    let bench = bench(Require::Full);
    let (mut egress, handle, addresses) = proxy(&bench.policy);
    assert_eq!(egress.take_ending(), None);
    for address in addresses {
        assert!(TcpStream::connect(address).is_ok());
    }
    shutdown(&handle, Shutdown::Both).unwrap();
    await_news(&egress);
    let reason = egress.take_ending().unwrap();
    let lost = format!("the listener {} failed: ", addresses[0]);
    assert!(reason.starts_with(&lost), "{reason}");
    drop(handle);
    for address in addresses {
        assert!(TcpStream::connect(address).is_err(), "{address}");
    }
    assert_eq!(egress.take_ending(), None);
    assert_eq!(egress.ending(), Some(reason.as_str()));
}

#[test]
fn every_command_after_the_proxys_end_says_that_there_is_no_way_out() {
    let bench = bench(Require::Full);
    let mut session = bench.start(&bench.host).unwrap();
    let (egress, handle, _) = proxy(&bench.policy);
    session.network.serve_with(egress);
    let warnings = |notes: &[String]| {
        let begin = "WARNING: the egress proxy has ended (the listener ";
        notes.iter().filter(|note| note.starts_with(begin)).count()
    };
    let report = run(&mut session, Afterwards::Stay).unwrap();
    assert_eq!(warnings(&report.notes), 0, "{:?}", report.notes);
    shutdown(&handle, Shutdown::Both).unwrap();
    await_news(session.network.egress().unwrap());
    for afterwards in [Afterwards::Stay, Afterwards::End] {
        let report = run(&mut session, afterwards).unwrap();
        assert_eq!(warnings(&report.notes), 1, "{:?}", report.notes);
    }
}

#[test]
fn a_policy_that_is_loaded_while_the_session_lives_closes_what_it_does_not_allow() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = server.local_addr().unwrap();
    let bench = bench(Require::Full);
    let mut policy = bench.policy.clone();
    policy.network.connect = vec![Sourced {
        value: place,
        layer: LayerKind::User,
    }];
    let mut session = bench.start(&bench.host).unwrap();
    assert!(session.network_control().is_none(), "nothing is served yet");
    let (egress, _, [address, _]) = proxy(&policy);
    session.network.serve_with(egress);
    let tunnel = || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_mins(1)))
            .unwrap();
        let head = format!("CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        (stream, String::from_utf8_lossy(&status).into_owned())
    };
    let (mut open, status) = tunnel();
    assert_eq!(status, "HTTP/1.1 200");
    let (_accepted, _) = server.accept().unwrap();
    let control = session.network_control().unwrap();
    assert_eq!(control.open_connections(), 1);
    control.reload(&NetworkPolicy::offline()).unwrap();
    // An end or a reset; silence would be neither.
    let mut rest = Vec::new();
    let ended = open.read_to_end(&mut rest).map_err(|error| error.kind());
    assert!(
        matches!(ended, Ok(_) | Err(ErrorKind::ConnectionReset)),
        "{ended:?}"
    );
    assert_eq!(tunnel().1, "HTTP/1.1 403");
}

/// Keeps the proxy's thread until the test ends.
struct Hanging {
    begun: Sender<()>,
    end: Mutex<Receiver<()>>,
}

impl Attribution for Hanging {
    fn subject(&self, ends: Ends) -> Result<Subject, UnknownCaller> {
        let _ = self.begun.send(());
        let _ = self.end.lock().unwrap().recv();
        Err(UnknownCaller { peer: ends.peer })
    }
}

#[test]
fn a_proxy_that_is_held_up_does_not_hold_up_the_end_of_its_session() {
    let bench = bench(Require::Full);
    let (begun, begins) = channel();
    let (held, end) = channel();
    let end = Mutex::new(end);
    let prepared = Prepared::new(&bench.policy, Arc::new(Hanging { begun, end }), None).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    prepared.add(Listener::Explicit(listener)).unwrap();
    let egress = prepared.start().unwrap();
    let mut client = TcpStream::connect(address).unwrap();
    begins.recv().unwrap();
    drop(egress);
    // It ends with all that it has when it can.
    drop(held);
    client
        .set_read_timeout(Some(Duration::from_mins(1)))
        .unwrap();
    let ended = client.read(&mut [0; 1]);
    assert!(
        matches!(&ended, Ok(0))
            || ended.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset)
    );
}
