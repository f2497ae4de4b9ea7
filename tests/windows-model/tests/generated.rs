//! Hosts made by chance, with every layout of repositories that git knows and every kind of link: what holds for all
//! plans, observed and carried out as on a real machine.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a host that can't be built is a failed test"
)]

use ringfence_nt::fs::{NodeId, Reparse, ReparseKind};
use ringfence_nt::{
    AccessMask, Ace, AceFlags, GenericMapping, SecurityDescriptor, Sid, Token, WriteClass,
    maximum_allowed,
};
use ringfence_plan::lint::Severity;
use ringfence_plan::windows::lint::lint;
use ringfence_plan::windows::step::PersonStep;
use ringfence_windows_model::carry::undo;
use ringfence_windows_model::figures::{Size, record};
use ringfence_windows_model::host::described;
use ringfence_windows_model::promise::CHANGES;
use ringfence_windows_model::random::Random;
use ringfence_windows_model::scene::{Scene, Session};

const WS: &str = "C:\\Users\\ann\\ws";
const OUTSIDE: &str = "C:\\Users\\ann\\outside";
const HELD: [WriteClass; 3] = [WriteClass::H2, WriteClass::H3, WriteClass::H4];
/// Each narrower than the one before it; the second protects a name whose directories do not exist.
const POLICIES: [&str; 3] = [
    "[filesystem]\ngit = \"full\"\n",
    "[filesystem]\ngit = \"commit\"\nprotected = [\"docs/deep/rules\"]\n",
    "[filesystem]\ngit = \"read-only\"\nprotected = [\"docs/deep/rules\"]\n",
];

/// A host, with what its person was promised under the narrowest policy.
struct Made {
    scene: Scene,
    random: Random,
    /// Directories in which repositories may lie.
    directories: Vec<String>,
    /// What stays as it is, with all below it.
    promised: Vec<String>,
}

impl Made {
    fn new(seed: u64) -> Self {
        let mut scene = Scene::new(WriteClass::H2);
        let ann = scene.ann.sid;
        for path in [WS, OUTSIDE] {
            scene.host.directory(path, ann);
        }
        scene.host.file(&format!("{OUTSIDE}\\o.txt"), ann);
        let mut made = Self {
            scene,
            random: Random::new(0x5eed, seed),
            directories: vec![WS.to_owned()],
            promised: Vec::new(),
        };
        for _ in 0..made.pick(7) {
            made.directory();
        }
        for directory in made.directories.clone() {
            made.repository(&directory);
            made.settings(&directory);
        }
        for _ in 0..made.pick(4) {
            made.disturb();
        }
        made
    }

    fn pick(&mut self, below: usize) -> usize {
        self.random.below(below)
    }

    fn directory(&mut self) {
        let names = ["a", "b.x", "\u{e9}", "AB", "docs", "deep"];
        let above = self.pick(self.directories.len());
        let name = names[self.pick(names.len())];
        let path = format!("{}\\{name}", self.directories[above]);
        if self.scene.host.fs.find(&path).is_err() {
            let ann = self.scene.ann.sid;
            self.scene.host.directory(&path, ann);
            self.scene.host.file(&format!("{path}\\f.txt"), ann);
            self.directories.push(path);
        }
    }

    fn file(&mut self, path: &str, content: &str) {
        if self.scene.host.fs.find(path).is_err() {
            let ann = self.scene.ann.sid;
            self.scene.host.file_of(path, ann, content.as_bytes());
        }
    }

    /// A git directory with what every one has.
    fn git_directory(&mut self, path: &str) {
        let ann = self.scene.ann.sid;
        if self.scene.host.fs.find(path).is_ok() {
            return;
        }
        self.scene.host.directory(path, ann);
        self.scene.host.directory(&format!("{path}\\hooks"), ann);
        self.file(&format!("{path}\\HEAD"), "ref: refs/heads/main\n");
        self.file(&format!("{path}\\config"), "[core]\n\tbare = false\n");
        self.file(&format!("{path}\\hooks\\pre-commit"), "#!/bin/sh\n");
    }

    fn link(&mut self, path: &str, kind: ReparseKind, target: &str) {
        if self.scene.host.fs.find(path).is_ok() {
            return;
        }
        let ann = self.scene.ann.sid;
        let id = self.scene.host.directory(path, ann);
        let node = self.scene.host.fs.node_mut(id).unwrap();
        node.reparse = Some(Reparse {
            kind,
            target: target.to_owned(),
        });
    }

