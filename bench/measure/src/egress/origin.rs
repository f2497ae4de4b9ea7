//! The server that requests lead to: a thread for each connection, which answers by the path and looks at nothing else.
//!
//! Invariant: what it answers has the same bytes whoever asks.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

/// The body of an ordinary answer.
pub(super) const SMALL_BYTES: usize = 512;

/// The body of a large one.
pub(super) const LARGE_BYTES: usize = 64 * 1024 * 1024;

const PIECE_BYTES: usize = 256 * 1024;

/// Serves on this machine's loopback until this program ends; where it is.
pub(super) fn start() -> Result<SocketAddr, String> {
    let bind = || {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    let (listener, address) =
        bind().map_err(|cause: std::io::Error| format!("can't make the origin: {cause}"))?;
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            // A client that breaks off is no failure of the origin's: whoever measures notices.
            std::thread::spawn(move || answer(stream));
        }
    });
    Ok(address)
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let small = [head(SMALL_BYTES).as_bytes(), &[b'x'; SMALL_BYTES]].concat();
    let mut piece = Vec::new();
    let mut buffer = [0; 4096];
    let mut request = Vec::with_capacity(4096);
    loop {
        let end = loop {
            if let Some(end) = find_end(&request) {
                break end;
            }
            let count = stream.read(&mut buffer)?;
            if count == 0 {
                return Ok(());
            }
            request.extend_from_slice(buffer.get(..count).unwrap_or_default());
        };
        let asked = request.get(..end).unwrap_or_default();
        let is_for = |path: &[u8]| asked.windows(path.len()).any(|window| window == path);
        if is_for(b" /large ") {
            stream.write_all(head(LARGE_BYTES).as_bytes())?;
            piece.resize(PIECE_BYTES, b'x');
            for _ in 0..LARGE_BYTES / PIECE_BYTES {
                stream.write_all(&piece)?;
            }
        } else if is_for(b" /pieces ") {
            let (first, second) = small.split_at(small.len() - SMALL_BYTES);
            stream.write_all(first)?;
            stream.write_all(second)?;
        } else {
            stream.write_all(&small)?;
        }
        request.drain(..end);
    }
}

/// Where the head ends, behind its empty line.
pub(super) fn find_end(bytes: &[u8]) -> Option<usize> {
    const EMPTY_LINE: &[u8] = b"\r\n\r\n";
    let mut windows = bytes.windows(EMPTY_LINE.len());
    Some(windows.position(|window| window == EMPTY_LINE)? + EMPTY_LINE.len())
}

fn head(length: usize) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {length}\r\n\r\n"
    )
}
