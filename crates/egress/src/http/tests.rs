//! Hostile tests of HTTP/1: what could mean two things, and what arrives in pieces.

use super::*;
use crate::progress::{Progress, assert_prefix_stable};
use proptest::prelude::*;

fn parse(bytes: &[u8]) -> Result<RequestHead<'_>, RequestError> {
    match RequestHead::parse(bytes)? {
        Progress::Done { value, used } => {
            assert!(used <= bytes.len());
            Ok(value)
        }
        Progress::NeedMore => panic!("not whole: {}", bytes.escape_ascii()),
    }
}

fn forward(bytes: &[u8]) -> String {
    let head = parse(bytes).unwrap();
    let authority = match &head.target {
        Target::Tunnel(authority) | Target::Absolute { authority, .. } => authority.clone(),
        Target::Origin { authority, .. } => authority.clone().unwrap(),
    };
    let mut out = Vec::new();
    head.write_forward(&authority, Scheme::Http, Changing::Nothing, &mut out);
    String::from_utf8(out).unwrap()
}

/// A GET with these header lines.
fn get(headers: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nHost: example.com\r\n{headers}\r\n").into_bytes()
}

#[test]
fn the_three_forms_are_read() {
    let absolute =
        parse(b"GET http://Example.com:8080/a?b HTTP/1.1\r\nHost: example.com:8080\r\n\r\n");
    let Target::Absolute { authority, path } = absolute.unwrap().target else {
        panic!("not absolute")
    };
    assert_eq!(
        (authority.to_string().as_str(), path),
        ("example.com:8080", "/a?b")
    );
    let tunnel = parse(b"CONNECT [2606:2800::1]:443 HTTP/1.1\r\nHost: [2606:2800::1]:443\r\n\r\n");
    let Target::Tunnel(authority) = tunnel.unwrap().target else {
        panic!("no tunnel")
    };
    assert_eq!(authority.to_string(), "[2606:2800::1]:443");
    let origin = parse(b"OPTIONS * HTTP/1.1\r\nHost: example.com\r\n\r\n");
    let Target::Origin { authority, path } = origin.unwrap().target else {
        panic!("not origin")
    };
    assert_eq!((authority.unwrap().port, path), (80, "*"));
    let old = parse(b"GET /a HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(old.persistence, Persistence::Close);
    assert_eq!(
        old.target,
        Target::Origin {
            authority: None,
            path: "/a"
        }
    );
}

#[test]
fn a_request_goes_on_in_origin_form_without_what_concerns_one_hop() {
    let out = forward(
        b"POST http://example.com HTTP/1.1\r\nX-One: 1\r\nHost: EXAMPLE.com\r\nProxy-Authorization: secret\r\n\
          Connection: keep-alive, x-hop\r\nX-Hop: 1\r\nTE: trailers\r\nContent-Length: 003\r\nX-Two:\t2 \r\n\r\n",
    );
    assert_eq!(
        out,
        "POST / HTTP/1.1\r\nHost: example.com\r\nX-One: 1\r\nX-Two: 2\r\nContent-Length: 3\r\n\r\n"
    );
}

#[test]
fn h2c_is_left_out_and_any_other_upgrade_is_seen() {
    let offered = get(
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAA\r\n",
    );
    assert_eq!(parse(&offered).unwrap().upgrade, Upgrade::None);
    assert_eq!(
        forward(&offered),
        "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"
    );
    for value in ["websocket", "h2c, websocket", "TLS/1.0"] {
        let bytes = get(&format!("Connection: upgrade\r\nUpgrade: {value}\r\n"));
        assert_eq!(parse(&bytes).unwrap().upgrade, Upgrade::Wanted, "{value}");
    }
}

#[test]
fn a_length_is_said_once_and_plainly() {
    for headers in [
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: \r\n",
        "Transfer-Encoding: chunked\r\ntransfer-encoding: gzip\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: \r\n",
        "Content-Length: 99999999999999999999999\r\n",
    ] {
        assert_eq!(
            parse(&get(headers)),
            Err(RequestError::Framing),
            "{headers}"
        );
    }
    let old = b"POST / HTTP/1.0\r\nHost: example.com\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(parse(old), Err(RequestError::Framing));
    let tunnel =
        b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\nContent-Length: 5\r\n\r\n";
    assert_eq!(parse(tunnel), Err(RequestError::Framing));
    for name in ["Content-Length", "host", "Transfer-Encoding"] {
        let bytes = get(&format!(
            "Content-Length: 5\r\nConnection: close, {name}\r\n"
        ));
        assert_eq!(parse(&bytes), Err(RequestError::ConnectionHeader), "{name}");
    }
}

#[test]
fn lines_that_some_reader_sees_otherwise_are_refused() {
    use head::LineError;
    for (headers, error) in [
        ("X: 1\nY: 2\r\n", LineError::BareLineFeed),
        ("X: 1\r\n folded\r\n", LineError::Folded),
        ("X: 1\r\n\tfolded\r\n", LineError::Folded),
        ("X : 1\r\n", LineError::HeaderName),
        ("X\r\n", LineError::HeaderName),
        (": 1\r\n", LineError::HeaderName),
        ("X\0: 1\r\n", LineError::HeaderName),
        ("Transfer-Encoding\x0b: chunked\r\n", LineError::HeaderName),
        ("X: a\rb\r\n", LineError::HeaderValue),
        ("X: a\0b\r\n", LineError::HeaderValue),
        ("X: a\x7fb\r\n", LineError::HeaderValue),
    ] {
        assert_eq!(
            parse(&get(headers)),
            Err(RequestError::Lines(error)),
            "{headers:?}"
        );
    }
}

#[test]
fn a_request_line_is_three_words_and_nothing_else() {
    for line in [
        "GET  / HTTP/1.1",
        "GET / HTTP/1.1 ",
        " GET / HTTP/1.1",
        "GET\t/\tHTTP/1.1",
        "GET /",
        "GET / HTTP/2.0",
        "GET / http/1.1",
        "GET / HTTP/1.01",
        "",
    ] {
        let bytes = format!("{line}\r\nHost: example.com\r\n\r\n").into_bytes();
        assert_eq!(parse(&bytes), Err(RequestError::RequestLine), "{line:?}");
    }
    for method in ["get", "G\u{e9}T", "G@T", &"A".repeat(33), ""] {
        let bytes = format!("{method} / HTTP/1.1\r\nHost: example.com\r\n\r\n").into_bytes();
        assert_eq!(parse(&bytes), Err(RequestError::Method), "{method:?}");
    }
    for line in [
        "GET * HTTP/1.1",
        "GET example.com/ HTTP/1.1",
        "GET https://example.com/ HTTP/1.1",
        "GET ftp://example.com/ HTTP/1.1",
        "GET http://example.com?a HTTP/1.1",
        "GET /a#b HTTP/1.1",
        "GET /\u{e9} HTTP/1.1",
        "GET /\0 HTTP/1.1",
        "CONNECT example.com HTTP/1.1",
    ] {
        let bytes = format!("{line}\r\nHost: example.com\r\n\r\n").into_bytes();
        assert_eq!(parse(&bytes), Err(RequestError::Target), "{line:?}");
    }
}

#[test]
fn host_and_target_name_one_host() {
    for bytes in [
        "GET http://example.com/ HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        "GET http://example.com/ HTTP/1.1\r\nHost: example.com:81\r\n\r\n",
        "GET http://example.com:8080/ HTTP/1.1\r\nHost: example.com\r\n\r\n",
        "CONNECT example.com:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n",
        "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:80\r\n\r\n",
    ] {
        assert_eq!(
            parse(bytes.as_bytes()),
            Err(RequestError::HostDiffers),
            "{bytes}"
        );
    }
    for headers in ["", "Host: example.com\r\nHost: example.com\r\n"] {
        let bytes = format!("GET / HTTP/1.1\r\n{headers}\r\n");
        assert_eq!(
            parse(bytes.as_bytes()),
            Err(RequestError::HostCount),
            "{headers}"
        );
    }
    for host in [
        "",
        "exa mple.com",
        "a@example.com",
        "example.com:0",
        "example.com:80:80",
        "example.com:",
        "example.com/",
        "127.1",
        "2130706433",
        "[::1",
        "::1",
        "example.com, evil.example",
        "*.example.com",
        "example.com:65536",
        "example.com:+80",
        "[fe80::1%eth0]",
    ] {
        let bytes = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert!(
            matches!(parse(bytes.as_bytes()), Err(RequestError::Host(_))),
            "{host:?}"
        );
        // In a URL the slash ends the host.
        let bytes = format!("GET http://{host}/ HTTP/1.1\r\nHost: example.com\r\n\r\n");
        assert!(
            parse(bytes.as_bytes()).is_err() || host.ends_with('/'),
            "{host:?}"
        );
        let bytes = format!("CONNECT {host} HTTP/1.1\r\nHost: example.com\r\n\r\n");
        assert!(parse(bytes.as_bytes()).is_err(), "{host:?}");
    }
    assert_eq!(
        parse(&get("Expect: the-spanish-inquisition\r\n")),
        Err(RequestError::Expectation)
    );
}

#[test]
fn heads_have_limits() {
    use head::LineError;
    let long = get(&format!("X: {}\r\n", "a".repeat(MAX_LINE)));
    assert_eq!(
        parse(&long),
        Err(RequestError::Lines(LineError::LineTooLong))
    );
    let many = get(&"X: 1\r\n".repeat(MAX_HEADERS));
    assert_eq!(
        parse(&many),
        Err(RequestError::Lines(LineError::TooManyHeaders))
    );
    let large = get(&format!("X: {}\r\n", "a".repeat(9000)).repeat(4));
    assert_eq!(
        parse(&large),
        Err(RequestError::Lines(LineError::HeadTooLarge))
    );
    // Without a line end too, and never later than at the limit.
    let endless = vec![b'a'; MAX_LINE + 2];
    assert_eq!(
        RequestHead::parse(&endless),
        Err(RequestError::Lines(LineError::LineTooLong))
    );
    let most = get(&"X: 1\r\n".repeat(MAX_HEADERS - 1));
    assert_eq!(parse(&most).unwrap().headers().len(), MAX_HEADERS);
}

#[test]
fn the_end_of_an_answer_is_where_the_caller_sees_it() {
    let body = |bytes: &[u8], method: &str| match ResponseHead::parse(bytes, method).unwrap() {
        Progress::Done { value, .. } => (value.body, value.persistence),
        Progress::NeedMore => panic!("not whole"),
    };
    let keep = Persistence::KeepAlive;
    for (bytes, method, expected) in [
        (
            &b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"[..],
            "GET",
            (ResponseBody::Bytes(5), keep),
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            "HEAD",
            (ResponseBody::Bytes(0), keep),
        ),
        (
            b"HTTP/1.1 304 \r\nContent-Length: 5\r\n\r\n",
            "GET",
            (ResponseBody::Bytes(0), keep),
        ),
        (
            b"HTTP/1.1 204 No Content\r\n\r\n",
            "GET",
            (ResponseBody::Bytes(0), keep),
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET",
            (ResponseBody::Chunked, keep),
        ),
        (
            b"HTTP/1.1 200\r\n\r\n",
            "GET",
            (ResponseBody::UntilClose, Persistence::Close),
        ),
        (
            b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n",
            "GET",
            (ResponseBody::Bytes(1), Persistence::Close),
        ),
    ] {
        assert_eq!(body(bytes, method), expected, "{}", bytes.escape_ascii());
        assert_prefix_stable(bytes, |bytes| {
            ResponseHead::parse(bytes, method).map(|progress| progress.map(|head| head.body))
        });
    }
    for (bytes, error) in [
        (
            &b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"[..],
            ResponseError::Framing,
        ),
        (b"HTTP/1.1 101 Switching\r\n\r\n", ResponseError::Switched),
        (b"HTTP/1.1 2000 OK\r\n\r\n", ResponseError::StatusLine),
        (b"HTTP/1.1 +20 OK\r\n\r\n", ResponseError::StatusLine),
        (b"SSH-2.0-server\r\n\r\n", ResponseError::StatusLine),
    ] {
        assert_eq!(ResponseHead::parse(bytes, "GET"), Err(error));
    }
}

#[test]
fn an_answer_goes_on_with_its_framing() {
    let bytes = b"HTTP/1.1 200 Fine\r\nconnection: x-hop\r\nX-Hop: 1\r\nContent-Length: 5\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n";
    let Progress::Done { value, .. } = ResponseHead::parse(bytes, "GET").unwrap() else {
        panic!("not whole")
    };
    let mut out = Vec::new();
    value.write_forward(Version::Http11, Persistence::Close, &mut out);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "HTTP/1.1 200 Fine\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 5\r\nConnection: close\r\n\r\n"
    );
}

