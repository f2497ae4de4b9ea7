//! What the second command looks at: names that are protected, secret or changed, however many files there are.

#![expect(
    clippy::expect_used,
    reason = "a world that can't be built is a failed test"
)]

use std::collections::{BTreeMap, BTreeSet};

use ringfence_backend::call::CallFailure;
use ringfence_nt::fs::{Caller, FileName, FileSystem, Node, NodeId, Place, Replace};
use ringfence_nt::inherit::{ObjectKind, reinherit};
use ringfence_nt::{
    AccessMask, Ace, AceFlags, Dacl, GenericMapping, SecurityDescriptor, Sid, Token, WriteClass,
};
use ringfence_plan::windows::WindowsPath;
use ringfence_plan::windows::facts::{WindowsFacts, WindowsRoot};
use ringfence_plan::windows::step::FileId;
use ringfence_windows::observe::kept::{KeptScan, NoScans, Scans};
use ringfence_windows::observe::look::{Changes, JournalMark, Listed, Look, Off, Seen, Since};
use ringfence_windows::observe::observe_keeping;
use ringfence_windows_model::host::Host;
use ringfence_windows_model::look::Disk;
use ringfence_windows_model::observe::{Seat, surroundings};
use ringfence_windows_model::random::Random;

const WORK: &str = "C:\\Users\\ada\\src\\app";

/// A disk that counts what it is asked, with a journal: how it was at each mark.
struct Watched<'a> {
    disk: Disk<'a>,
    now: &'a FileSystem,
    /// None on a volume without a journal.
    past: Option<&'a [FileSystem]>,
    asked: usize,
}

impl<'a> Watched<'a> {
    fn new(now: &'a FileSystem, past: Option<&'a [FileSystem]>) -> Self {
        Self {
            disk: Disk::new(now),
            now,
            past,
            asked: 0,
        }
    }

    fn path(&self, id: NodeId) -> WindowsPath {
        WindowsPath::observed(&self.now.path_of(id)).expect("a path on a drive")
    }
}

/// Every name of a file system: its directory, its text, what it names.
fn entries(tree: &FileSystem) -> BTreeSet<(NodeId, FileName, NodeId)> {
    let of = |(id, node): (NodeId, &Node)| {
        let entries = node.entries().iter();
        let entries = entries.map(move |entry| (id, entry.name.clone(), entry.node));
        entries.collect::<Vec<_>>()
    };
    tree.nodes().flat_map(of).collect()
}

impl Look for Watched<'_> {
    fn look(&mut self, path: &WindowsPath) -> Result<Option<Seen>, CallFailure> {
        self.asked += 1;
        self.disk.look(path)
    }

    fn list(&mut self, directory: &WindowsPath) -> Result<Option<Vec<Listed>>, CallFailure> {
        self.asked += 1;
        self.disk.list(directory)
    }

    fn read(&mut self, file: &WindowsPath) -> Result<Option<Vec<u8>>, CallFailure> {
        self.asked += 1;
        self.disk.read(file)
    }

    fn names(&mut self, file: &WindowsPath) -> Result<Vec<Option<WindowsPath>>, CallFailure> {
        self.asked += 1;
        self.disk.names(file)
    }

    fn descriptor(
        &mut self,
        path: &WindowsPath,
    ) -> Result<Option<SecurityDescriptor>, CallFailure> {
        self.asked += 1;
        self.disk.descriptor(path)
    }

    fn elsewhere(&mut self, named: &str) -> Result<Option<Off>, CallFailure> {
        self.disk.elsewhere(named)
    }

    fn mark(&mut self, _root: &WindowsPath) -> Option<JournalMark> {
        let next = i64::try_from(self.past?.len()).ok()?;
        Some(JournalMark { journal: 1, next })
    }

    fn changed_since(&mut self, root: &WindowsPath, mark: JournalMark) -> Since {
        let Some(now) = self.mark(root) else {
            return Since::Unknown;
        };
        let index = usize::try_from(mark.next).expect("a mark of ours");
        let before = self.past.and_then(|past| past.get(index));
        // A mark that is as new as the journal is the state that the test is in.
        let known = before.map_or_else(|| entries(self.now), entries);
        let mut changes = Changes {
            mark: now,
            directories: BTreeSet::new(),
            moved: BTreeSet::new(),
        };
        let had: BTreeSet<NodeId> = known.iter().map(|(_, _, node)| *node).collect();
        for (parent, _, node) in entries(self.now).difference(&known) {
            changes.directories.insert(self.path(*parent));
            let names: Vec<Place> = self.now.places(*node).collect();
            changes
                .directories
                .extend(names.iter().map(|place| self.path(place.parent)));
            let is_directory = self.now.node(*node).is_some_and(Node::is_directory);
            if is_directory && had.contains(node) {
                changes.moved.insert(self.path(*node));
            }
        }
        // A link that was taken away is told of by the file, which has other names.
        for (_, _, node) in known.difference(&entries(self.now)) {
            let names: Vec<Place> = self.now.places(*node).collect();
            changes
                .directories
                .extend(names.iter().map(|place| self.path(place.parent)));
        }
        changes.directories.retain(|path| path.starts_with(root));
        changes.moved.retain(|path| path.starts_with(root));
        Since::Changed(changes)
    }
}

