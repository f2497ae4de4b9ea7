use ringfence_nt::{AccessMask, Ace, AceFlags, Acl, SecurityDescriptor, Sid};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::frame::{Chain, Frames, HEAD, Kind, SEAL};
use super::*;
use crate::fault::{Fault, Faults};

/// A ledger of words.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Words;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Word {
    pub(super) text: String,
    pub(super) descriptor: Option<u32>,
}

impl Book for Words {
    const KIND: LedgerKind = LedgerKind::Machine;
    type Intent = Word;
    type Receipt = u32;
    type Undoing = u32;

    fn descriptors(intent: &Word) -> Vec<u32> {
        intent.descriptor.into_iter().collect()
    }

    fn undoing_descriptors(undoing: &u32) -> Vec<u32> {
        vec![*undoing]
    }

    fn fits(intent: &Word, receipt: &u32) -> Fit {
        if usize::try_from(*receipt) == Ok(intent.text.len()) {
            Fit::Possible
        } else {
            Fit::Impossible
        }
    }
}

pub(super) type Opened = Ledger<Words, MemoryStore>;

pub(super) fn word(text: &str) -> Word {
    Word {
        text: text.to_owned(),
        descriptor: None,
    }
}

pub(super) fn open(store: &MemoryStore) -> Result<Opened, LedgerError> {
    Ledger::open(store.clone())
}

fn damage(store: &MemoryStore) -> Damage {
    match open(store) {
        Err(LedgerError::Damaged(damage)) => damage,
        other => panic!("no damage: {other:?}"),
    }
}

pub(super) fn descriptor(mask: u32) -> SecurityDescriptor {
    let ace = Ace::deny(AceFlags::INHERIT_ALL, AccessMask(mask), Sid::USERS);
    SecurityDescriptor::new(Sid::SYSTEM, Sid::SYSTEM, Acl::new(vec![ace]))
}

/// A ledger of five records: its opening, three intents and a receipt.
fn three_words() -> MemoryStore {
    let store = MemoryStore::new(&Faults::new());
    let mut ledger = open(&store).unwrap();
    for text in ["one", "two", "three"] {
        ledger.intend(word(text)).unwrap();
    }
    ledger.receive(Sequence(3), 5).unwrap();
    ledger.flush().unwrap();
    drop(ledger);
    store
}

fn texts(ledger: &Opened) -> Vec<String> {
    ledger
        .entries()
        .map(|(_, entry)| entry.intent.text.clone())
        .collect()
}

/// Where each record begins, and where the last ends.
fn bounds(bytes: &[u8]) -> Vec<usize> {
    let mut frames = Frames::new(bytes, LedgerKind::Machine);
    let mut found = vec![0];
    while frames.next().is_some() {
        found.push(frames.intact());
    }
    found
}

/// `bytes` with the records in another order.
fn arranged(bytes: &[u8], order: &[usize]) -> Vec<u8> {
    let bounds = bounds(bytes);
    let records: Vec<&[u8]> = bounds
        .windows(2)
        .map(|pair| &bytes[pair[0]..pair[1]])
        .collect();
    order
        .iter()
        .flat_map(|index| records[*index].to_vec())
        .collect()
}

#[test]
fn what_was_written_is_read_again() {
    let store = three_words();
    let ledger = open(&store).unwrap();
    assert_eq!(texts(&ledger), ["one", "two", "three"]);
    assert_eq!(ledger.entry(Sequence(3)).unwrap().receipt, Some(5));
    assert_eq!(ledger.entry(Sequence(1)).unwrap().receipt, None);
}

