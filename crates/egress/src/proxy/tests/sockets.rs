//! Unix sockets of the host, as the proxy sees them: two stream sockets and a path.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};

use ringfence_policy::AbsolutePath;
use ringfence_policy::policy::NetworkPolicy;
use ringfence_policy::rule::RuleId;

use super::world::{World, assert_ended, origin, patient, subject, universal, user, world};
use crate::event::{CloseCause, Event};
use crate::proxy::{SocketAnswer, SocketWish};

struct Told(Sender<io::Result<()>>);

impl SocketAnswer for Told {
    fn answer(self: Box<Self>, result: io::Result<()>) {
        let _ = self.0.send(result);
    }
}

fn path(text: &str) -> AbsolutePath {
    AbsolutePath::new(text).unwrap()
}

fn granting(paths: &[&str]) -> NetworkPolicy {
    NetworkPolicy {
        unix_sockets: paths.iter().map(|text| user(path(text))).collect(),
        ..NetworkPolicy::offline()
    }
}

/// A program's side, the wish with the other one, and where its answer comes.
fn wish(socket: &str) -> (TcpStream, SocketWish, Receiver<io::Result<()>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let program = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (client, _) = listener.accept().unwrap();
    let server = origin(universal);
    let (sender, answers) = channel();
    let wish = SocketWish {
        subject: subject(),
        path: path(socket),
        client,
        connect: Box::new(move || TcpStream::connect(server)),
        answer: Box::new(Told(sender)),
    };
    (patient(program), wish, answers)
}

fn reach(world: &World, socket: &str) -> (TcpStream, io::Result<()>) {
    let (program, wish, answers) = wish(socket);
    assert!(world.control.reach(wish).is_ok());
    (program, answers.recv().unwrap())
}

fn echoes(stream: &mut TcpStream) -> bool {
    let mut echo = [0; 5];
    stream.write_all(b"\0echo").is_ok() && stream.read_exact(&mut echo).is_ok()
}

#[test]
fn a_socket_is_reached_while_the_policy_names_it_and_no_other() {
    let world = world(granting(&["/run/one", "/run/two"]));
    let (mut one, answer) = reach(&world, "/run/one");
    assert!(answer.is_ok());
    let (mut two, answer) = reach(&world, "/run/two");
    assert!(answer.is_ok());
    assert!(echoes(&mut one) && echoes(&mut two));
    let (mut other, answer) = reach(&world, "/run/other");
    assert_eq!(answer.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    assert_ended(&mut other);
    assert_eq!(world.refusals(), [RuleId::UnixSocket]);
    world.control.reload(granting(&["/run/two"]));
    assert_ended(&mut one);
    assert!(echoes(&mut two));
    let revoked = |event: &Event| {
        matches!(event, Event::Closed(closed)
            if closed.cause == CloseCause::Revoked && closed.destination == "/run/one")
    };
    assert!((0..500).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        world.events().iter().any(revoked)
    }));
}

#[test]
fn a_server_that_refuses_is_told_and_a_proxy_that_has_ended_takes_no_wish() {
    let world = world(granting(&["/run/one"]));
    let (_program, mut refused, answers) = wish("/run/one");
    refused.connect = Box::new(|| Err(io::ErrorKind::ConnectionRefused.into()));
    assert!(world.control.reach(refused).is_ok());
    let told = answers.recv().unwrap();
    assert_eq!(told.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    world.control.shutdown();
    let taken = (0..500).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        let (_program, late, _answers) = wish("/run/one");
        world.control.reach(late).is_err()
    });
    assert!(taken, "wishes are still taken");
}