#[derive(Default)]
struct Memory(BTreeMap<FileId, KeptScan>);

impl Scans for Memory {
    fn kept(&mut self, root: FileId) -> Option<KeptScan> {
        let text = serde_json::to_vec(self.0.get(&root)?).expect("it is written");
        Some(serde_json::from_slice(&text).expect("it is read as it was written"))
    }

    fn keep(&mut self, root: FileId, scan: &KeptScan) {
        self.0.insert(root, scan.clone());
    }
}

fn desk(files: usize) -> (Host, Seat) {
    let (mut host, seat) = (Host::new(), Seat::new("ada", 1001));
    seat.move_in(&mut host);
    for path in ["C:\\Users\\ada\\src", WORK] {
        host.directory(path, seat.sid);
    }
    for path in [".git", "lib", "lib\\.git", "src", "docs"] {
        host.directory(&format!("{WORK}\\{path}"), seat.sid);
    }
    host.file(&format!("{WORK}\\.env"), seat.sid);
    for file in 0..files {
        host.file(&format!("{WORK}\\src\\f{file}"), seat.sid);
    }
    (host, seat)
}

fn facts(look: &mut Watched<'_>, scans: &mut dyn Scans, seat: &Seat, text: &str) -> WindowsFacts {
    let policy = seat.policy(WORK, text);
    let around = surroundings(look.now, seat);
    observe_keeping(look, scans, &policy, around).expect("facts")
}

/// How much the first and the second command look at.
fn looked_at(files: usize) -> (usize, usize) {
    let (host, seat) = desk(files);
    let mut scans = Memory::default();
    let past = [];
    let mut first = Watched::new(&host.fs, Some(&past));
    let told = facts(&mut first, &mut scans, &seat, "");
    let mut second = Watched::new(&host.fs, Some(&past));
    assert_eq!(facts(&mut second, &mut scans, &seat, ""), told);
    // The control: without what was kept, everything is looked at again.
    let mut control = Watched::new(&host.fs, Some(&past));
    assert_eq!(facts(&mut control, &mut NoScans, &seat, ""), told);
    assert_eq!(control.asked, first.asked);
    (first.asked, second.asked)
}

#[test]
fn the_second_command_looks_at_as_much_in_a_large_workspace_as_in_a_small_one() {
    let ((small_first, small), (large_first, large)) = (looked_at(100), looked_at(10_000));
    assert_eq!(small, large, "objects looked at by the second command");
    assert_eq!(large_first - small_first, 9_900, "by the first, for links");
}

#[test]
fn what_is_kept_is_not_believed_without_a_journal_nor_for_other_patterns() {
    let (mut host, seat) = desk(10);
    let mut scans = Memory::default();
    let none: [FileSystem; 0] = [];
    let mut first = Watched::new(&host.fs, Some(&none));
    facts(&mut first, &mut scans, &seat, "");
    let text = "[filesystem]\ndeny_read = ['**/*.pem']\n";
    host.file(&format!("{WORK}\\docs\\key.pem"), seat.sid);
    host.directory(&format!("{WORK}\\docs\\.git"), seat.sid);
    for (past, text) in [(None, ""), (Some(&none[..]), text)] {
        let mut look = Watched::new(&host.fs, past);
        let told = facts(&mut look, &mut scans, &seat, text);
        let mut whole = Watched::new(&host.fs, past);
        assert_eq!(told, facts(&mut whole, &mut NoScans, &seat, text));
        let root = told.roots.first().expect("the workspace");
        assert_eq!(root.anchors.len(), 3, "the new repository among them");
    }
}

/// Moves what stands at one path to another, as the person.
fn move_to(host: &mut Host, seat: &Seat, from: &str, to: &str) {
    let place = |host: &Host, path: &str| {
        let (above, last) = path.rsplit_once('\\').expect("a path with two parts");
        Place {
            parent: host.fs.find(above).expect("its directory"),
            name: FileName::new(last).expect("a name"),
        }
    };
    let token = Token::new(seat.sid, &[Sid::USERS, Sid::AUTHENTICATED_USERS]);
    let caller = Caller {
        token: &token,
        class: WriteClass::H2,
    };
    let (from, to) = (place(host, from), place(host, to));
    let handle = host.fs.open_place(&caller, &from, AccessMask::DELETE);
    let handle = handle.expect("it is the person's");
    let moved = host.fs.rename(&caller, &handle, &to, Replace::No);
    moved.expect("nothing is in the way");
}