#[test]
fn a_ledger_cut_short_loses_its_last_records_and_no_others() {
    let whole = three_words().durable().unwrap();
    let bounds = bounds(&whole);
    for length in 0..whole.len() {
        let store = MemoryStore::new(&Faults::new());
        store.forge(Some(whole[..length].to_vec()));
        let complete = bounds
            .iter()
            .filter(|end| **end != 0 && **end <= length)
            .count();
        if complete == 0 {
            assert_eq!(damage(&store), Damage::Empty, "{length}");
            continue;
        }
        let mut ledger = open(&store).unwrap();
        let expected = ["one", "two", "three"];
        assert_eq!(
            texts(&ledger),
            expected[..(complete - 1).min(3)],
            "{length}"
        );
        // It goes on behind the last whole record.
        ledger.intend(word("more")).unwrap();
        drop(ledger);
        assert!(texts(&open(&store).unwrap()).contains(&"more".to_owned()));
    }
}

#[test]
fn every_changed_byte_is_refused() {
    let whole = three_words().durable().unwrap();
    for index in 0..whole.len() {
        for change in [0x01, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[index] ^= change;
            let store = MemoryStore::new(&Faults::new());
            store.forge(Some(bytes));
            damage(&store);
        }
    }
}

#[test]
fn nul_bytes_are_cut_off_only_where_nothing_can_have_been() {
    let whole = three_words().durable().unwrap();
    let bounds = bounds(&whole);
    let store = MemoryStore::new(&Faults::new());
    let mut grown = whole.clone();
    grown.extend([0; 4096]);
    store.forge(Some(grown));
    assert_eq!(texts(&open(&store).unwrap()).len(), 3);
    assert_eq!(store.durable(), Some(whole.clone()), "the zeros are gone");

    store.forge(Some(vec![0; whole.len()]));
    assert_eq!(
        damage(&store),
        Damage::Nul {
            record: Sequence(0)
        }
    );

    // A record that was flushed can't turn into zeros by a power cut.
    let mut holed = whole.clone();
    holed[bounds[2]..bounds[3]].fill(0);
    store.forge(Some(holed));
    assert_eq!(
        damage(&store),
        Damage::Nul {
            record: Sequence(2)
        }
    );

    // The last one, of which only the beginning was written.
    let mut torn = whole.clone();
    torn[bounds[4] + HEAD + 2..].fill(0);
    store.forge(Some(torn));
    let ledger = open(&store).unwrap();
    assert_eq!(ledger.entry(Sequence(3)).unwrap().receipt, None);
}

#[test]
fn records_out_of_their_place_are_refused_by_number() {
    let whole = three_words().durable().unwrap();
    let store = MemoryStore::new(&Faults::new());
    for (order, record, found) in [
        (&[0, 2, 1, 3, 4][..], 1, 2),
        (&[0, 1, 1, 2, 3, 4][..], 2, 1),
        (&[0, 1, 3, 4][..], 2, 3),
        (&[1, 2, 3, 4][..], 0, 1),
        (&[0, 1, 2, 3, 4, 4][..], 5, 4),
    ] {
        store.forge(Some(arranged(&whole, order)));
        let (record, found) = (Sequence(record), Sequence(found));
        assert_eq!(
            damage(&store),
            Damage::Sequence { record, found },
            "{order:?}"
        );
    }
}

#[test]
fn a_record_of_another_ledger_is_refused() {
    let store = three_words();
    let mine = store.durable().unwrap();
    let other = MemoryStore::new(&Faults::new());
    let mut ledger = open(&other).unwrap();
    ledger.intend(word("another")).unwrap();
    ledger.intend(word("four")).unwrap();
    drop(ledger);
    let theirs = other.durable().unwrap();
    let (mine_at, theirs_at) = (bounds(&mine), bounds(&theirs));
    let mut mixed = mine[..mine_at[2]].to_vec();
    mixed.extend(&theirs[theirs_at[2]..theirs_at[3]]);
    store.forge(Some(mixed));
    assert_eq!(
        damage(&store),
        Damage::Seal {
            record: Sequence(2)
        }
    );
}

