//! From a name to a connection: resolve once, and dial what was checked.
//!
//! Resolver and dialler are traits, so that a test brings its own internet and leaves every check as it is.
//! Invariant: only addresses that were handed in are dialled; nothing here resolves twice.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use ringfence_policy::host::HostName;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Duration;

/// How long one address is waited for before the next one is tried beside it (RFC 8305 recommends 250 ms).
const NEXT_ADDRESS: Duration = Duration::from_millis(250);

/// The most addresses that are tried; all of them are checked before.
const MOST_ADDRESSES: usize = 16;

/// A future of a trait object.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Turns names into addresses.
pub trait Resolve: Send + Sync {
    /// All addresses of `name`.
    fn resolve<'a>(&'a self, name: &'a HostName) -> Pending<'a, io::Result<Vec<IpAddr>>>;
}

/// Connects to addresses.
pub trait Dial: Send + Sync {
    /// A connection to `address`.
    fn dial(&self, address: SocketAddr) -> Pending<'static, io::Result<TcpStream>>;
}

/// The host's own resolver, as every program of the host uses it.
#[derive(Clone, Copy, Debug)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, name: &'a HostName) -> Pending<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// The network of the process.
#[derive(Clone, Copy, Debug)]
pub struct SystemDialer;

impl Dial for SystemDialer {
    fn dial(&self, address: SocketAddr) -> Pending<'static, io::Result<TcpStream>> {
        Box::pin(TcpStream::connect(address))
    }
}

/// Connects to the first of `addresses` that answers, in turns of both families, each with a short head start.
pub(crate) async fn dial_first(
    dialer: &Arc<dyn Dial>,
    addresses: &[IpAddr],
    port: u16,
) -> io::Result<(IpAddr, TcpStream)> {
    let order = take_turns(addresses);
    let mut waiting = order.iter();
    let mut attempts = JoinSet::new();
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        match waiting.next() {
            Some(address) => {
                let address = *address;
                let attempt = dialer.dial(SocketAddr::new(address, port));
                attempts.spawn(async move { attempt.await.map(|stream| (address, stream)) });
            }
            None if attempts.is_empty() => return Err(last),
            None => {}
        }
        tokio::select! {
            Some(ended) = attempts.join_next() => match ended {
                Ok(Ok(connected)) => return Ok(connected),
                Ok(Err(error)) => last = error,
                Err(error) => last = io::Error::other(error),
            },
            () = tokio::time::sleep(NEXT_ADDRESS), if waiting.len() > 0 => {}
        }
    }
}

/// IPv6 and IPv4 in turns, each in the order in which the resolver gave them, none twice.
fn take_turns(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let mut v6 = addresses.iter().filter(|address| address.is_ipv6());
    let mut v4 = addresses.iter().filter(|address| address.is_ipv4());
    let mut order = Vec::with_capacity(addresses.len());
    loop {
        let turn = [v6.next(), v4.next()];
        if turn == [None, None] || order.len() >= MOST_ADDRESSES {
            return order;
        }
        for address in turn.into_iter().flatten() {
            if !order.contains(address) {
                order.push(*address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        let addresses =
            ["10.0.0.1", "10.0.0.2", "::a", "10.0.0.1"].map(|text| text.parse().unwrap());
        let order: Vec<String> = take_turns(&addresses)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(order, ["::a", "10.0.0.1", "10.0.0.2"]);
        assert!(take_turns(&[]).is_empty());
    }
}