#[test]
fn what_lies_deep_in_a_directory_that_was_moved_in_is_found() {
    let (mut host, seat) = desk(3);
    let beside = "C:\\Users\\ada\\src\\beside";
    for below in ["", "\\deep", "\\deep\\tree", "\\deep\\tree\\.git"] {
        host.directory(&format!("{beside}{below}"), seat.sid);
    }
    host.file(&format!("{beside}\\deep\\tree\\.env"), seat.sid);
    let mut scans = Memory::default();
    let before = [host.fs.clone()];
    facts(
        &mut Watched::new(&before[0], Some(&[])),
        &mut scans,
        &seat,
        "",
    );
    let place = format!("{WORK}\\docs\\moved");
    move_to(&mut host, &seat, beside, &place);
    let told = facts(
        &mut Watched::new(&host.fs, Some(&before)),
        &mut scans,
        &seat,
        "",
    );
    let walked = facts(&mut Watched::new(&host.fs, None), &mut NoScans, &seat, "");
    assert_eq!(told, walked);
    let root = told.roots.first().expect("the workspace");
    let tree = format!("{place}\\deep\\tree");
    let is_tree = |path: &WindowsPath| path.to_string() == tree;
    assert!(root.anchors.iter().any(|anchor| is_tree(&anchor.path)));
    let mut hidden = told.hidden.iter();
    assert!(hidden.any(|fact| fact.path.parent().is_some_and(|above| is_tree(&above))));
}

/// Lets the person's group write what is made in a directory.
fn grant(host: &mut Host, seat: &Seat, path: &str) {
    let directory = host.find(path);
    let mut own = host.descriptor(directory);
    let granted = Ace::allow(AceFlags::INHERIT_ALL, AccessMask::FILE_MODIFY, seat.group);
    if let Dacl::Present(acl) = &mut own.dacl {
        acl.aces.insert(0, granted);
    }
    host.describe(directory, own);
}

#[test]
fn what_was_moved_into_a_closed_directory_is_told_until_it_is_closed() {
    let (mut host, seat) = desk(3);
    for path in [".git\\hooks", ".git\\objects", "scripts"] {
        host.directory(&format!("{WORK}\\{path}"), seat.sid);
    }
    for number in 0..50 {
        host.file(&format!("{WORK}\\.git\\objects\\o{number}"), seat.sid);
    }
    // What moves has another list than its new directory gives.
    grant(&mut host, &seat, &format!("{WORK}\\scripts"));
    host.file(&format!("{WORK}\\scripts\\pre-commit"), seat.sid);
    let astray = |told: &WindowsFacts| -> Vec<String> {
        let root = told.roots.first().expect("the workspace");
        root.astray.iter().map(ToString::to_string).collect()
    };
    let mut scans = Memory::default();
    let mut past = vec![host.fs.clone()];
    let told = facts(
        &mut Watched::new(&host.fs, Some(&[])),
        &mut scans,
        &seat,
        "",
    );
    assert_eq!(astray(&told), [""; 0], "control");
    let hook = format!("{WORK}\\.git\\hooks\\pre-commit");
    move_to(
        &mut host,
        &seat,
        &format!("{WORK}\\scripts\\pre-commit"),
        &hook,
    );
    // Told by the journal, then by what was kept: whoever looked first may have closed nothing.
    for _ in 0..2 {
        let mut look = Watched::new(&host.fs, Some(&past));
        let told = facts(&mut look, &mut scans, &seat, "");
        assert_eq!(astray(&told), std::slice::from_ref(&hook));
        let mut whole = Watched::new(&host.fs, None);
        assert_eq!(told, facts(&mut whole, &mut NoScans, &seat, ""));
        assert!(look.asked + 50 < whole.asked, "not everything is looked at");
        past.push(host.fs.clone());
    }
    let moved = host.find(&hook);
    let hooks = host.descriptor(host.find(&format!("{WORK}\\.git\\hooks")));
    let closed = reinherit(
        &hooks,
        &host.descriptor(moved),
        ObjectKind::Leaf,
        &GenericMapping::FILE,
    );
    host.describe(moved, closed);
    let mut look = Watched::new(&host.fs, Some(&past));
    assert_eq!(astray(&facts(&mut look, &mut scans, &seat, "")), [""; 0]);
}