/// A record that fits its chain, whatever it says.
fn forged(bytes: &[u8], head: impl FnOnce(&mut [u8]), body: &[u8]) -> Vec<u8> {
    let mut frames = Frames::new(bytes, LedgerKind::Machine);
    while frames.next().is_some() {}
    let mut record = Vec::new();
    frames
        .into_chain()
        .append(Kind::Intent, body, &mut record)
        .unwrap();
    head(&mut record);
    let check: [u8; 32] = Sha256::digest(&record[..HEAD - 4]).into();
    record[HEAD - 4..HEAD].copy_from_slice(&check[..4]);
    let mut sealed = bytes[bytes.len() - SEAL..].to_vec();
    sealed.extend(&record[..record.len() - SEAL]);
    let seal: [u8; 32] = Sha256::digest(&sealed).into();
    let end = record.len() - SEAL;
    record[end..].copy_from_slice(&seal);
    [bytes, &record].concat()
}

#[test]
fn what_this_program_does_not_know_is_refused_and_named() {
    let store = three_words();
    let whole = store.durable().unwrap();
    let record = Sequence(5);
    store.forge(Some(forged(&whole, |head| head[0] = 2, b"{}")));
    assert_eq!(damage(&store), Damage::Version { record, found: 2 });
    store.forge(Some(forged(&whole, |head| head[1] = 99, b"{}")));
    assert_eq!(damage(&store), Damage::Kind { record, found: 99 });
    store.forge(Some(forged(&whole, |head| head[2..6].fill(0xff), b"{}")));
    assert_eq!(
        damage(&store),
        Damage::Length {
            record,
            length: u32::MAX
        }
    );
    for body in [&b"{}"[..], b"", b"\xff\xfe", b"{\"text\":1}", &[b'['; 4096]] {
        store.forge(Some(forged(&whole, |_| {}, body)));
        assert!(matches!(damage(&store), Damage::Body { record: at, .. } if at == record));
    }
}

/// The bytes of a ledger of these records.
fn written(records: &[Record<Words>]) -> MemoryStore {
    let mut chain = Chain::start(LedgerKind::Machine);
    let mut bytes = Vec::new();
    for record in records {
        let (kind, body) = record.encode().unwrap();
        chain.append(kind, &body, &mut bytes).unwrap();
    }
    let store = MemoryStore::new(&Faults::new());
    store.forge(Some(bytes));
    store
}

#[test]
fn records_that_make_no_sense_are_refused() {
    let opening = Record::Opening {
        kind: LedgerKind::Machine,
    };
    let intent = || Record::Intent(word("one"));
    let entry = Sequence(1);
    let undone = || Record::Undone {
        entry,
        outcome: Undone::Restored,
    };
    let with_descriptor = Record::Intent(Word {
        text: String::new(),
        descriptor: Some(0),
    });
    for (records, at) in [
        (vec![intent()], 0),
        (
            vec![Record::Opening {
                kind: LedgerKind::Person,
            }],
            0,
        ),
        (vec![opening.clone(), opening.clone()], 1),
        (vec![opening.clone(), undone()], 1),
        (
            vec![
                opening.clone(),
                intent(),
                Record::Receipt { entry, receipt: 99 },
            ],
            2,
        ),
        (vec![opening.clone(), intent(), undone(), undone()], 3),
        (
            vec![
                opening.clone(),
                intent(),
                undone(),
                Record::Receipt { entry, receipt: 3 },
            ],
            3,
        ),
        (
            vec![
                opening.clone(),
                intent(),
                Record::Receipt {
                    entry: Sequence(7),
                    receipt: 3,
                },
            ],
            2,
        ),
        (vec![opening.clone(), with_descriptor], 1),
        (
            vec![
                opening.clone(),
                intent(),
                Record::Undoing { entry, undoing: 0 },
            ],
            2,
        ),
        (
            vec![
                opening.clone(),
                Record::Ended {
                    person: Sid::SYSTEM,
                },
            ],
            1,
        ),
    ] {
        let store = written(&records);
        assert!(
            matches!(damage(&store), Damage::Order { record, .. } if record == Sequence(at)),
            "{records:?}"
        );
    }
}

