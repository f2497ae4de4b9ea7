//! The name server: allowed names get addresses that lead back to them, nobody is ever asked.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;

use ringfence_policy::rule::RuleId;

use super::world::{
    Ending, TLS_ANSWER, World, allowlist, greeting, origin, patient, read_up_to, universal, user,
    world, world_with,
};
use crate::decide::Ingress;
use crate::dns::tests::query;
use crate::limits::Limits;
use crate::proxy::{Listener, Nobody};

const A: u16 = 1;
const AAAA: u16 = 28;
const HTTPS: u16 = 65;

/// The answer to a question by UDP: its code and the address in it.
fn ask(world: &World, name: &str, record: u16) -> (u8, Option<IpAddr>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket
        .set_read_timeout(Some(std::time::Duration::from_secs(20)))
        .unwrap();
    let labels: Vec<&[u8]> = name.split('.').map(str::as_bytes).collect();
    socket
        .send_to(&query(&labels, record), world.names_udp)
        .unwrap();
    let mut packet = [0; 512];
    let length = socket.recv(&mut packet).unwrap();
    read_answer(&packet[..length])
}

fn read_answer(packet: &[u8]) -> (u8, Option<IpAddr>) {
    let answers = packet[7];
    let address = (answers == 1).then(|| match packet[packet.len() - 18..] {
        [.., 0, 4, a, b, c, d] => IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
        [0, 16, ..] => {
            let octets: [u8; 16] = packet[packet.len() - 16..].try_into().unwrap();
            IpAddr::V6(Ipv6Addr::from(octets))
        }
        _ => panic!("{packet:?}"),
    });
    (packet[3] & 15, address)
}

fn named_world() -> World {
    let world = world(allowlist(
        &["good.example", "*.wild.example:22"],
        &["bad.wild.example"],
    ));
    world.internet.name("good.example", &["11.22.33.44"]);
    world.internet.route("11.22.33.44:443", origin(universal));
    world
}

#[test]
fn an_allowed_name_gets_an_address_that_leads_to_it_and_to_nothing_else() {
    let world = named_world();
    let (code, address) = ask(&world, "good.example", A);
    assert_eq!(code, 0);
    let address = address.unwrap();
    assert_eq!(ask(&world, "GOOD.example", A), (0, Some(address)));
    assert_eq!(world.internet.resolved(), Vec::<String>::new());

    // Any-address capture, as far as this machine's loopback network goes.
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let capture = Listener::Captured {
        listener,
        port: Some(443),
    };
    world.control.add(capture).unwrap();
    let mut stream = patient(TcpStream::connect(SocketAddr::new(address, port)).unwrap());
    stream.write_all(&greeting("good.example")).unwrap();
    let mut answer = [0; 7];
    assert_eq!(read_up_to(&mut stream, &mut answer), 7);
    assert_eq!(answer, TLS_ANSWER);
    assert_eq!(world.internet.resolved(), ["good.example"]);

    // A client that resolves by itself and tells the proxy the address.
    let said = address.to_string();
    for way in [Ingress::Connect, Ingress::Socks] {
        let ending = world.attempt(way, &said, 443, "good.example");
        assert_eq!(ending, Ending::Reached, "{way:?}");
    }

    // The next address stands for nobody.
    let IpAddr::V4(v4) = address else {
        panic!("{address}")
    };
    let [a, b, c, d] = v4.octets();
    let neighbour = SocketAddr::from(([a, b, c, if d == 1 { 2 } else { d - 1 }], port));
    let mut stream = patient(TcpStream::connect(neighbour).unwrap());
    stream.write_all(&greeting("good.example")).unwrap();
    let mut answer = [0; 7];
    read_up_to(&mut stream, &mut answer);
    assert_eq!((answer[0], answer[6]), (21, 49));
    assert_eq!(world.refusals(), [RuleId::PrivateAddress]);
}

