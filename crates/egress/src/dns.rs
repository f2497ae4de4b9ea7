//! DNS messages: one strict question in, one answer out.
//!
//! Only what a stub resolver sends is read: a standard query with one question of class IN, and EDNS. Nothing is
//! cached, forwarded or resolved here. Invariant: a question is answered only when every byte of the packet was
//! understood.
//!
//! Sources: RFC 1035 §4, RFC 6891 (EDNS), RFC 8914 (extended errors).

use std::net::{Ipv4Addr, Ipv6Addr};

use ringfence_policy::host::{HostError, HostName};

use crate::progress::Cursor;

/// The longest packet that is read, by TCP too: a question needs no more.
pub const MAX_QUERY: usize = 1024;

/// How long an answer may be remembered. The address of a name never changes within a session, but a name that is
/// refused later should not be kept for long.
const TTL_SECONDS: u32 = 60;

/// What can be received without being cut, as it is announced to those who ask (RFC 6891).
const UDP_PAYLOAD: u16 = 1232;

const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;
const TYPE_OPT: u16 = 41;
const CLASS_IN: u16 = 1;
const OPTION_EXTENDED_ERROR: u16 = 15;
const EXTENDED_ERROR_BLOCKED: u16 = 15;

/// What is asked about a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordType {
    /// Its IPv4 address.
    A,
    /// Its IPv6 address.
    Aaaa,
    /// Anything else, by its number.
    Other(u16),
}

/// One question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The name.
    pub name: HostName,
    /// What is asked about it.
    pub record: RecordType,
    head: Head,
    /// The question as it stands in the packet; the answer repeats it, with the same capitals.
    wire: Vec<u8>,
    edns: Edns,
}

