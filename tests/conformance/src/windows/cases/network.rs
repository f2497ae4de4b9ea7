//! The network of a command that may use none.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use super::{Next, next};
use crate::checks::{Checks, Context, Failure};
use crate::suite::{Case, Needs};
use crate::windows::ground::Ground;
use crate::windows::launch::Launch;

/// The cases of this module.
pub(super) const CASES: &[Case] = &[Case {
    name: "windows.offline",
    promise: "an offline command reaches no server on the loopback outside the open ports, none of this machine by its address, and sends no datagram",
    needs: Needs::Full,
    run: offline,
}];

/// `WSAEACCES`: what a filter's block is told as.
const BLOCKED: &[i32] = &[10013];

/// A listener outside the dynamic range, whose loopback is open, and outside the proxy's ports.
fn listen(address: IpAddr) -> Result<TcpListener, Failure> {
    (18_200..18_300)
        .find_map(|port| TcpListener::bind((address, port)).ok())
        .ok_or_else(|| Failure::Meaningless(format!("no port of {address} is free")))
}

fn receive(address: IpAddr) -> Result<UdpSocket, Failure> {
    let socket = (18_300..18_400)
        .find_map(|port| UdpSocket::bind((address, port)).ok())
        .ok_or_else(|| Failure::Meaningless(format!("no port of {address} is free")))?;
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .context(|| "setting a time to wait".to_owned())?;
    Ok(socket)
}

/// The address of this machine on its way out; documentation's address is never sent anything.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

fn words(call: &str, to: SocketAddr) -> Vec<String> {
    vec![call.to_owned(), to.to_string()]
}

fn offline(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let mut addresses = vec![IpAddr::V4(Ipv4Addr::LOCALHOST)];
    match own_address() {
        Some(address) => addresses.push(address),
        None => checks.absent("an address of this machine beside the loopback"),
    }
    let fixture = ground.fixture()?;
    let launch = Launch::new(ground, &fixture);
    let (mut servers, mut list) = (Vec::new(), Vec::new());
    for address in addresses {
        let (tcp, udp) = (listen(address)?, receive(address)?);
        let at =
            |found: std::io::Result<SocketAddr>| found.context(|| "asking for a port".to_owned());
        list.push(words("connect", at(tcp.local_addr())?));
        list.push(words("send", at(udp.local_addr())?));
        servers.push((tcp, udp));
    }
    for (attack, verdict) in list.iter().zip(launch.batch_plain(&list)?) {
        checks.control(&attack.join(" "), &verdict);
    }
    let mut datagram = [0; 64];
    for (tcp, udp) in &servers {
        checks.that(
            "control a connection arrives",
            tcp.accept().is_ok(),
            String::new,
        );
        checks.that(
            "control a datagram arrives",
            udp.recv(&mut datagram).is_ok(),
            String::new,
        );
        tcp.set_nonblocking(true)
            .context(|| "setting a listener".to_owned())?;
    }
    if next(ground, checks) == Next::Nothing {
        return Ok(());
    }
    for (attack, verdict) in list.iter().zip(launch.batch_inside(&list)?) {
        checks.refused(&attack.join(" "), &verdict, BLOCKED);
    }
    for (tcp, udp) in &servers {
        checks.that("no connection arrives", tcp.accept().is_err(), String::new);
        checks.that(
            "no datagram arrives",
            udp.recv(&mut datagram).is_err(),
            String::new,
        );
    }
    Ok(())
}