    /// One of git's layouts, or none.
    fn repository(&mut self, top: &str) {
        let git = format!("{top}\\.git");
        if self.scene.host.fs.find(&git).is_ok() {
            return;
        }
        let chosen = self.pick(self.directories.len());
        let other = self.directories[chosen].clone();
        match self.pick(7) {
            0 | 1 => {
                self.git_directory(&git);
                self.promised.push(git);
            }
            // Another working tree, its repository outside every root.
            2 => {
                let common = format!("{OUTSIDE}\\repository");
                self.git_directory(&common);
                self.worktree(&git, &common);
            }
            // Another working tree of a repository inside.
            3 => {
                let common = format!("{other}\\.git");
                self.git_directory(&common);
                if git != common {
                    self.worktree(&git, &common);
                }
                self.promised.push(common);
            }
            // A file that names somebody else's repository, which does not know it.
            4 => {
                let foreign = format!("{OUTSIDE}\\foreign");
                self.git_directory(&foreign);
                self.file(&git, &format!("gitdir: {}\n", foreign.replace('\\', "/")));
                self.promised.push(git);
            }
            // A link, to a directory inside or outside.
            5 => {
                let target = [OUTSIDE, &other][self.pick(2)].to_owned();
                let kind = [ReparseKind::Junction, ReparseKind::Symlink][self.pick(2)];
                if target != top && !top.starts_with(&format!("{target}\\")) {
                    self.link(&git, kind, &target);
                    self.promised.push(git);
                }
            }
            _ => {}
        }
    }

    /// Whether a directory stands at the path itself.
    fn is_directory(&self, path: &str) -> bool {
        let fs = &self.scene.host.fs;
        let node = fs
            .lookup(&self.scene.host.place(path))
            .and_then(|id| fs.node(id));
        node.is_some_and(|node| node.is_directory() && node.reparse.is_none())
    }

    /// A linked working tree: each side names the other.
    fn worktree(&mut self, git: &str, common: &str) {
        if !self.is_directory(common) {
            return;
        }
        let ann = self.scene.ann.sid;
        let trees = format!("{common}\\worktrees");
        if self.scene.host.fs.find(&trees).is_err() {
            self.scene.host.directory(&trees, ann);
        }
        let own = format!("{trees}\\w{}", self.random.below(1000));
        if self.scene.host.fs.find(&own).is_ok() || self.scene.host.fs.find(git).is_ok() {
            return;
        }
        self.scene.host.directory(&own, ann);
        self.file(&format!("{own}\\commondir"), "../..\n");
        self.file(
            &format!("{own}\\gitdir"),
            &format!("{}\n", git.replace('\\', "/")),
        );
        self.file(git, &format!("gitdir: {}\n", own.replace('\\', "/")));
        self.promised.push(git.to_owned());
    }

    /// Settings of agents and editors: a directory, a file, a link that dangles.
    fn settings(&mut self, top: &str) {
        // Protected at the top of a root and of a repository.
        if top != WS && self.scene.host.fs.find(&format!("{top}\\.git")).is_err() {
            return;
        }
        let ann = self.scene.ann.sid;
        for name in [".codex", ".vscode", "AGENTS.md"] {
            let path = format!("{top}\\{name}");
            match self.pick(5) {
                0 => {
                    self.scene.host.directory(&path, ann);
                    self.file(&format!("{path}\\config.toml"), "");
                    self.promised.push(path);
                }
                1 => {
                    self.file(&path, "");
                    self.promised.push(path);
                }
                2 => {
                    self.link(&path, ReparseKind::Symlink, &format!("{top}\\nowhere"));
                    self.promised.push(path);
                }
                _ => {}
            }
        }
    }

    /// A descriptor as people, installers and earlier commands leave them; or one more name of a file.
    fn disturb(&mut self) {
        let fs = &self.scene.host.fs;
        let within: Vec<NodeId> = fs
            .nodes()
            .map(|(id, _)| id)
            .filter(|id| fs.is_below(*id, fs.find(WS).unwrap()))
            .collect();
        let top = fs.find(WS).unwrap();
        let id = within[self.random.below(within.len())];
        let is_file = fs.node(id).is_some_and(|node| !node.is_directory());
        let (ann, offline) = (self.scene.ann.sid, self.scene.ann.offline);
        let all = |sid| Ace::allow(AceFlags::INHERIT_ALL, AccessMask::FILE_ALL_ACCESS, sid);
        let own = self.scene.host.descriptor(id);
        match self.pick(5) {
            0 => self.put(
                id,
                SecurityDescriptor::new(
                    ann,
                    ann,
                    [all(Sid::EVERYONE), all(ann)].into_iter().collect(),
                ),
            ),
            1 => self.put(
                id,
                described(ann, &[all(ann), all(Sid::EVERYONE)]).protected(),
            ),
            2 => {
                let deny = Ace::deny(AceFlags::NONE, AccessMask::FILE_WRITE_DATA, Sid::GUESTS);
                self.put(id, described(ann, &[all(Sid::EVERYONE), deny, all(ann)]));
            }
            3 if id != top => {
                let list = [
                    all(offline),
                    all(Sid::OWNER_RIGHTS),
                    all(Sid::WRITE_RESTRICTED),
                    all(Sid::EVERYONE),
                    all(ann),
                ];
                self.put(id, described(offline, &list).protected());
            }
            4 if is_file => {
                let names = [format!("{OUTSIDE}\\linked"), format!("{WS}\\linked")];
                let name = names[self.random.below(2)].clone();
                if self.scene.host.fs.find(&name).is_err() {
                    let place = self.scene.host.place(&name);
                    self.scene.host.fs.place_link(&place, id).unwrap();
                }
            }
            _ => self.put(id, own),
        }
    }