#[test]
fn a_person_ledger_is_no_machine_ledger() {
    #[derive(Clone, Debug, PartialEq)]
    struct Others;
    impl Book for Others {
        const KIND: LedgerKind = LedgerKind::Person;
        type Intent = Word;
        type Receipt = u32;
        type Undoing = u32;
        fn descriptors(_: &Word) -> Vec<u32> {
            Vec::new()
        }
        fn undoing_descriptors(_: &u32) -> Vec<u32> {
            Vec::new()
        }
        fn fits(_: &Word, _: &u32) -> Fit {
            Fit::Possible
        }
    }
    let opened = Ledger::<Others, MemoryStore>::open(three_words());
    assert!(matches!(
        opened,
        Err(LedgerError::Damaged(Damage::Seal {
            record: Sequence(0)
        }))
    ));
}

#[test]
fn one_program_at_a_time_holds_a_ledger() {
    let store = three_words();
    let first = open(&store).unwrap();
    assert!(matches!(
        open(&store),
        Err(LedgerError::Store(StoreFailure::Locked { .. }))
    ));
    drop(first);
    open(&store).unwrap();
}

#[test]
fn a_ledger_is_written_anew_without_what_is_undone() {
    let store = three_words();
    let person = Sid::SYSTEM;
    let mut ledger = open(&store).unwrap();
    ledger.close(Sequence(1), Undone::Restored).unwrap();
    ledger.begin(person, Direction::Install).unwrap();
    let number = ledger.number_of(&descriptor(1)).unwrap();
    let four = Word {
        text: "four".to_owned(),
        descriptor: Some(number),
    };
    let entry = ledger.intend(four).unwrap();
    ledger.intend_undoing(entry, number).unwrap();
    let before = store.durable().unwrap().len();
    ledger.compact().unwrap();
    assert_eq!(store.durable().unwrap().len(), before, "little is undone");
    ledger.close(Sequence(2), Undone::Gone).unwrap();
    let expected: Vec<Entry<Words>> = ledger.entries().map(|(_, entry)| entry.clone()).collect();
    ledger.compact().unwrap();
    assert!(store.durable().unwrap().len() < before);
    let since = ledger.transaction(person).unwrap().since;
    drop(ledger);

    let mut ledger = open(&store).unwrap();
    let found: Vec<Entry<Words>> = ledger.entries().map(|(_, entry)| entry.clone()).collect();
    assert_eq!(found, expected);
    assert_eq!(ledger.descriptor(number).unwrap(), &descriptor(1));
    assert_eq!(ledger.number_of(&descriptor(1)).unwrap(), number);
    let transaction = ledger.transaction(person).unwrap();
    assert_eq!(transaction.since, since);
    let numbers: Vec<Sequence> = ledger.entries().map(|(number, _)| number).collect();
    assert!(
        numbers[0] < since && since < numbers[1],
        "the transaction begins between them"
    );

    for number in numbers {
        ledger.close(number, Undone::Restored).unwrap();
    }
    ledger.end(person).unwrap();
    ledger.compact().unwrap();
    assert_eq!(store.durable(), None);
    ledger.intend(word("again")).unwrap();
    drop(ledger);
    assert_eq!(texts(&open(&store).unwrap()), ["again"]);
}

#[test]
fn after_a_failed_write_nothing_is_appended() {
    let faults = Faults::new();
    let store = MemoryStore::new(&faults);
    let mut ledger = open(&store).unwrap();
    ledger.intend(word("one")).unwrap();
    faults.strike_at(0, Fault::Refused);
    assert!(matches!(
        ledger.intend(word("two")),
        Err(LedgerError::Store(_))
    ));
    assert!(matches!(
        ledger.intend(word("three")),
        Err(LedgerError::Stuck)
    ));
    drop(ledger);
    assert_eq!(texts(&open(&store).unwrap()), ["one"]);
}
