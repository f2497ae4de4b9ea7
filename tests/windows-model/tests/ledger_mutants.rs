//! A record of a ledger that is never written, and a record that is not waited for: every such mutant is noticed.
//!
//! The steps are the planner's and the executor is the one that `ringfence` ships; only the store is careless.

#![allow(
    clippy::expect_used,
    reason = "a test ends where its input is not what it says"
)]

use std::cell::Cell;
use std::ops::ControlFlow;
use std::rc::Rc;

use ringfence_backend::fault::{Fault, Faults};
use ringfence_backend::ledger::{Entry, Ledger, LedgerStore, MemoryStore, StoreFailure};
use ringfence_backend::windows::fake::{FakeFiles, FakeMachine, World};
use ringfence_backend::windows::{
    Grants, MachineBook, PersonBook, PlanRule, Progress, Setup, Walking, leftover_of_machine,
    sids_of,
};
use ringfence_nt::fs::{Node, NodeId};
use ringfence_nt::{AccessMask, Ace, AceFlags, Acl, SecurityDescriptor, Sid, WriteClass};
use ringfence_plan::windows::WindowsPlan;
use ringfence_plan::windows::step::MachineStep;
use ringfence_windows_model::figures::record;
use ringfence_windows_model::scene::Scene;

/// What a store leaves out.
#[derive(Clone, Copy, Debug)]
enum Lost {
    Nothing,
    /// The write of this number.
    Write(u64),
    /// Every wait for the disk.
    Waits,
}

/// A store that leaves something out.
#[derive(Clone, Debug)]
struct Careless {
    store: MemoryStore,
    lost: Lost,
    /// How many writes were asked for.
    written: Rc<Cell<u64>>,
}

impl LedgerStore for Careless {
    fn lock(&mut self) -> Result<(), StoreFailure> {
        self.store.lock()
    }

    fn read(&mut self) -> Result<Option<Vec<u8>>, StoreFailure> {
        self.store.read()
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), StoreFailure> {
        let number = self.written.get();
        self.written.set(number + 1);
        match self.lost {
            Lost::Write(lost) if lost == number => Ok(()),
            Lost::Write(_) | Lost::Nothing | Lost::Waits => self.store.append(bytes),
        }
    }

    fn flush(&mut self) -> Result<(), StoreFailure> {
        match self.lost {
            Lost::Waits => Ok(()),
            Lost::Nothing | Lost::Write(_) => self.store.flush(),
        }
    }

    fn replace(&mut self, bytes: &[u8]) -> Result<(), StoreFailure> {
        self.store.replace(bytes)
    }

    fn discard(&mut self) -> Result<(), StoreFailure> {
        self.store.discard()
    }
}

/// What one of the two ledgers is of, in memory.
trait Side {
    /// A fresh one, whose calls meet `faults`.
    fn fresh(plan: &WindowsPlan, scene: &Scene, faults: &Faults) -> Self;
    /// Does the plan's steps; whether it got to the end.
    fn apply(&mut self, plan: &WindowsPlan, store: Careless) -> bool;
    /// Undoes what the ledger knows.
    fn uninstall(&mut self, plan: &WindowsPlan, store: &MemoryStore);
    /// Whether the ledger can be read and knows of no unfinished transaction.
    fn is_sound(plan: &WindowsPlan, store: &MemoryStore) -> bool;
    /// Whether it is as it was in `scene`.
    fn is_clean(&self, scene: &Scene) -> bool;
}

struct Person(FakeFiles);

impl Side for Person {
    fn fresh(_plan: &WindowsPlan, scene: &Scene, faults: &Faults) -> Self {
        Self(FakeFiles::over(scene.host.fs.clone(), faults))
    }

    fn apply(&mut self, plan: &WindowsPlan, store: Careless) -> bool {
        let Ok(mut ledger) = Ledger::<PersonBook, Careless>::open(store) else {
            return false;
        };
        let rule = PlanRule::new(plan);
        let mut progress = |_: Progress| ControlFlow::Continue(());
        let mut walking = Walking {
            rule: &rule,
            progress: &mut progress,
        };
        let mut grants = Grants {
            person: plan.person,
            ours: &sids_of(plan),
            ledger: &mut ledger,
            files: &mut self.0,
        };
        grants.apply(&plan.person_steps, &mut walking).is_ok()
    }

    fn uninstall(&mut self, plan: &WindowsPlan, store: &MemoryStore) {
        if let Ok(mut ledger) = Ledger::<PersonBook, MemoryStore>::open(store.clone()) {
            let mut grants = Grants {
                person: plan.person,
                ours: &sids_of(plan),
                ledger: &mut ledger,
                files: &mut self.0,
            };
            grants.uninstall().expect("what is recorded is undone");
        }
    }

    fn is_sound(plan: &WindowsPlan, store: &MemoryStore) -> bool {
        Ledger::<PersonBook, MemoryStore>::open(store.clone())
            .is_ok_and(|ledger| ledger.transaction(plan.person).is_none())
    }