    fn put(&mut self, id: NodeId, descriptor: SecurityDescriptor) {
        self.scene.host.describe(id, descriptor);
    }
}

fn reach(scene: &Scene, target: &Token, id: NodeId, class: WriteClass) -> AccessMask {
    let descriptor = scene.host.descriptor(id);
    maximum_allowed(&descriptor, target, &GenericMapping::FILE, class)
}

/// Nothing outside the root is changed, and under the narrowest policy nothing that was promised.
fn check_target(made: &Made, scene: &Scene, session: &Session, there: &[NodeId], narrowest: bool) {
    let fs = &scene.host.fs;
    let root = fs.find(WS).unwrap();
    let promised: Vec<NodeId> = made
        .promised
        .iter()
        .filter_map(|path| {
            // The link itself, not what it leads to.
            fs.lookup(&scene.host.place(path))
        })
        .collect();
    for class in HELD {
        for id in there {
            let is_kept = narrowest && promised.iter().any(|top| fs.is_below(*id, *top));
            let is_inside = fs.places(*id).all(|place| fs.is_below(place.parent, root));
            if is_kept || (*id != root && !is_inside) {
                let got = reach(scene, &session.target, *id, class) & CHANGES;
                assert!(got.is_empty(), "{} under {class:?}: {got}", fs.path_of(*id));
            }
        }
        let got = reach(scene, &session.target, root, class);
        assert!(
            got.contains(AccessMask::FILE_WRITE_DATA),
            "control: the root is written"
        );
    }
}

#[test]
fn what_holds_for_plans_holds_for_hosts_made_by_chance() {
    let hosts = Size::asked().of(40, 200);
    let (mut planned, mut refused) = (0, Vec::new());
    for seed in 0..hosts {
        let made = Made::new(seed);
        let mut scene = made.scene.clone();
        let ann = scene.ann.clone();
        let there: Vec<NodeId> = scene.host.fs.nodes().map(|(id, _)| id).collect();
        let start: Vec<_> = there.iter().map(|id| scene.host.descriptor(*id)).collect();
        let mut before: Option<Vec<AccessMask>> = None;
        let mut done: Vec<PersonStep> = Vec::new();
        for (index, policy) in POLICIES.iter().enumerate() {
            let plan = match scene.plan(&ann, WS, policy) {
                Ok(plan) => plan,
                Err(error) => {
                    refused.push(format!("{seed}: {error}"));
                    break;
                }
            };
            assert_eq!(
                scene.plan(&ann, WS, policy).unwrap().hash(),
                plan.hash(),
                "{seed}"
            );
            let found = lint(&plan, &scene.facts(&ann, WS, policy));
            let errors: Vec<_> = found
                .iter()
                .filter(|one| one.severity == Severity::Error)
                .collect();
            assert!(errors.is_empty(), "{seed} under {policy}: {errors:?}");
            let session = scene.start(&ann, WS, policy).unwrap();
            let again = scene.plan(&ann, WS, policy).unwrap();
            assert_eq!(again.person_steps, [], "{seed} under {policy}");
            check_target(&made, &scene, &session, &there, index + 1 == POLICIES.len());
            let now: Vec<AccessMask> = there
                .iter()
                .map(|id| reach(&scene, &session.target, *id, WriteClass::H2))
                .collect();
            if let Some(before) = &before {
                for ((id, wide), narrow) in there.iter().zip(before).zip(&now) {
                    let path = scene.host.fs.path_of(*id);
                    assert!(
                        wide.contains(*narrow),
                        "{seed} {path}: {narrow} not in {wide}"
                    );
                }
            }
            before = Some(now);
            done.extend(session.done);
            planned += 1;
        }
        let inverses: Vec<_> = done.iter().rev().map(PersonStep::inverse).collect();
        undo(&mut scene.host.fs, &inverses);
        for (id, was) in there.iter().zip(start) {
            let path = scene.host.fs.path_of(*id);
            assert_eq!(scene.host.descriptor(*id).dacl, was.dacl, "{seed} {path}");
        }
    }
    println!("{planned} planned, refused: {refused:?}");
    assert!(
        planned > hosts * 2,
        "control: most hosts are planned: {refused:?}"
    );
    record(&[
        "property",
        "plans of hosts made by chance",
        &planned.to_string(),
    ]);
}
