//! The functions, one for each reader.

use std::fmt::Debug;

use ringfence_backend::ledger::read_untrusted;
use ringfence_backend::windows::{MachineBook, PersonBook};
use ringfence_backend::wire;
use ringfence_egress::Progress;
use ringfence_egress::dns::Question;
use ringfence_egress::first::{Expected, FirstFlight};
use ringfence_egress::hello::ClientHello;
use ringfence_egress::http::{Chunks, RequestHead, ResponseHead};
use ringfence_egress::socks::{Greeting, Request};
use ringfence_nt::SecurityDescriptor;
use ringfence_plan::windows::WindowsPath;
use ringfence_policy::allow::ServerName;
use ringfence_policy::host::{Host, HostRule};
use ringfence_windows::command_line;

use crate::Target;

/// All of them.
pub const TARGETS: &[Target] = &[
    Target {
        name: "http-head",
        run: http_head,
        seeds: &[
            b"GET / HTTP/1.1\r\nhost: example.com\r\n\r\n",
            b"POST http://example.com:80/a?b HTTP/1.1\r\nHost: example.com\r\nContent-Length: 3\r\n\r\nabc",
            b"PUT / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\nconnection: keep-alive, x\r\n\r\n",
        ],
    },
    Target {
        name: "http-connect",
        run: http_connect,
        seeds: &[b"example.com:443", b"[::1]:22", b"127.0.0.1:80"],
    },
    Target {
        name: "http-answer",
        run: http_answer,
        seeds: &[
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
            b"HTTP/1.0 304 \r\n\r\n",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        ],
    },
    Target {
        name: "http-chunks",
        run: http_chunks,
        seeds: &[b"3\r\nabc\r\n0\r\n\r\n", b"a;x=y\r\n0123456789\r\n0\r\nt: v\r\n\r\n"],
    },
    Target {
        name: "socks",
        run: socks,
        seeds: &[
            b"\x05\x01\x00",
            b"\x05\x01\x00\x03\x0bexample.com\x01\xbb",
            b"\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50",
        ],
    },
    Target {
        name: "hello",
        run: hello,
        seeds: &[
            b"\x16\x03\x01\x00\x45\x01\x00\x00\x41\x03\x0300000000000000000000000000000000\x00\x00\x02\x13\x01\x01\x00\x00\x16\x00\x00\x00\x12\x00\x10\x00\x00\x0dw.example.com",
            b"\x16\x03\x01\x00\x01\x01\x16\x03\x01\x00\x03\x00\x00\x26",
        ],
    },
    Target {
        name: "first",
        run: first,
        seeds: &[
            b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\nx",
            b"\r\nGET  /a\tHTTP/1.1\r\nhost: a\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"EHLO a.example\r\n",
        ],
    },
    Target {
        name: "dns",
        run: dns,
        seeds: &[
            b"\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03com\x00\x00\x01\x00\x01",
            b"\x00\x07\x01\x20\x00\x01\x00\x00\x00\x00\x00\x01\x01a\x00\x00\x1c\x00\x01\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00",
        ],
    },
    Target {
        name: "host-rule",
        run: host_rule,
        seeds: &[b"example.com", b"**.example.co.uk:8443", b"[2001:db8::1]:22", b"127.0.0.1", b"0x7f.1"],
    },
    Target {
        name: "wire",
        run: wire_frames,
        seeds: &[b"\x02\x00\x01\x00\x00\x00\x03", b"\x01\x00\x00\x00\x00\x00"],
    },
    Target {
        name: "ledger",
        run: ledger,
        seeds: &[b"", b"RFLEDGER\x01\x00\x00\x00"],
    },
    Target {
        name: "sddl",
        run: sddl,
        seeds: &[
            b"O:BAG:SYD:P(A;OICI;FA;;;SY)(D;;WD;;;S-1-5-21-1-2-3-1001)",
            b"D:AI(A;ID;0x1301bf;;;AU)S:(ML;;NW;;;LW)",
        ],
    },
    Target {
        name: "descriptor",
        run: descriptor,
        seeds: &[
            b"\x01\x00\x04\x80\x14\x00\x00\x00\x20\x00\x00\x00\x00\x00\x00\x00\x2c\x00\x00\x00\x01\x01\x00\x00\x00\x00\x00\x05\x12\x00\x00\x00\x01\x01\x00\x00\x00\x00\x00\x05\x12\x00\x00\x00\x02\x00\x1c\x00\x01\x00\x00\x00\x00\x03\x14\x00\xff\x01\x1f\x00\x01\x01\x00\x00\x00\x00\x00\x05\x12\x00\x00\x00",
        ],
    },
    Target {
        name: "policy",
        run: policy,
        seeds: &[
            b"mode = \"read-only\"\n[network]\nmode = \"allowlist\"\nallow = [\"example.com:443\"]\n",
            b"[filesystem]\nwritable_roots = [\"~/a\"]\ndeny_read = [\"**/*.pem\"]\n[limits]\nmemory = \"4GiB\"\ntime = \"30m\"\n",
        ],
    },
    Target {
        name: "windows-path",
        run: windows_path,
        seeds: &[b"C:\\Users\\a\\project", b"\\\\?\\C:\\x", b"C:\\con\\..\\a.txt. ", b"C:\\a:b"],
    },
    Target {
        name: "command-line",
        run: windows_command_line,
        seeds: &[b"C:\\a.exe\0one two\0\\\\\"\0", b"C:\\b.cmd\0plain\0"],
    },
];