/// What of a packet's head an answer needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    id: u16,
    recursion_desired: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Edns {
    Absent,
    Present,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// The name has this IPv4 address.
    A(Ipv4Addr),
    /// The name has this IPv6 address.
    Aaaa(Ipv6Addr),
    /// The name exists and has nothing of the kind.
    Empty,
    /// The name is refused by this rule. It is said not to exist: some resolvers wait for seconds when told that
    /// they were refused.
    Refused(&'a str),
    /// Something here failed.
    Failed,
}

/// Why a packet is no question that is answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuestionError {
    /// Too short for a head, or an answer instead of a question: nothing is sent back.
    #[error("the packet is no DNS query")]
    NotQuery,
    /// Lengths inside it do not fit together, or something stands in it that a query does not hold.
    #[error("the DNS query is malformed")]
    Malformed(Head),
    /// Not a standard query of class IN.
    #[error("the DNS query is of a kind that is not served")]
    NotServed(Head),
    /// A name outside the grammar.
    #[error("the name in the DNS query can't be read")]
    Name(Head, #[source] HostError),
}

impl QuestionError {
    /// What is sent back; `None` for what is no query.
    #[must_use]
    pub fn answer(&self) -> Option<Vec<u8>> {
        let (head, code) = match self {
            Self::NotQuery => return None,
            Self::Malformed(head) => (head, 1),
            Self::Name(head, _) => (head, 3),
            Self::NotServed(head) => (head, 4),
        };
        let mut out = Vec::with_capacity(12);
        head.write(code, [0, 0, 0], &mut out);
        Some(out)
    }
}

impl Question {
    /// Reads one packet.
    ///
    /// # Errors
    /// [`QuestionError`] for everything but one plain question.
    ///
    /// # Security
    /// The target chooses every byte.
    pub fn parse(packet: &[u8]) -> Result<Self, QuestionError> {
        let mut cursor = Cursor::new(packet);
        let (Some(id), Some(flags), Some([questions, answers, authorities, additional])) = (
            cursor.u16(),
            cursor.u16(),
            cursor
                .array::<8>()
                .map(|[a, b, c, d, e, f, g, h]| [[a, b], [c, d], [e, f], [g, h]])
                .map(|counts| counts.map(u16::from_be_bytes)),
        ) else {
            return Err(QuestionError::NotQuery);
        };
        if flags & 0x8000 != 0 {
            return Err(QuestionError::NotQuery);
        }
        let head = Head {
            id,
            recursion_desired: flags & 0x0100,
        };
        if flags & 0x7800 != 0 {
            return Err(QuestionError::NotServed(head));
        }
        if packet.len() > MAX_QUERY || (questions, answers, authorities) != (1, 0, 0) {
            return Err(QuestionError::Malformed(head));
        }
        let start = cursor.used();
        let name = read_name(&mut cursor).ok_or(QuestionError::Malformed(head))?;
        let (Some(record), Some(class)) = (cursor.u16(), cursor.u16()) else {
            return Err(QuestionError::Malformed(head));
        };
        let wire = packet.get(start..cursor.used()).unwrap_or_default();
        let edns = read_edns(&mut cursor, additional).ok_or(QuestionError::Malformed(head))?;
        if class != CLASS_IN {
            return Err(QuestionError::NotServed(head));
        }
        let name = HostName::parse(&name).map_err(|error| QuestionError::Name(head, error))?;
        Ok(Self {
            name,
            record: match record {
                TYPE_A => RecordType::A,
                TYPE_AAAA => RecordType::Aaaa,
                other => RecordType::Other(other),
            },
            head,
            wire: wire.to_vec(),
            edns,
        })
    }

    /// The packet that answers this question.
    #[must_use]
    pub fn answer(&self, answer: &Answer<'_>) -> Vec<u8> {
        let (code, answers) = match answer {
            Answer::A(_) | Answer::Aaaa(_) => (0, 1),
            Answer::Empty => (0, 0),
            Answer::Refused(_) => (3, 0),
            Answer::Failed => (2, 0),
        };
        let additional = match self.edns {
            Edns::Absent => 0,
            Edns::Present => 1,
        };
        let mut out = Vec::with_capacity(128);
        self.head.write(code, [1, answers, additional], &mut out);
        out.extend_from_slice(&self.wire);
        match answer {
            Answer::A(address) => write_record(TYPE_A, &address.octets(), &mut out),
            Answer::Aaaa(address) => write_record(TYPE_AAAA, &address.octets(), &mut out),
            Answer::Empty | Answer::Refused(_) | Answer::Failed => {}
        }
        if self.edns == Edns::Present {
            write_edns(answer, &mut out);
        }
        out
    }
}

impl Head {
    /// Writes the head of an answer with this code and these counts of questions, answers and additional records.
    fn write(self, code: u16, [questions, answers, additional]: [u16; 3], out: &mut Vec<u8>) {
        let flags = 0x8000 | self.recursion_desired | 0x0080 | code;
        for field in [self.id, flags, questions, answers, 0, additional] {
            out.extend_from_slice(&field.to_be_bytes());
        }
    }
}

/// The labels joined by dots. Pointers are refused: there is nothing before the only question to point to.
fn read_name(cursor: &mut Cursor<'_>) -> Option<Vec<u8>> {
    let mut name = Vec::new();
    loop {
        let label = match cursor.u8()? {
            0 => return Some(name),
            length @ 1..=63 => cursor.take(usize::from(length))?,
            64.. => return None,
        };
        // A dot inside a label would read as two labels.
        if label.contains(&b'.') || name.len() + label.len() > 254 {
            return None;
        }
        if !name.is_empty() {
            name.push(b'.');
        }
        name.extend_from_slice(label);
    }
}

/// The additional section: nothing, or one OPT record, and nothing behind it.
fn read_edns(cursor: &mut Cursor<'_>, count: u16) -> Option<Edns> {
    let edns = match count {
        0 => Edns::Absent,
        1 => {
            let root = cursor.u8()?;
            let record = cursor.u16()?;
            let _payload_and_flags = cursor.array::<6>()?;
            let _options = cursor.vector16()?;
            if root != 0 || record != TYPE_OPT {
                return None;
            }
            Edns::Present
        }
        2.. => return None,
    };
    cursor.is_empty().then_some(edns)
}

/// A record of the name in the question, which stands right behind the head.
fn write_record(record: u16, content: &[u8], out: &mut Vec<u8>) {
    const POINTER_TO_QUESTION: u16 = 0xc00c;
    for field in [POINTER_TO_QUESTION, record, CLASS_IN] {
        out.extend_from_slice(&field.to_be_bytes());
    }
    out.extend_from_slice(&TTL_SECONDS.to_be_bytes());
    write_vector(content, out);
}

fn write_edns(answer: &Answer<'_>, out: &mut Vec<u8>) {
    out.push(0);
    out.extend_from_slice(&TYPE_OPT.to_be_bytes());
    out.extend_from_slice(&UDP_PAYLOAD.to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    let mut options = Vec::new();
    if let Answer::Refused(rule) = answer {
        let text = format!("refused by rule {rule}");
        options.extend_from_slice(&OPTION_EXTENDED_ERROR.to_be_bytes());
        let content = [&EXTENDED_ERROR_BLOCKED.to_be_bytes(), text.as_bytes()].concat();
        write_vector(&content, &mut options);
    }
    write_vector(&options, out);
}

fn write_vector(content: &[u8], out: &mut Vec<u8>) {
    let length = u16::try_from(content.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend(content.iter().take(usize::from(length)));
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A query as a stub resolver sends it.
    pub(crate) fn query(labels: &[&[u8]], record: u16) -> Vec<u8> {
        let mut packet = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in labels {
            packet.push(u8::try_from(label.len()).unwrap());
            packet.extend_from_slice(label);
        }
        packet.push(0);
        packet.extend_from_slice(&record.to_be_bytes());
        packet.extend_from_slice(&CLASS_IN.to_be_bytes());
        packet
    }

    fn with_edns(mut packet: Vec<u8>) -> Vec<u8> {
        packet[11] = 1;
        packet.extend_from_slice(&[0, 0, 41, 0x10, 0, 0, 0, 0, 0, 0, 0]);
        packet
    }

    const EXAMPLE: [&[u8]; 2] = [b"ExAmple", b"com"];

    #[test]
    fn a_question_is_read_and_answered_with_its_own_capitals() {
        let question = Question::parse(&query(&EXAMPLE, 1)).unwrap();
        assert_eq!(question.name.as_str(), "example.com");
        assert_eq!(question.record, RecordType::A);
        let answer = question.answer(&Answer::A([198, 18, 0, 7].into()));
        let expected = [
            &[0xab, 0xcd, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0][..],
            b"\x07ExAmple\x03com\0",
            &[
                0, 1, 0, 1, 0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 198, 18, 0, 7,
            ],
        ]
        .concat();
        assert_eq!(answer, expected);
    }

    #[test]
    fn a_refusal_says_its_rule_to_those_who_can_read_it() {
        let question = Question::parse(&with_edns(query(&EXAMPLE, 28))).unwrap();
        assert_eq!(question.record, RecordType::Aaaa);
        let answer = question.answer(&Answer::Refused("net.not-listed"));
        assert_eq!(answer[3] & 15, 3);
        assert_eq!(answer[11], 1);
        assert!(answer.ends_with(b"refused by rule net.not-listed"));
        let plain = Question::parse(&query(&EXAMPLE, 28)).unwrap();
        assert_eq!(plain.answer(&Answer::Refused("net.not-listed")).len(), 29);
        let other = Question::parse(&query(&EXAMPLE, 65)).unwrap();
        assert_eq!(other.record, RecordType::Other(65));
        assert_eq!(&other.answer(&Answer::Empty)[3..8], [0x80, 0, 1, 0, 0]);
    }

    #[test]
    fn names_that_read_as_others_are_refused() {
        let malformed =
            |packet: &[u8]| matches!(Question::parse(packet), Err(QuestionError::Malformed(_)));
        assert!(malformed(&query(&[b"example.com", b"evil"], 1)));
        let mut pointer = query(&[], 1);
        pointer.splice(12..13, [0xc0, 12]);
        assert!(malformed(&pointer));
        assert!(malformed(&query(&[&[b'a'; 63][..]; 5], 1)));
        for labels in [
            vec![],
            vec![&b"exam ple"[..]],
            vec![b"a\0b", b"com"],
            vec![b"127", b"1"],
        ] {
            let error = Question::parse(&query(&labels, 1)).unwrap_err();
            assert!(matches!(error, QuestionError::Name(..)), "{labels:?}");
            assert_eq!(error.answer().unwrap()[3] & 15, 3);
        }
    }

    #[test]
    fn what_is_no_plain_question_is_refused() {
        let good = query(&EXAMPLE, 1);
        let changed = |at: usize, to: u8| {
            let mut packet = good.clone();
            packet[at] = to;
            Question::parse(&packet)
        };
        for (at, to) in [(5, 0), (5, 2), (7, 1), (9, 1), (11, 1), (11, 2)] {
            assert!(
                matches!(changed(at, to), Err(QuestionError::Malformed(_))),
                "{at}"
            );
        }
        // An answer, another operation, another class, bytes behind the question, and too few of them.
        assert_eq!(changed(2, 0x80), Err(QuestionError::NotQuery));
        assert_eq!(Question::parse(&good[..11]), Err(QuestionError::NotQuery));
        assert!(matches!(changed(2, 0x28), Err(QuestionError::NotServed(_))));
        assert!(matches!(
            changed(good.len() - 1, 3),
            Err(QuestionError::NotServed(_))
        ));
        let longer = [&good[..], &[0]].concat();
        for packet in [&longer, &good[..good.len() - 1]] {
            let error = Question::parse(packet).unwrap_err();
            assert_eq!(error.answer().unwrap()[3] & 15, 1);
        }
        let mut signed = with_edns(good.clone());
        let at = signed.len() - 9;
        signed[at] = 250;
        assert!(matches!(
            Question::parse(&signed),
            Err(QuestionError::Malformed(_))
        ));
    }

    proptest! {
        #[test]
        fn any_packet_is_answered_without_panic(
            tail in proptest::collection::vec(any::<u8>(), 0..120),
            whole in any::<bool>(),
        ) {
            let mut packet = if whole { vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1] } else { Vec::new() };
            packet.extend_from_slice(&tail);
            match Question::parse(&packet) {
                Ok(question) => {
                    let answer = question.answer(&Answer::Refused("net.not-listed"));
                    prop_assert_eq!(&answer[..2], &packet[..2]);
                    prop_assert!(answer.len() <= 512);
                }
                Err(error) => prop_assert!(error.answer().is_none_or(|answer| answer.len() == 12)),
            }
        }

        #[test]
        fn a_changed_packet_never_panics(at in 0_usize..60, to: u8) {
            let mut packet = with_edns(query(&[b"www", b"example", b"com"], 28));
            let at = at % packet.len();
            packet[at] = to;
            let _ = Question::parse(&packet);
        }
    }
}