#[test]
fn chunks_are_read_and_extensions_and_trailers_left_out() {
    let body = b"5;name=\"x\"\r\nhello\r\n1 \r\n!\r\n0\r\nX-Trailer: 1\r\n\r\nGET /";
    let Progress::Done { value, used } = Chunks::parse(body).unwrap() else {
        panic!("not whole")
    };
    assert_eq!((&value[..], used), (&b"hello!"[..], body.len() - 5));
    let mut out = Vec::new();
    Chunks::write_chunk(&value, &mut out);
    Chunks::write_chunk(b"", &mut out);
    Chunks::write_end(&mut out);
    assert_eq!(out, b"6\r\nhello!\r\n0\r\n\r\n");
}

#[test]
fn chunks_that_some_reader_sees_otherwise_are_refused() {
    for (body, error) in [
        (&b"5\nhello\r\n0\r\n\r\n"[..], ChunksError::Size),
        (b"5\r\nhello\n0\r\n\r\n", ChunksError::LineEnd),
        (b"5\r\nhello0\r\n\r\n", ChunksError::LineEnd),
        (b"5;a\nb\r\nhello\r\n", ChunksError::LineEnd),
        (b"5;a\rb\r\nhello\r\n", ChunksError::LineEnd),
        (b"0x5\r\nhello\r\n", ChunksError::Size),
        (b"+5\r\nhello\r\n", ChunksError::Size),
        (b"-1\r\n", ChunksError::Size),
        (b"\r\n", ChunksError::Size),
        (b" 5\r\n", ChunksError::Size),
        (b"ffffffffffffffff5\r\n", ChunksError::Size),
        (b"0\r\nX: 1\n\r\n", ChunksError::LineEnd),
    ] {
        assert_eq!(Chunks::parse(body), Err(error), "{}", body.escape_ascii());
    }
    let long = [b"5;".as_slice(), &vec![b'a'; 5000]].concat();
    assert_eq!(Chunks::parse(&long), Err(ChunksError::TooLong));
}