/// Directories that moves and new names choose among, with names of every meaning.
const NAMES: [&str; 12] = [
    ".git",
    ".env",
    "HEAD",
    "objects",
    "refs",
    "key.pem",
    "a",
    "b",
    "c",
    "node_modules",
    "lib",
    "README",
];

/// Changes names at random, as a person and their tools may between two commands.
fn change(host: &mut Host, seat: &Seat, random: &mut Random) {
    let work = host.fs.find("C:\\Users\\ada").expect("the profile");
    let all: Vec<NodeId> = host.fs.nodes().map(|(id, _)| id).collect();
    let within: Vec<NodeId> = all
        .into_iter()
        .filter(|id| {
            let path = host.fs.path_of(*id);
            path.starts_with("C:\\Users\\ada\\src") && host.fs.is_below(*id, work)
        })
        .collect();
    let pick = |random: &mut Random, list: &[NodeId]| list.get(random.below(list.len())).copied();
    let directories: Vec<NodeId> = within
        .iter()
        .copied()
        .filter(|id| host.fs.node(*id).is_some_and(Node::is_directory))
        .collect();
    let (Some(parent), Some(what)) = (pick(random, &directories), pick(random, &within)) else {
        return;
    };
    let text = NAMES.get(random.below(NAMES.len())).expect("a name");
    let name = FileName::new(text).expect("a name");
    let place = Place { parent, name };
    let is_free = host.fs.lookup(&place).is_none();
    let path = format!("{}\\{text}", host.fs.path_of(parent));
    match random.below(5) {
        0 if is_free => {
            host.file(&path, seat.sid);
        }
        1 if is_free => {
            host.directory(&path, seat.sid);
        }
        2 if is_free && !host.fs.node(what).is_some_and(Node::is_directory) => {
            let _ = host.fs.place_link(&place, what);
        }
        3 if is_free && !host.fs.is_below(parent, what) && parent != what => {
            let from = host.fs.places(what).next();
            let is_top = ["C:\\Users\\ada\\src", WORK].contains(&host.fs.path_of(what).as_str());
            let token = Token::new(seat.sid, &[Sid::USERS, Sid::AUTHENTICATED_USERS]);
            let caller = Caller {
                token: &token,
                class: WriteClass::H2,
            };
            if let Some(from) = from.filter(|_| !is_top) {
                let handle = host.fs.open_place(&caller, &from, AccessMask::DELETE);
                let handle = handle.expect("it is the person's");
                let moved = host.fs.rename(&caller, &handle, &place, Replace::No);
                moved.expect("nothing is in the way");
            }
        }
        4 => {
            let from = host.fs.places(what).next();
            let is_top = ["C:\\Users\\ada\\src", WORK].contains(&host.fs.path_of(what).as_str());
            let is_empty = host
                .fs
                .node(what)
                .is_some_and(|node| node.entries().is_empty());
            if let Some(from) = from.filter(|_| !is_top && is_empty) {
                host.fs.displace(&from).expect("it was there");
            }
        }
        _ => {}
    }
}

#[test]
fn what_is_kept_and_the_journal_tell_what_a_walk_tells() {
    let text = "[filesystem]\ndeny_read = ['**/*.pem']\n";
    let (mut grew, mut astray) = (0, 0);
    for seed in 0..40 {
        let mut random = Random::new(0x57EAD, seed);
        let (mut host, seat) = desk(3);
        grant(&mut host, &seat, &format!("{WORK}\\docs"));
        let mut scans = Memory::default();
        let mut past: Vec<FileSystem> = Vec::new();
        for round in 0..6 {
            // Every other policy has patterns of its own, which reach into what tools fill.
            let text = if seed % 2 == 0 { "" } else { text };
            let mut look = Watched::new(&host.fs, Some(&past));
            let told = facts(&mut look, &mut scans, &seat, text);
            let mut whole = Watched::new(&host.fs, None);
            let walked = facts(&mut whole, &mut NoScans, &seat, text);
            let roots = |facts: &WindowsFacts| facts.roots.clone();
            assert_eq!(roots(&told), roots(&walked), "seed {seed}, round {round}");
            assert_eq!(told, walked, "seed {seed}, round {round}");
            let count = |root: &WindowsRoot| root.anchors.len() + root.outside_links.len();
            grew += roots(&told).iter().map(count).sum::<usize>();
            let strays = roots(&told);
            astray += strays.iter().map(|root| root.astray.len()).sum::<usize>();
            past.push(host.fs.clone());
            for _ in 0..random.below(8) {
                change(&mut host, &seat, &mut random);
            }
        }
    }
    assert!(grew > 400, "the worlds hold too little: {grew}");
    assert!(astray > 20, "too little was moved in: {astray}");
}