    fn is_clean(&self, scene: &Scene) -> bool {
        let nodes = |tree: &ringfence_nt::fs::FileSystem| -> Vec<(NodeId, Node)> {
            tree.nodes().map(|(id, node)| (id, node.clone())).collect()
        };
        nodes(&self.0.tree) == nodes(&scene.host.fs)
    }
}

struct Machine(FakeMachine);

impl Side for Machine {
    fn fresh(plan: &WindowsPlan, _scene: &Scene, faults: &Faults) -> Self {
        let full = Ace::allow(
            AceFlags::INHERIT_ALL,
            AccessMask::FILE_ALL_ACCESS,
            Sid::SYSTEM,
        );
        let default = SecurityDescriptor::new(Sid::SYSTEM, Sid::SYSTEM, Acl::new(vec![full]));
        let (_, above) = plan
            .person
            .subauthorities()
            .split_last()
            .expect("a person's");
        let machine = Sid::new(plan.person.authority(), above).expect("the machine's");
        Self(FakeMachine::new(machine, default, faults))
    }

    fn apply(&mut self, plan: &WindowsPlan, store: Careless) -> bool {
        let Ok(mut ledger) = Ledger::<MachineBook, Careless>::open(store) else {
            return false;
        };
        let mut setup = Setup {
            person: plan.person,
            ledger: &mut ledger,
            machine: &mut self.0,
        };
        setup.apply(&plan.machine_steps).is_ok()
    }

    fn uninstall(&mut self, plan: &WindowsPlan, store: &MemoryStore) {
        if let Ok(mut ledger) = Ledger::<MachineBook, MemoryStore>::open(store.clone()) {
            let mut setup = Setup {
                person: plan.person,
                ledger: &mut ledger,
                machine: &mut self.0,
            };
            setup.uninstall().expect("what is recorded is undone");
        }
    }

    fn is_sound(plan: &WindowsPlan, store: &MemoryStore) -> bool {
        Ledger::<MachineBook, MemoryStore>::open(store.clone())
            .is_ok_and(|ledger| ledger.transaction(plan.person).is_none())
    }

    fn is_clean(&self, _scene: &Scene) -> bool {
        self.0.world == World::default()
    }
}

struct Case {
    scene: Scene,
    plan: WindowsPlan,
}

fn case() -> Case {
    let mut scene = Scene::new(WriteClass::H2);
    let ann = scene.ann.clone();
    scene.project(&ann.path("ws"), ann.sid);
    let plan = scene.plan(&ann, &ann.path("ws"), "").expect("a plan");
    for root in &plan.roots {
        let above = root.home.parent().expect("a home lies somewhere");
        let mut missing = vec![above];
        while let Some(path) = missing
            .last()
            .and_then(ringfence_plan::windows::WindowsPath::parent)
            && scene.host.fs.find(&path.to_string()).is_err()
        {
            missing.push(path);
        }
        for path in missing.iter().rev() {
            if scene.host.fs.find(&path.to_string()).is_err() {
                scene.host.directory(&path.to_string(), ann.sid);
            }
        }
    }
    Case { scene, plan }
}

/// Applies all steps with `lost`, a crash at `call` if there is one, and uninstalls by what the disk kept.
fn left_after<S: Side>(case: &Case, lost: Lost, call: Option<u64>) -> (bool, bool) {
    let faults = Faults::new();
    let store = MemoryStore::new(&faults);
    let mut side = S::fresh(&case.plan, &case.scene, &faults);
    if let Some(call) = call {
        faults.strike_at(call, Fault::CrashAfter);
    }
    let careless = Careless {
        store: store.clone(),
        lost,
        written: Rc::default(),
    };
    let done = side.apply(&case.plan, careless);
    let sound = S::is_sound(&case.plan, &store);
    if call.is_some() {
        faults.restart();
        store.restart(0);
    }
    side.uninstall(&case.plan, &store);
    let clean = side.is_clean(&case.scene);
    assert!(done || call.is_some(), "nothing stood in the way");
    (sound, clean)
}

fn killed(name: &str, by: Option<&str>, survivors: &mut Vec<String>) {
    if let Some(by) = by {
        record(&["mutant", name, "killed", by]);
    } else {
        record(&["mutant", name, "survived", ""]);
        survivors.push(name.to_owned());
    }
}

/// How many writes a whole application makes.
fn writes<S: Side>(case: &Case) -> u64 {
    let faults = Faults::new();
    let store = MemoryStore::new(&faults);
    let mut side = S::fresh(&case.plan, &case.scene, &faults);
    let careless = Careless {
        store: store.clone(),
        lost: Lost::Nothing,
        written: Rc::default(),
    };
    let written = Rc::clone(&careless.written);
    assert!(side.apply(&case.plan, careless), "the control");
    assert!(
        !side.is_clean(&case.scene),
        "the control: something was done"
    );
    assert!(S::is_sound(&case.plan, &store), "the control");
    side.uninstall(&case.plan, &store);
    assert!(side.is_clean(&case.scene), "the control: nothing is left");
    written.get()
}