/// What a reader of a stream says of the whole must not be contradicted by what it says of a part.
#[expect(
    clippy::panic,
    reason = "a broken promise is a panic, which is what is looked for"
)]
fn in_pieces<T: PartialEq + Debug, E: PartialEq + Debug>(
    data: &[u8],
    read: impl Fn(&[u8]) -> Result<Progress<T>, E>,
) {
    let whole = read(data);
    if let Ok(Progress::Done { used, .. }) = &whole {
        assert!(*used <= data.len(), "more was used than is there");
    }
    for cut in (0..data.len()).step_by(data.len() / 24 + 1) {
        let part = read(data.get(..cut).unwrap_or_default());
        match (&part, &whole) {
            (Ok(Progress::NeedMore), _) | (Err(_), Err(_)) => {}
            (
                Ok(Progress::Done { value, used }),
                Ok(Progress::Done {
                    value: all,
                    used: end,
                }),
            ) => {
                assert_eq!((value, used), (all, end), "a part reads otherwise");
            }
            (Ok(Progress::Done { .. }) | Err(_), _) => {
                panic!("{cut} bytes give {part:?}, all of them {whole:?}")
            }
        }
    }
}

/// Drops what has no comparison, keeping its text.
fn text<T: Debug, E: Debug>(read: Result<Progress<T>, E>) -> Result<Progress<String>, String> {
    read.map(|progress| progress.map(|value| format!("{value:?}")))
        .map_err(|error| format!("{error:?}"))
}

fn http_head(data: &[u8]) {
    in_pieces(data, |bytes| text(RequestHead::parse(bytes)));
}

fn http_connect(data: &[u8]) {
    let head = [b"CONNECT ", data, b" HTTP/1.1\r\nhost: ", data, b"\r\n\r\n"].concat();
    in_pieces(&head, |bytes| text(RequestHead::parse(bytes)));
}

fn http_answer(data: &[u8]) {
    for method in ["GET", "HEAD", "CONNECT"] {
        in_pieces(data, |bytes| text(ResponseHead::parse(bytes, method)));
    }
}

fn http_chunks(data: &[u8]) {
    in_pieces(data, |bytes| text(Chunks::parse(bytes)));
}

fn socks(data: &[u8]) {
    in_pieces(data, |bytes| text(Greeting::parse(bytes)));
    in_pieces(data, |bytes| text(Request::parse(bytes)));
}

fn hello(data: &[u8]) {
    in_pieces(data, |bytes| text(ClientHello::parse(bytes)));
    if let Ok(host) = Host::parse(b"w.example.com") {
        in_pieces(data, |bytes| {
            text(FirstFlight::parse(bytes, &expected(&host, 443)))
        });
    }
}

fn expected(host: &Host, port: u16) -> Expected<'_> {
    Expected {
        host,
        port,
        server_name: ServerName::Same,
    }
}

/// What goes on unread is no request to the most lenient of servers.
fn first(data: &[u8]) {
    let Ok(host) = Host::parse(b"w.example.com") else {
        return;
    };
    for port in [22, 80, 443, 9000] {
        in_pieces(data, |bytes| {
            text(FirstFlight::parse(bytes, &expected(&host, port)))
        });
        let is_unread = matches!(
            FirstFlight::parse(data, &expected(&host, port)),
            Ok(Progress::Done {
                value: FirstFlight::Opaque,
                ..
            })
        );
        assert!(!(is_unread && is_request(data)), "a request goes on unread");
    }
}

/// Whether the first line that is not empty is METHOD TARGET VERSION, with whatever white space between them.
fn is_request(data: &[u8]) -> bool {
    let text = String::from_utf8_lossy(data);
    let line = text.trim_start().lines().next().unwrap_or_default();
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.as_slice() {
        [method, .., version] if words.len() > 2 => {
            let is_token =
                |letter: char| letter.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(letter);
            let is_plain = !line.contains(|letter: char| letter.is_control() && letter != '\t');
            is_plain
                && method.chars().all(is_token)
                && version.to_ascii_uppercase().starts_with("HTTP/")
        }
        _ => false,
    }
}

fn dns(data: &[u8]) {
    use ringfence_egress::dns::Answer;
    match Question::parse(data) {
        Ok(question) => {
            for answer in [
                Answer::Empty,
                Answer::Failed,
                Answer::A([127, 0, 0, 1].into()),
                Answer::Refused("net.not-listed"),
            ] {
                let packet = question.answer(&answer);
                assert_eq!(
                    packet.get(..2),
                    data.get(..2),
                    "an answer to something else"
                );
            }
        }
        Err(error) => drop(error.answer()),
    }
}

