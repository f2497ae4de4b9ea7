//! The clients: a thread for each connection, with one request after the other, for a while.
//!
//! Inside tunnels the request names no version of HTTP, so that no proxy takes it for a request: it is carried unread, as
//! TLS is.
//! Invariant: only an answer that came whole is counted.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::origin::{LARGE_BYTES, SMALL_BYTES, find_end};

/// How requests reach the origin.
#[derive(Clone, Debug)]
pub(super) enum Route {
    /// A connection to this address leads there.
    Direct(SocketAddr),
    /// `CONNECT` at this proxy, with this authority.
    Tunnel(SocketAddr, String),
    /// Whole URLs at this proxy, with this authority.
    Request(SocketAddr, String),
}

/// What is asked for, and on how many connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Many requests in each tunnel.
    KeptTunnels,
    /// Many requests on each connection, each a whole URL.
    KeptRequests,
    /// One request in each tunnel.
    NewTunnels,
    /// A large answer in a tunnel.
    LargeBody,
    /// A large answer to a whole URL.
    LargeBodyRequest,
    /// Requests and answers that are written in two pieces: Nagle's algorithm would hold the second back.
    InPieces,
}

impl Shape {
    pub(super) fn is_request(self) -> bool {
        matches!(self, Self::KeptRequests | Self::LargeBodyRequest)
    }

    pub(super) fn is_bulk(self) -> bool {
        matches!(self, Self::LargeBody | Self::LargeBodyRequest)
    }

    pub(super) fn unit(self) -> &'static str {
        if self.is_bulk() {
            "MiB/s"
        } else {
            "requests/s"
        }
    }

    fn path(self) -> &'static str {
        match self {
            Self::KeptTunnels | Self::KeptRequests | Self::NewTunnels => "/small",
            Self::LargeBody | Self::LargeBodyRequest => "/large",
            Self::InPieces => "/pieces",
        }
    }
}

/// A shape of work on a number of connections.
#[derive(Clone, Copy, Debug)]
pub(super) struct Work {
    pub(super) shape: Shape,
    connections: usize,
}

impl Work {
    pub(super) fn new(shape: Shape, connections: usize) -> Self {
        Self { shape, connections }
    }

    fn buffer(self) -> usize {
        if self.shape.is_bulk() {
            256 * 1024
        } else {
            4096
        }
    }

    fn body(self) -> usize {
        if self.shape.is_bulk() {
            LARGE_BYTES
        } else {
            SMALL_BYTES
        }
    }
}

/// What was done in one round.
pub(super) struct Done {
    /// Requests, or mebibytes, per second.
    pub(super) rate: f64,
    pub(super) latencies: Vec<Duration>,
}

/// Does `work` by `route` for about `length`, each connection on a thread of its own.
pub(super) fn run(work: &Work, route: &Route, length: Duration) -> Result<Done, String> {
    let begin = Instant::now();
    let ended: Vec<std::io::Result<Vec<Duration>>> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..work.connections)
            .map(|_| scope.spawn(|| work_for(*work, route, begin + length)))
            .collect();
        let gone = |_| Err(std::io::Error::other("a client ended early"));
        clients
            .into_iter()
            .map(|client| client.join().unwrap_or_else(gone))
            .collect()
    });
    let mut latencies = Vec::new();
    for ended in ended {
        latencies.extend(ended.map_err(|cause| cause.to_string())?);
    }
    let seconds = begin.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
    let (count, mebibytes) = (latencies.len() as f64, (work.body() / (1024 * 1024)) as f64);
    let units = if work.shape.is_bulk() {
        count * mebibytes
    } else {
        count
    };
    Ok(Done {
        rate: units / seconds,
        latencies,
    })
}

/// One connection after the other until `end`, and at least one request.
fn work_for(work: Work, route: &Route, end: Instant) -> std::io::Result<Vec<Duration>> {
    let request = request(work, route);
    let mut latencies = Vec::new();
    let mut buffer = vec![0; work.buffer()];
    let mut kept = None;
    while latencies.is_empty() || Instant::now() < end {
        let begin = Instant::now();
        let asked = match kept.take() {
            // A proxy may have closed it without a word; then it is asked again, and that costs its time.
            Some(stream) => ask(stream, work, &request, &mut buffer).ok(),
            None => None,
        };
        let (stream, said) = match asked {
            Some(asked) => asked,
            None => ask(connect(route, &mut buffer)?, work, &request, &mut buffer)?,
        };
        latencies.push(begin.elapsed());
        if work.shape != Shape::NewTunnels && said == Said::More {
            kept = Some(stream);
        }
    }
    Ok(latencies)
}

/// One request and its answer.
fn ask(
    mut stream: TcpStream,
    work: Work,
    request: &[u8],
    buffer: &mut [u8],
) -> std::io::Result<(TcpStream, Said)> {
    if work.shape == Shape::InPieces {
        let (first, second) = request.split_at(request.len() / 2);
        stream.write_all(first)?;
        stream.write_all(second)?;
    } else {
        stream.write_all(request)?;
    }
    let said = read_answer(&mut stream, buffer, work.body())?;
    Ok((stream, said))
}

fn request(work: Work, route: &Route) -> Vec<u8> {
    let path = work.shape.path();
    match route {
        Route::Request(_, authority) => {
            format!("GET http://{authority}{path} HTTP/1.1\r\nHost: {authority}\r\n\r\n")
        }
        Route::Direct(_) | Route::Tunnel(..) => {
            // No request to any server of HTTP: the proxy would decide each one.
            format!("ask {path} as always\r\nHost: origin.example.com\r\n\r\n")
        }
    }
    .into_bytes()
}

fn connect(route: &Route, buffer: &mut [u8]) -> std::io::Result<TcpStream> {
    let (Route::Direct(address) | Route::Tunnel(address, _) | Route::Request(address, _)) = route;
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    if let Route::Tunnel(_, authority) = route {
        let ask = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
        stream.write_all(ask.as_bytes())?;
        read_answer(&mut stream, buffer, 0)?;
    }
    Ok(stream)
}

/// Whether the connection may carry another request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Said {
    More,
    Close,
}

/// Reads a head that says 200, and `body` bytes behind it.
fn read_answer(stream: &mut TcpStream, buffer: &mut [u8], body: usize) -> std::io::Result<Said> {
    let mut filled = 0;
    let end = loop {
        let read = filled..filled + stream.read(buffer.get_mut(filled..).unwrap_or_default())?;
        if read.is_empty() {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        filled = read.end;
        if let Some(end) = find_end(buffer.get(..filled).unwrap_or_default()) {
            break end;
        }
    };
    let head = buffer.get(..end).unwrap_or_default();
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    if head.split(' ').nth(1) != Some("200") {
        let line = head.lines().next().unwrap_or_default().to_owned();
        return Err(std::io::Error::other(line));
    }
    let said = if head.contains("connection: close") || head.starts_with("http/1.0") {
        Said::Close
    } else {
        Said::More
    };
    let mut left = body.saturating_sub(filled - end);
    while left > 0 {
        match stream.read(buffer)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            count => left = left.saturating_sub(count),
        }
    }
    Ok(said)
}