#[test]
fn only_addresses_are_answered_and_only_of_allowed_names() {
    let world = named_world();
    assert!(matches!(
        ask(&world, "good.example", AAAA),
        (0, Some(IpAddr::V6(_)))
    ));
    assert_eq!(ask(&world, "good.example", HTTPS), (0, None));
    assert_eq!(ask(&world, "good.example", 255), (0, None));
    // A name that some rule opens at another port than the usual ones.
    assert!(matches!(ask(&world, "a.wild.example", A), (0, Some(_))));
    assert_eq!(world.refusals(), []);
    for (name, rule) in [
        ("evil.example", RuleId::NotListed),
        ("wild.example", RuleId::NotListed),
        ("secret-data.evil.example", RuleId::NotListed),
        ("bad.wild.example", RuleId::DeniedHost),
        ("metadata.google.internal", RuleId::Metadata),
        ("44.33.22.11.in-addr.arpa", RuleId::NotListed),
    ] {
        for record in [A, AAAA, HTTPS] {
            world.forget_events();
            assert_eq!(ask(&world, name, record), (3, None), "{name} {record}");
            assert_eq!(world.refusals(), [rule], "{name}");
        }
    }
    assert_eq!(world.internet.resolved(), Vec::<String>::new());
}

#[test]
fn a_full_table_answers_no_further_name_and_says_so() {
    let limits = Limits {
        names: 1,
        ..Limits::default()
    };
    let world = world_with(
        allowlist(&["*.wild.example"], &[]),
        limits,
        Arc::new(Nobody),
    );
    let first = ask(&world, "a.wild.example", A);
    assert!(matches!(first, (0, Some(_))));
    assert_eq!(ask(&world, "b.wild.example", A), (2, None));
    assert_eq!(world.refusals(), [RuleId::NetworkLimit]);
    assert_eq!(ask(&world, "a.wild.example", A), first);
}

#[test]
fn the_sessions_loopback_has_its_usual_name() {
    let world = named_world();
    assert_eq!(
        ask(&world, "localhost", A),
        (0, Some(Ipv4Addr::LOCALHOST.into()))
    );
    assert_eq!(
        ask(&world, "app.localhost", AAAA),
        (0, Some(Ipv6Addr::LOCALHOST.into()))
    );
    assert_eq!(world.events().len(), 0);
}

#[test]
fn questions_come_by_tcp_too_one_after_the_other() {
    let world = named_world();
    let mut stream = patient(TcpStream::connect(world.names_tcp).unwrap());
    let mut questions = Vec::new();
    for name in [[&b"good"[..], b"example"], [b"evil", b"example"]] {
        let packet = query(&name, A);
        questions.extend_from_slice(&u16::try_from(packet.len()).unwrap().to_be_bytes());
        questions.extend_from_slice(&packet);
    }
    for byte in questions {
        stream.write_all(&[byte]).unwrap();
    }
    let mut codes = Vec::new();
    for _ in 0..2 {
        let mut length = [0; 2];
        stream.read_exact(&mut length).unwrap();
        let mut packet = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut packet).unwrap();
        codes.push(read_answer(&packet).0);
    }
    assert_eq!(codes, [0, 3]);
}

#[test]
fn what_is_no_question_is_answered_with_an_error_or_not_at_all() {
    let world = named_world();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut two = query(&[b"good", b"example"], A);
    two[5] = 2;
    for packet in [
        &[0; 5][..],
        &[0xff; 200],
        &two,
        &query(&[b"good", b"example"], A),
    ] {
        socket.send_to(packet, world.names_udp).unwrap();
    }
    // A refusal may come after the answer to a question behind it.
    let mut codes = [0; 2].map(|_: u8| {
        let mut packet = [0; 512];
        socket.recv(&mut packet).unwrap();
        packet[3] & 15
    });
    codes.sort_unstable();
    assert_eq!(
        codes,
        [0, 1],
        "the good one, and the malformed one before it"
    );
    assert_eq!(world.refusals(), [RuleId::Malformed]);
}

#[test]
fn a_remembered_address_is_judged_by_the_policy_of_the_moment() {
    let world = named_world();
    let (_, address) = ask(&world, "good.example", A);
    world.control.reload(allowlist(&[], &[]));
    assert_eq!(ask(&world, "good.example", A), (3, None));
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    world
        .control
        .add(Listener::Captured {
            listener,
            port: Some(443),
        })
        .unwrap();
    world.forget_events();
    let stream = TcpStream::connect(SocketAddr::new(address.unwrap(), port)).unwrap();
    let mut answer = [0; 7];
    read_up_to(&mut patient(stream), &mut answer);
    assert_eq!((answer[0], answer[6]), (21, 49));
    assert_eq!(world.refusals(), [RuleId::NotListed]);
    // Where somebody is asked about the connection, its name has to be known.
    let mut asking = allowlist(&[], &["bad.example"]);
    asking.ask = user(true);
    world.control.reload(asking);
    assert!(matches!(ask(&world, "new.example", A), (0, Some(_))));
    assert_eq!(ask(&world, "bad.example", A), (3, None));
}