fn host_rule(data: &[u8]) {
    if let Ok(host) = Host::parse(data) {
        let again = Host::parse(host.to_string().as_bytes());
        assert_eq!(again.ok().as_ref(), Some(&host), "a host reads otherwise");
    }
    let rule = std::str::from_utf8(data).ok();
    if let Some(rule) = rule.and_then(|text| text.parse::<HostRule>().ok()) {
        let again: Option<HostRule> = rule.to_string().parse().ok();
        assert_eq!(again.as_ref(), Some(&rule), "a rule reads otherwise");
    }
}

fn wire_frames(data: &[u8]) {
    let mut buffer = data.to_vec();
    while let Ok(Some(_)) = wire::FORMAT.take::<wire::Event>(&mut buffer) {}
    let mut buffer = data.to_vec();
    while let Ok(Some(_)) = wire::FORMAT.take::<wire::Request>(&mut buffer) {}
}

fn ledger(data: &[u8]) {
    let _ = read_untrusted::<MachineBook>(data);
    let _ = read_untrusted::<PersonBook>(data);
}

fn sddl(data: &[u8]) {
    let read = std::str::from_utf8(data).ok();
    if let Some(descriptor) = read.and_then(|text| SecurityDescriptor::from_sddl(text).ok()) {
        let written = descriptor.to_sddl();
        let again = SecurityDescriptor::from_sddl(&written);
        assert_eq!(
            again.ok().as_ref(),
            Some(&descriptor),
            "{written} reads otherwise"
        );
    }
}

fn descriptor(data: &[u8]) {
    if let Ok(descriptor) = SecurityDescriptor::from_bytes(data) {
        // What was read may be more than can be written; what is written reads back.
        if let Ok(written) = descriptor.to_bytes() {
            let again = SecurityDescriptor::from_bytes(&written);
            assert_eq!(
                again.ok().as_ref(),
                Some(&descriptor),
                "bytes read otherwise"
            );
        }
    }
}

fn policy(data: &[u8]) {
    let _ = ringfence_policy::parse::parse("fuzz", data);
}

fn windows_path(data: &[u8]) {
    let read = std::str::from_utf8(data).ok();
    if let Some(path) = read.and_then(|text| WindowsPath::parse(text).ok()) {
        let again = WindowsPath::parse(&path.to_string());
        assert_eq!(again.ok().as_ref(), Some(&path), "a path reads otherwise");
    }
}

fn windows_command_line(data: &[u8]) {
    let units: Vec<u16> = data.iter().map(|byte| u16::from(*byte)).collect();
    let mut words = units.split(|unit| *unit == 0).map(<[u16]>::to_vec);
    let program = words.next().unwrap_or_default();
    let arguments: Vec<Vec<u16>> = words.collect();
    if let Ok(line) = command_line::build(&program, &arguments) {
        assert_eq!(split(&line), [vec![program], arguments].concat());
    }
}

/// Takes a line apart as the C runtime does (learn.microsoft.com "Parsing C command-line arguments").
fn split(line: &[u16]) -> Vec<Vec<u16>> {
    const QUOTE: u16 = b'"' as u16;
    const BACKSLASH: u16 = b'\\' as u16;
    let is_space = |unit: u16| unit == u16::from(b' ') || unit == u16::from(b'\t');
    // The program: up to the next quotation mark, nothing escapes.
    let rest = line.strip_prefix(&[QUOTE]).unwrap_or(line);
    let end = rest
        .iter()
        .position(|unit| *unit == QUOTE)
        .unwrap_or(rest.len());
    let mut words = vec![rest.get(..end).unwrap_or_default().to_vec()];
    let mut units = rest
        .get(end + 1..)
        .unwrap_or_default()
        .iter()
        .copied()
        .peekable();
    loop {
        while units.next_if(|unit| is_space(*unit)).is_some() {}
        if units.peek().is_none() {
            return words;
        }
        let (mut word, mut quoted) = (Vec::new(), false);
        while let Some(unit) = units.next_if(|unit| quoted || !is_space(*unit)) {
            if unit == BACKSLASH {
                let mut count = 1;
                while units.next_if_eq(&BACKSLASH).is_some() {
                    count += 1;
                }
                if units.peek() == Some(&QUOTE) {
                    word.extend(std::iter::repeat_n(BACKSLASH, count / 2));
                    if count % 2 == 1 {
                        units.next();
                        word.push(QUOTE);
                    }
                } else {
                    word.extend(std::iter::repeat_n(BACKSLASH, count));
                }
            } else if unit == QUOTE {
                if quoted && units.next_if_eq(&QUOTE).is_some() {
                    word.push(QUOTE);
                } else {
                    quoted = !quoted;
                }
            } else {
                word.push(unit);
            }
        }
        words.push(word);
    }
}
