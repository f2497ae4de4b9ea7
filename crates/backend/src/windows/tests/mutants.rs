//! The record left out, the wait for the disk left out: the checks of this folder notice.

use super::steps::*;
use crate::fault::{Fault, Faults};
use crate::ledger::{Damage, Entry, Ledger, LedgerError, LedgerStore, MemoryStore, StoreFailure};
use crate::windows::fake::FakeMachine;
use crate::windows::{MachineBook, Setup, leftover_of_machine};
use ringfence_nt::Sid;
use ringfence_plan::windows::step::MachineStep;

/// A store that leaves something out.
#[derive(Clone, Debug)]
struct Careless {
    store: MemoryStore,
    /// How many appends are made before one is left out; none is where there is no number.
    until_lost: Option<u64>,
    /// Whether it waits for the disk.
    waits: bool,
}

impl LedgerStore for Careless {
    fn lock(&mut self) -> Result<(), StoreFailure> {
        self.store.lock()
    }

    fn read(&mut self) -> Result<Option<Vec<u8>>, StoreFailure> {
        self.store.read()
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), StoreFailure> {
        match self.until_lost {
            Some(0) => {
                self.until_lost = None;
                return Ok(());
            }
            Some(more) => self.until_lost = Some(more - 1),
            None => {}
        }
        self.store.append(bytes)
    }

    fn flush(&mut self) -> Result<(), StoreFailure> {
        if self.waits {
            self.store.flush()
        } else {
            Ok(())
        }
    }

    fn replace(&mut self, bytes: &[u8]) -> Result<(), StoreFailure> {
        self.store.replace(bytes)
    }

    fn discard(&mut self) -> Result<(), StoreFailure> {
        self.store.discard()
    }
}

fn install(store: Careless, machine: &mut FakeMachine) -> bool {
    let Ok(mut ledger) = Ledger::<MachineBook, Careless>::open(store) else {
        return false;
    };
    let mut setup = Setup {
        person: ada(),
        ledger: &mut ledger,
        machine,
    };
    setup.apply(&steps(ada())).is_ok()
}

#[test]
fn a_record_that_was_never_written_is_noticed_by_its_number() {
    let mut noticed = 0_u64;
    for lost in 0.. {
        let mut bench = Bench::new();
        let careless = Careless {
            store: bench.store.clone(),
            until_lost: Some(lost),
            waits: true,
        };
        assert!(install(careless, &mut bench.machine));
        match Ledger::<MachineBook, MemoryStore>::open(bench.store.clone()) {
            Err(LedgerError::Damaged(Damage::Sequence { .. })) => noticed += 1,
            Ok(ledger) => {
                // The last record, that the transaction is over: the next call only says so again.
                assert!(ledger.transaction(ada()).is_some());
                assert_eq!(lost, noticed, "all before it were noticed");
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(noticed > 26, "{noticed}");
}

#[test]
fn without_the_wait_for_the_disk_a_crash_leaves_something_behind() {
    let mut left = 0;
    for waits in [true, false] {
        for call in 0..80 {
            let mut bench = Bench::new();
            bench.faults.strike_at(call, Fault::CrashAfter);
            let careless = Careless {
                store: bench.store.clone(),
                until_lost: None,
                waits,
            };
            install(careless, &mut bench.machine);
            bench.restart(0);
            bench.uninstall(ada()).unwrap();
            let clean = bench.machine.world == foreign_world();
            assert!(clean || !waits, "the control: with it nothing is left");
            left += usize::from(!clean);
        }
    }
    assert!(left > 10, "{left}");
}

/// The ledger of a set-up that never recorded the step of this index.
fn without_entry(from: &MemoryStore, left_out: usize, person: Sid) -> MemoryStore {
    let ledger: Ledger<MachineBook, MemoryStore> = Ledger::open(from.clone()).unwrap();
    let entries: Vec<Entry<MachineBook>> = ledger.entries().map(|(_, one)| one.clone()).collect();
    let store = MemoryStore::new(&Faults::new());
    let mut forged: Ledger<MachineBook, MemoryStore> = Ledger::open(store.clone()).unwrap();
    for (index, entry) in entries.into_iter().enumerate() {
        if index != left_out {
            assert_eq!(entry.intent.person, person);
            let number = forged.intend(entry.intent).unwrap();
            forged.receive(number, entry.receipt.unwrap()).unwrap();
        }
    }
    forged.flush().unwrap();
    store
}

#[test]
fn a_step_without_its_record_is_left_behind_and_seen() {
    let mut noticed = Vec::new();
    for (index, step) in steps(ada()).iter().enumerate() {
        let mut bench = Bench::new();
        bench.install(ada()).unwrap();
        bench.store = without_entry(&bench.store, index, ada());
        bench.uninstall(ada()).unwrap();
        let ledger = Ledger::open(bench.store.clone()).unwrap();
        let found = leftover_of_machine(&ledger, &mut bench.machine).unwrap();
        if bench.machine.world != foreign_world() || !found.is_empty() {
            noticed.push(index);
            continue;
        }
        // Rights go with their account, a directory and what is in it with the one above it.
        let goes_with_another = match step {
            MachineStep::DenyLogon { .. } => true,
            MachineStep::MakeDirectory { path, .. } => path.components().len() > 2,
            _ => false,
        };
        assert!(goes_with_another, "{step:?}");
    }
    assert_eq!(noticed.len(), steps(ada()).len() - 3, "{noticed:?}");
}