fn every_mutant_is_killed<S: Side>(ledger: &str) {
    let case = case();
    let mut survivors = Vec::new();
    let writes = writes::<S>(&case);
    let mut tried = 0;
    for write in 0..writes {
        let (sound, clean) = left_after::<S>(&case, Lost::Write(write), None);
        let by = match (sound, clean) {
            (false, _) => Some("the ledger says that a record is missing"),
            (true, false) => Some("uninstall leaves what it does not know of"),
            (true, true) => None,
        };
        let name = format!("{ledger}: write {write} skipped");
        killed(&name, by, &mut survivors);
        tried += 1;
    }
    assert!(tried > 10, "{tried}");

    let mut left = 0;
    for call in 0..120 {
        let (_, clean) = left_after::<S>(&case, Lost::Nothing, Some(call));
        assert!(clean, "the control: a crash at call {call} leaves nothing");
        let (_, clean) = left_after::<S>(&case, Lost::Waits, Some(call));
        left += usize::from(!clean);
    }
    let by = format!("{left} crashes leave something behind");
    let by = (left > 0).then_some(by.as_str());
    killed(
        &format!("{ledger}: no wait for the disk"),
        by,
        &mut survivors,
    );
    assert!(survivors.is_empty(), "survived: {survivors:?}");
}

#[test]
fn a_record_of_the_persons_ledger_that_is_skipped_is_noticed() {
    every_mutant_is_killed::<Person>("the person's ledger");
}

#[test]
fn a_record_of_the_machines_ledger_that_is_skipped_is_noticed() {
    every_mutant_is_killed::<Machine>("the machine's ledger");
}

/// The ledger of a set-up that never recorded the step of this index.
fn without_entry(from: &MemoryStore, left_out: usize) -> MemoryStore {
    let ledger: Ledger<MachineBook, MemoryStore> = Ledger::open(from.clone()).expect("a ledger");
    let entries: Vec<Entry<MachineBook>> = ledger.entries().map(|(_, one)| one.clone()).collect();
    let store = MemoryStore::new(&Faults::new());
    let mut forged: Ledger<MachineBook, MemoryStore> =
        Ledger::open(store.clone()).expect("a ledger");
    for (index, entry) in entries.into_iter().enumerate() {
        if index != left_out {
            let number = forged.intend(entry.intent).expect("it is written");
            let receipt = entry.receipt.expect("the step was done");
            forged.receive(number, receipt).expect("it is written");
        }
    }
    forged.flush().expect("it is written");
    store
}

/// A step of the planner's that is done without a record: uninstall leaves it, unless it goes with another's object, and
/// then nothing is left.
#[test]
fn a_step_of_set_up_without_its_record_is_left_behind_and_seen() {
    let case = case();
    let mut survivors = Vec::new();
    let mut killed_steps = 0;
    for (index, step) in case.plan.machine_steps.iter().enumerate() {
        let faults = Faults::new();
        let store = MemoryStore::new(&faults);
        let mut side = Machine::fresh(&case.plan, &case.scene, &faults);
        let careless = Careless {
            store: store.clone(),
            lost: Lost::Nothing,
            written: Rc::default(),
        };
        assert!(side.apply(&case.plan, careless), "the control");
        let forged = without_entry(&store, index);
        side.uninstall(&case.plan, &forged);
        let ledger = Ledger::open(forged).expect("a ledger");
        let found = leftover_of_machine(&ledger, &mut side.0).expect("a scan");
        // Rights go with their account, and a directory with the one above it: nothing is left of these.
        let goes_with_another = match step {
            MachineStep::DenyLogon { .. } => true,
            MachineStep::MakeDirectory { path, .. } => {
                case.plan.machine_steps.iter().any(|other| {
                    matches!(other, MachineStep::MakeDirectory { path: above, .. } if path.is_below(above))
                })
            }
            MachineStep::EnsureGroup { .. }
            | MachineStep::EnsureAccount { .. }
            | MachineStep::SetValue { .. }
            | MachineStep::InstallFilters { .. }
            | MachineStep::AddFirewallRule { .. }
            | MachineStep::ReservePorts { .. } => false,
        };
        let is_noticed = !side.is_clean(&case.scene) || !found.is_empty();
        if goes_with_another && !is_noticed {
            continue;
        }
        let by = is_noticed
            .then_some("uninstall leaves what it does not know of, and the scan shows it");
        killed_steps += usize::from(is_noticed);
        killed(
            &format!(
                "the machine's ledger: step {} without its record",
                index + 1
            ),
            by,
            &mut survivors,
        );
    }
    assert!(killed_steps >= 10, "{killed_steps}");
    assert!(survivors.is_empty(), "survived: {survivors:?}");
}
