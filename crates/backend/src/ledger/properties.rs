//! Random scripts, power cuts at any call, random bytes.

use proptest::prelude::*;

use super::tests::{Opened, Word, descriptor, open, word};
use super::*;
use crate::fault::{Fault, Faults};

#[derive(Clone, Debug)]
enum Act {
    Intend(String),
    Receive(prop::sample::Index),
    Close(prop::sample::Index),
    Descriptor(u32),
    Compact,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        4 => "[a-z\\PC]{0,12}".prop_map(Act::Intend),
        2 => any::<prop::sample::Index>().prop_map(Act::Receive),
        2 => any::<prop::sample::Index>().prop_map(Act::Close),
        1 => (0_u32..4).prop_map(Act::Descriptor),
        1 => Just(Act::Compact),
    ];
    prop::collection::vec(act, 0..24)
}

fn act(ledger: &mut Opened, act: &Act) -> Result<(), LedgerError> {
    let pick = |index: &prop::sample::Index, ledger: &Opened| {
        let open: Vec<_> = ledger
            .entries()
            .map(|(n, e)| (n, e.intent.text.len()))
            .collect();
        (!open.is_empty()).then(|| *index.get(&open))
    };
    match act {
        Act::Intend(text) => ledger.intend(word(text)).map(drop),
        Act::Receive(index) => match pick(index, ledger) {
            Some((entry, length)) => ledger.receive(entry, u32::try_from(length).unwrap()),
            None => Ok(()),
        },
        Act::Close(index) => match pick(index, ledger) {
            Some((entry, _)) => ledger.close(entry, Undone::Restored),
            None => Ok(()),
        },
        Act::Descriptor(mask) => {
            let number = ledger.number_of(&descriptor(*mask))?;
            let text = "with".to_owned();
            ledger
                .intend(Word {
                    text,
                    descriptor: Some(number),
                })
                .map(drop)
        }
        Act::Compact => ledger.compact(),
    }
}

fn content(ledger: &Opened) -> Vec<(Word, Option<u32>)> {
    ledger
        .entries()
        .map(|(_, entry)| (entry.intent.clone(), entry.receipt))
        .collect()
}

proptest! {
    #[test]
    fn a_ledger_read_again_says_the_same(script in acts()) {
        let store = MemoryStore::new(&Faults::new());
        let mut ledger = open(&store).unwrap();
        for each in &script {
            act(&mut ledger, each).unwrap();
        }
        ledger.flush().unwrap();
        let expected = content(&ledger);
        drop(ledger);
        prop_assert_eq!(content(&open(&store).unwrap()), expected);
    }

    #[test]
    fn a_power_cut_at_any_call_loses_no_flushed_intent(
        script in acts(),
        at in 0_u64..60,
        fault in prop::sample::select(vec![Fault::CrashBefore, Fault::CrashAfter, Fault::Refused]),
        surviving in 0_usize..400,
    ) {
        let faults = Faults::new();
        let store = MemoryStore::new(&faults);
        let mut ledger = open(&store).unwrap();
        faults.strike_at(at, fault);
        let mut before = Vec::new();
        let mut ended = None;
        for each in &script {
            before = content(&ledger);
            if act(&mut ledger, each).is_err() {
                ended = Some(each);
                break;
            }
        }
        let after = content(&ledger);
        drop(ledger);
        faults.restart();
        store.restart(surviving);
        let found = content(&open(&store).unwrap());
        let names = |words: &[(Word, Option<u32>)]| {
            words.iter().map(|(word, _)| word.text.clone()).collect::<Vec<_>>()
        };
        // Receipts and closings wait for no disk: an entry may be open again, never be forgotten.
        let open_before = names(if ended.is_some() { &before } else { &after });
        for text in &open_before {
            let closing = matches!(ended, Some(Act::Close(_)));
            prop_assert!(closing || names(&found).contains(text), "{text:?} is lost");
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let store = MemoryStore::new(&Faults::new());
        store.forge(Some(bytes));
        prop_assert!(open(&store).is_err());
    }
}