/// Pieces that requests are made of, good and bad.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(vec![
        &b"GET / HTTP/1.1\r\n"[..],
        b"GET http://example.com/ HTTP/1.1\r\n",
        b"CONNECT example.com:443 HTTP/1.1\r\n",
        b"Host: example.com\r\n",
        b"Content-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"\r\n",
        b"\n",
        b" ",
        b"HTTP/1.1 200 OK\r\n",
        b"X: y\r\n",
        b"Upgrade: h2c\r\n",
        b"5\r\nhello\r\n",
        b"0\r\n",
        b"\0",
        b"5;x",
        b"a",
    ]);
    proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_bytes_are_answered_the_same_however_they_arrive(
        made in pieces(), noise in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        for bytes in [&made, &noise, &[&made[..], &noise].concat()] {
            assert_prefix_stable(bytes, |bytes| {
                RequestHead::parse(bytes).map(|progress| progress.map(|head| format!("{head:?}")))
            });
            assert_prefix_stable(bytes, |bytes| {
                ResponseHead::parse(bytes, "GET").map(|progress| progress.map(|head| format!("{head:?}")))
            });
            assert_prefix_stable(bytes, Chunks::parse);
        }
    }

    #[test]
    fn what_goes_on_reads_back_as_what_was_decided(made in pieces()) {
        let Ok(Progress::Done { value, .. }) = RequestHead::parse(&made) else { return Ok(()) };
        let authority = match &value.target {
            Target::Tunnel(_) | Target::Origin { authority: None, .. } => return Ok(()),
            Target::Absolute { authority, .. } | Target::Origin { authority: Some(authority), .. } => authority.clone(),
        };
        let mut out = Vec::new();
        value.write_forward(&authority, Scheme::Http, Changing::Nothing, &mut out);
        let Ok(Progress::Done { value: again, used }) = RequestHead::parse(&out) else {
            return Err(TestCaseError::fail(String::from_utf8_lossy(&out).into_owned()));
        };
        prop_assert_eq!(used, out.len());
        prop_assert_eq!(again.body, value.body);
        prop_assert_eq!(again.method, value.method);
        let same = matches!(again.target, Target::Origin { authority: Some(other), .. } if other == authority);
        prop_assert!(same);
    }

    #[test]
    fn chunks_in_any_pieces_give_the_same_data(data in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 0..5), cut in 1_usize..9) {
        let mut body = Vec::new();
        for piece in &data {
            Chunks::write_chunk(piece, &mut body);
        }
        Chunks::write_end(&mut body);
        let mut chunks = Chunks::default();
        let mut found = Vec::new();
        for piece in body.chunks(cut) {
            let mut at = 0;
            while let Piece::Data { skip, length } = chunks.next(&piece[at..]).unwrap() {
                found.extend_from_slice(&piece[at + skip..at + skip + length]);
                at += skip + length;
            }
        }
        prop_assert_eq!(found, data.concat());
    }
}
