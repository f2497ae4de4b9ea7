//! The attack list, each entry a test: what a target tries, under each write class, with a control that succeeds.
//!
//! Under H2 to H4 every attack that the model can hold must fail; under H1 the verdict is recorded, because launch
//! refuses there. Attacks that only a running Windows or another suite can hold say which.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a scene that can't be built is a failed test"
)]

mod ledgers;
mod names;
mod objects;
mod others;
mod owners;
mod paths;
mod profile;

mod upkeep;

use ringfence_nt::fs::{Caller, FileSystem, NodeId, Place, Status};
use ringfence_nt::{AccessMask, Token, WriteClass};
use ringfence_windows_model::World;
use ringfence_windows_model::figures::record;
use ringfence_windows_model::host::name;
use ringfence_windows_model::operation::Operation;

/// Where the person's project lies.
const WS: &str = "C:\\Users\\ann\\ws";

/// Tries an attack under every write class; it must be held wherever a launch is accepted.
fn attack(number: u32, title: &str, held: impl Fn(WriteClass) -> bool) {
    for class in WriteClass::ALL {
        let held = held(class);
        let verdict = if held { "held" } else { "broken" };
        let fields = [&number.to_string(), title, &format!("{class:?}"), verdict];
        record(&["attack", fields[0], fields[1], fields[2], fields[3]]);
        assert!(
            held || !class.holds_a_boundary(),
            "attack {number} ({title}) succeeds under {class:?}"
        );
    }
}

/// Says which rung holds an attack that the model does not know.
fn elsewhere(number: u32, title: &str, rung: &str) {
    record(&["attack", &number.to_string(), title, rung, "elsewhere"]);
}

/// A place below the project, or anywhere by an absolute path.
fn place(fs: &FileSystem, path: &str) -> Place {
    let full = if path.contains(':') {
        path.to_owned()
    } else {
        format!("{WS}\\{path}")
    };
    let (parent, own) = full.rsplit_once('\\').unwrap();
    Place {
        parent: fs.find(&format!("{parent}\\")).unwrap(),
        name: name(own),
    }
}

fn find(fs: &FileSystem, path: &str) -> NodeId {
    fs.lookup(&place(fs, path))
        .unwrap_or_else(|| panic!("{path} is not there"))
}

/// What becomes of the world if its target does this.
fn try_it(world: &World, class: WriteClass, operation: &Operation) -> Result<FileSystem, Status> {
    let caller = Caller {
        token: &world.target,
        class,
    };
    operation.carry_out(&world.fs, &caller)
}

/// Whether every one of these is refused for want of a right.
fn all_denied(world: &World, class: WriteClass, operations: &[Operation]) -> bool {
    operations.iter().all(|operation| {
        let done = try_it(world, class, operation);
        done == Err(Status::AccessDenied)
    })
}

/// Whether a token can open an object, by its file id and by all its names, for all of this.
fn opens(
    fs: &FileSystem,
    token: &Token,
    class: WriteClass,
    path: &str,
    desired: AccessMask,
) -> bool {
    let caller = Caller { token, class };
    fs.open_by_id(&caller, find(fs, path), desired).is_ok()
}

/// Every right by which an object is changed, each alone.
fn changes() -> impl Iterator<Item = AccessMask> {
    ringfence_windows_model::promise::CHANGES.bits()
}

/// Whether the token can change an object in any way.
fn can_change(fs: &FileSystem, token: &Token, class: WriteClass, path: &str) -> bool {
    changes().any(|right| opens(fs, token, class, path, right))
}
