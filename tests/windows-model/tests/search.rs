//! The search itself: it finds what is there to be found, and holds where nothing is.

use ringfence_nt::WriteClass;
use ringfence_windows_model::apply::apply;
use ringfence_windows_model::host::{Host, name};
use ringfence_windows_model::search::{Bounds, search};
use ringfence_windows_model::table::{Person, Root, plan};
use ringfence_windows_model::world::World;

const BOUNDS: Bounds = Bounds {
    depth: 3,
    made: 1,
    links: 1,
    states: 200_000,
};

fn world() -> World {
    let mut host = Host::new();
    let ann = Person::new(1001);
    host.profile("ann", ann.sid);
    host.directory("C:\\Users\\ann\\.ssh", ann.sid);
    let key = host.file("C:\\Users\\ann\\.ssh\\id", ann.sid);
    let top = host.directory("C:\\Users\\ann\\ws", ann.sid);
    let git = host.directory("C:\\Users\\ann\\ws\\.git", ann.sid);
    host.file("C:\\Users\\ann\\ws\\.git\\config", ann.sid);
    host.directory("C:\\Users\\ann\\ws\\src", ann.sid);
    host.file("C:\\Users\\ann\\ws\\src\\a.rs", ann.sid);
    let lib = host.directory("C:\\Users\\ann\\ws\\lib", ann.sid);
    let lib_git = host.file("C:\\Users\\ann\\ws\\lib\\.git", ann.sid);
    let env = host.file("C:\\Users\\ann\\ws\\.env", ann.sid);
    let quarantine = host.directory("C:\\Users\\ann\\quarantine", ann.sid);
    let root = Root {
        person: ann,
        capability: ann.capability(1),
        top,
        protected: vec![git, lib_git],
        between: vec![lib],
        secrets: vec![env],
    };
    let steps = plan(&host, &root);
    apply(&mut host.fs, &steps);
    let absent = vec![host.place("C:\\Users\\ann\\ws\\.codex")];
    World {
        name: "one root".into(),
        fs: host.fs,
        target: ann.target(1, &[root.capability]),
        harness: ann.token(),
        roots: vec![top],
        protected: root.protected,
        absent,
        secrets: vec![key, env],
        quarantine,
        guarded: vec![],
        names: vec![name(".codex"), name("n")],
        redirects: vec!["C:\\Windows".into()],
    }
}

#[test]
fn the_table_holds_where_the_write_class_holds_a_boundary() {
    let world = world();
    for class in WriteClass::ALL {
        let report = search(&world, class, &BOUNDS);
        println!("{report}");
        if class.holds_a_boundary() {
            assert!(report.holds(), "{report}");
        }
    }
}
