//! The worlds that are searched: each a machine on which sessions run, with what their person was promised.
//!
//! What is promised is told by path, from a person's view, and not read from the plan: a planner that forgets a path
//! must not make its own judge forget it. Invariant: every world has a session under attack, and passes its controls.

use ringfence_nt::fs::{NewKind, NodeId, Place};
use ringfence_nt::{
    AccessMask, Ace, AceFlags, Acl, Control, CreatorDescriptor, Dacl, Sid, WriteClass,
};

use crate::carry::node_of;
use crate::guarded::guarded;
use crate::host::name;
use crate::mutate::Mutation;
use crate::scene::{Blocked, EVERYONE_ALL, LOOSE, STRICT, Scene, Session, harness, put_first};
use crate::world::World;

/// Builds a world for a hypothesis, with its plans broken or whole.
pub type Build = fn(WriteClass, Option<Mutation>) -> Result<World, Blocked>;

/// Every world, by what makes it another than the rest.
pub const WORLDS: [(&str, Build); 8] = [
    ("two people, two roots", Scene::standard),
    ("shared with everyone", Scene::shared),
    ("two roots of one session", Scene::two_roots),
    ("a root in a root", Scene::nested),
    ("the inner of two roots", Scene::inner),
    ("git = commit", Scene::committing),
    ("git = full", Scene::whole_repository),
    ("the Online account", Scene::online),
];

/// A list of its own that gives `owner` everything, as Python's `mkdir(0o700)` makes one.
fn owned_by(owner: Sid) -> CreatorDescriptor {
    let all = |sid| Ace::allow(AceFlags::INHERIT_ALL, AccessMask::FILE_ALL_ACCESS, sid);
    CreatorDescriptor {
        dacl: Some(Dacl::Present(Acl::new(vec![all(Sid::SYSTEM), all(owner)]))),
        control: Control::DACL_PROTECTED,
        ..CreatorDescriptor::default()
    }
}

/// What a person says of the roots of a session.
struct Told<'a> {
    /// Must stay, and does exist.
    protected: &'a [&'a str],
    /// Must be swept, and does not exist.
    absent: &'a [&'a str],
    /// Must not be read, beside what every world hides.
    secrets: &'a [&'a str],
}

impl Scene {
    /// Two people, two roots of one of them, all sessions running.
    ///
    /// # Errors
    /// [`Blocked`]: what a target must be able to do it can't.
    pub fn standard(class: WriteClass, mutation: Option<Mutation>) -> Result<World, Blocked> {
        let mut scene = Self::new(class);
        scene.mutation = mutation;
        let (ann, bob) = (scene.ann.clone(), scene.bob.clone());
        scene.project(&ann.path("ws"), ann.sid);
        scene.host.directory(&ann.path("notes"), ann.sid);
        scene.host.file(&ann.path("notes\\n.txt"), ann.sid);
        scene.host.directory(&bob.path("work"), bob.sid);
        scene.host.file(&bob.path("work\\w.txt"), bob.sid);
        let theirs = scene.start(&bob, &bob.path("work"), "")?;
        let other = scene.start(&ann, &ann.path("notes"), LOOSE)?;
        scene.make(&theirs, &bob.path("work\\made"), NewKind::Directory, None)?;
        scene.make(&other, &ann.path("notes\\made"), NewKind::Directory, None)?;
        scene.make(&other, &ann.path("notes\\made\\m.txt"), NewKind::File, None)?;
        // An earlier session under the same policy: what it made is owned by the account.
        let earlier = scene.start(&ann, &ann.path("ws"), STRICT)?;
        scene.make(&earlier, &ann.path("ws\\src\\built"), NewKind::File, None)?;
        // The person fills it in afterwards: a secret that the account owns.
        scene.make(&earlier, &ann.path("ws\\lib\\.env"), NewKind::File, None)?;
        // And moves a script of the workspace to the hooks, which git then runs outside.
        let script = ann.path("ws\\src\\script");
        scene.make(&earlier, &script, NewKind::File, None)?;
        scene.person_moves(&ann, &script, &ann.path("ws\\.git\\hooks\\script"))?;
        let session = scene.start(&ann, &ann.path("ws"), STRICT)?;
        Ok(scene.world("two people, two roots", &session, &[&other, &theirs]))
    }

    /// A project that Everyone has full control of, in which an earlier session could write the repository too, and
    /// left a directory whose list gives the owner everything (as Python's `mkdir(0o700)` does).
    ///
    /// # Errors
    /// [`Blocked`]: what a target must be able to do it can't.
    pub fn shared(class: WriteClass, mutation: Option<Mutation>) -> Result<World, Blocked> {
        let mut scene = Self::new(class);
        scene.mutation = mutation;
        let ann = scene.ann.clone();
        let top = scene.host.directory(&ann.path("ws"), ann.sid);
        let mut own = scene.host.descriptor(top);
        put_first(&mut own, EVERYONE_ALL);
        scene.host.describe(top, own);
        scene.project(&ann.path("ws"), ann.sid);
        let earlier = scene.start(&ann, &ann.path("ws"), LOOSE)?;
        let owner_alone = owned_by(Sid::OWNER_RIGHTS);
        let given = Some(&owner_alone);
        for own in [".vscode", ".git\\own"] {
            let path = ann.path(&format!("ws\\{own}"));
            scene.make(&earlier, &path, NewKind::Directory, given)?;
        }
        // And one that every restricted token passes: what no deny takes of it, targets have.
        let mut named = owned_by(ann.offline);
        if let Some(Dacl::Present(acl)) = &mut named.dacl {
            let all = |sid| Ace::allow(AceFlags::INHERIT_ALL, AccessMask::FILE_ALL_ACCESS, sid);
            acl.aces
                .extend([Sid::EVERYONE, Sid::WRITE_RESTRICTED].map(all));
        }
        scene.make(
            &earlier,
            &ann.path("ws\\.git\\named"),
            NewKind::Directory,
            Some(&named),
        )?;
        scene.end_command(&earlier);
        let session = scene.start(&ann, &ann.path("ws"), STRICT)?;
        let mut world = scene.world("shared with everyone", &session, &[]);
        world
            .protected
            .push(scene.host.find(&ann.path("ws\\.vscode")));
        world.absent.retain(|place| place.name != name(".vscode"));
        Ok(world)
    }

    /// One session with two roots on two volumes, a repository in each.
    ///
    /// # Errors
    /// [`Blocked`]: what a target must be able to do it can't.
    pub fn two_roots(class: WriteClass, mutation: Option<Mutation>) -> Result<World, Blocked> {
        let mut scene = Self::new(class);
        scene.mutation = mutation;
        let ann = scene.ann.clone();
        scene.project(&ann.path("ws"), ann.sid);
        scene.project("D:\\second", ann.sid);
        let policy = format!("{STRICT}writable_roots = [\"D:/second\"]\n");
        let session = scene.start(&ann, &ann.path("ws"), &policy)?;
        Ok(scene.told(
            "two roots of one session",
            &session,
            &[],
            &Told {
                protected: &[
                    "ws\\.git",
                    "ws\\lib\\.git",
                    "D:\\second\\.git",
                    "D:\\second\\lib\\.git",
                ],
                absent: &["ws\\.codex", "D:\\second\\.codex"],
                secrets: &["ws\\.env", "D:\\second\\.env"],
            },
        ))
    }

    /// Ann's workspace, with another project of hers below it.
    fn project_in_project(class: WriteClass, mutation: Option<Mutation>) -> Self {
        let mut scene = Self::new(class);
        scene.mutation = mutation;
        let ann = scene.ann.clone();
        scene.project(&ann.path("ws"), ann.sid);
        scene.host.directory(&ann.path("ws\\parts"), ann.sid);
        scene.project(&ann.path("ws\\parts\\vendor"), ann.sid);
        scene
    }

    /// A root in another root of the same session, each with a repository.
    ///
    /// # Errors
    /// [`Blocked`]: what a target must be able to do it can't.
    pub fn nested(class: WriteClass, mutation: Option<Mutation>) -> Result<World, Blocked> {
        let mut scene = Self::project_in_project(class, mutation);
        let ann = scene.ann.clone();
        let policy = format!("{STRICT}writable_roots = [\"C:/Users/ann/ws/parts/vendor\"]\n");
        // An earlier session wrote the whole tree, the repositories too.
        scene.start(&ann, &ann.path("ws"), LOOSE)?;
        let session = scene.start(&ann, &ann.path("ws"), &policy)?;
        Ok(scene.told("a root in a root", &session, &[], &NESTED))
    }

    /// The inner of two roots, after sessions of the outer one.
    ///
    /// # Errors
    /// [`Blocked`]: what a target must be able to do it can't.
    pub fn inner(class: WriteClass, mutation: Option<Mutation>) -> Result<World, Blocked> {
        let mut scene = Self::project_in_project(class, mutation);
        let ann = scene.ann.clone();
        let vendor = ann.path("ws\\parts\\vendor");
        // In turns: each takes back what the other granted.
        for root in [&ann.path("ws"), &vendor, &ann.path("ws")] {
            scene.start(&ann, root, STRICT)?;
        }
        let session = scene.start(&ann, &vendor, STRICT)?;
        Ok(scene.told("the inner of two roots", &session, &[], &NESTED))
    }

    /// Commits are let in: hooks, configuration and what leads git elsewhere stay, also of a submodule.
    ///
    /// # Errors
    /// [`Blocked`]: what a target must be able to do it can't.
    pub fn committing(class: WriteClass, mutation: Option<Mutation>) -> Result<World, Blocked> {
        let mut scene = Self::new(class);
        scene.mutation = mutation;
        let ann = scene.ann.clone();
        scene.project(&ann.path("ws"), ann.sid);
        let at = |below: &str| ann.path(&format!("ws\\{below}"));
        for directory in [
            "sub",
            ".git\\objects",
            ".git\\modules",
            ".git\\modules\\sub",
        ] {
            scene.host.directory(&at(directory), ann.sid);
        }
        for (file, content) in [
            (".git\\HEAD", "ref: refs/heads/main\n"),
            ("sub\\.git", "gitdir: ../.git/modules/sub\n"),
            (
                ".git\\modules\\sub\\config",
                "[core]\n\tworktree = ../../../sub\n",
            ),
        ] {
            scene.host.file_of(&at(file), ann.sid, content.as_bytes());
        }
        let policy = "[filesystem]\ngit = \"commit\"\ndeny_read = [\"D:/keys\"]\n";
        let session = scene.start(&ann, &ann.path("ws"), policy)?;
        let mut world = scene.told(
            "git = commit",
            &session,
            &[],
            &Told {
                protected: &[
                    "ws\\.git\\hooks",
                    "ws\\.git\\config",
                    "ws\\lib\\.git\\config",
                    "ws\\.git\\modules\\sub\\config",
                    "ws\\sub\\.git",
                ],
                absent: &[
                    "ws\\.git\\commondir",
                    "ws\\.git\\info",
                    "ws\\lib\\.git\\hooks",
                    "ws\\.git\\modules\\sub\\hooks",
                    "ws\\.codex",
                ],
                secrets: &["ws\\.env"],
            },
        );
        world.names = vec![name("hooks"), name("n")];
        Ok(world)
    }

    /// The whole repository may be written; what else is protected stays.
    ///
    /// # Errors
    /// [`Blocked`]: what a target must be able to do it can't.
    pub fn whole_repository(
        class: WriteClass,
        mutation: Option<Mutation>,
    ) -> Result<World, Blocked> {
        let mut scene = Self::new(class);
        scene.mutation = mutation;
        let ann = scene.ann.clone();
        scene.project(&ann.path("ws"), ann.sid);
        scene.host.directory(&ann.path("ws\\.vscode"), ann.sid);
        scene
            .host
            .file(&ann.path("ws\\.vscode\\tasks.json"), ann.sid);
        // What a stricter policy denied before is given back.
        scene.start(&ann, &ann.path("ws"), STRICT)?;
        let session = scene.start(&ann, &ann.path("ws"), LOOSE)?;
        Ok(scene.told(
            "git = full",
            &session,
            &[],
            &Told {
                protected: &["ws\\.vscode"],
                absent: &["ws\\.codex", "ws\\lib\\.vscode"],
                secrets: &["ws\\.env"],
            },
        ))
    }

    /// A session with an open network on a root that an Offline one has too.
    ///
    /// # Errors
    /// [`Blocked`]: what a target must be able to do it can't.
    pub fn online(class: WriteClass, mutation: Option<Mutation>) -> Result<World, Blocked> {
        let mut scene = Self::new(class);
        scene.mutation = mutation;
        let ann = scene.ann.clone();
        scene.project(&ann.path("ws"), ann.sid);
        let offline = scene.start(&ann, &ann.path("ws"), STRICT)?;
        let made = [("ws\\src\\built", None), ("ws\\lib\\.env", None)];
        for (file, given) in made {
            scene.make(&offline, &ann.path(file), NewKind::File, given)?;
        }
        let policy = format!("{STRICT}[network]\nmode = \"open\"\n");
        let session = scene.start(&ann, &ann.path("ws"), &policy)?;
        let told = Told {
            protected: &["ws\\.git", "ws\\lib\\.git"],
            absent: &["ws\\.codex"],
            secrets: &["ws\\.env", "ws\\lib\\.env"],
        };
        Ok(scene.told("the Online account", &session, &[&offline], &told))
    }

    /// Commands of the person themselves, held by the second pass alone: they read what the person reads.
    ///
    /// # Errors
    /// [`Blocked`]: what a target must be able to do it can't.
    pub fn same_user(class: WriteClass, mutation: Option<Mutation>) -> Result<World, Blocked> {
        let mut scene = Self::new(class);
        scene.mutation = mutation;
        let ann = scene.ann.clone();
        scene.project(&ann.path("ws"), ann.sid);
        scene.project(&ann.path("notes"), ann.sid);
        let policy = "[windows]\nsandbox = \"unelevated\"\n";
        let other = scene.start(&ann, &ann.path("notes"), policy)?;
        let session = scene.start(&ann, &ann.path("ws"), policy)?;
        let told = Told {
            protected: &["ws\\.git", "ws\\lib\\.git", "ws\\.env"],
            absent: &["ws\\.codex"],
            secrets: &[],
        };
        let mut world = scene.told(
            "commands of the person themselves",
            &session,
            &[&other],
            &told,
        );
        world.secrets = vec![scene.host.find(&scene.bob.path(".ssh"))];
        Ok(world)
    }

    /// What the target of `session` attacks in the project of the standard scene.
    #[must_use]
    pub fn world(&self, title: &str, session: &Session, siblings: &[&Session]) -> World {
        self.told(title, session, siblings, &PROJECT)
    }

    /// What the target of `session` attacks; what does not exist is not promised to stay.
    fn told(
        &self,
        title: &str,
        session: &Session,
        siblings: &[&Session],
        told: &Told<'_>,
    ) -> World {
        let (host, ann) = (&self.host, &self.ann);
        let full = |path: &str| {
            if path.contains(':') {
                path.to_owned()
            } else {
                ann.path(path)
            }
        };
        let existing = |paths: &[&str]| -> Vec<NodeId> {
            paths
                .iter()
                .filter_map(|path| host.fs.find(&full(path)).ok())
                .collect()
        };
        let mut roots: Vec<NodeId> = Vec::new();
        for root in &session.plan.roots {
            roots.extend(node_of(root.object.id));
            roots.extend(host.fs.find(&root.home.to_string()).ok());
        }
        let mut secrets = existing(told.secrets);
        secrets.extend(existing(&[".ssh", "D:\\keys"]));
        secrets.extend(existing(&[&self.bob.path(".ssh"), &self.bob.path("work")]));
        let absent: Vec<Place> = told
            .absent
            .iter()
            .map(|path| host.place(&full(path)))
            .collect();
        World {
            name: title.to_owned(),
            fs: host.fs.clone(),
            target: session.target.clone(),
            harness: harness(ann),
            straightened: roots
                .iter()
                .copied()
                .chain(
                    session
                        .plan
                        .emptiable()
                        .filter_map(|object| node_of(object.id)),
                )
                .collect(),
            roots,
            protected: existing(told.protected),
            absent,
            secrets,
            quarantine: host.find(&ann.path("AppData\\Local\\Ringfence\\quarantine")),
            guarded: guarded(session, siblings),
            names: vec![name(".codex"), name("n")],
            redirects: vec![ann.path("notes")],
        }
    }
}

/// The project of the standard scene.
const PROJECT: Told<'_> = Told {
    protected: &["ws\\.git", "ws\\lib\\.git"],
    absent: &["ws\\.codex", "ws\\.vscode"],
    secrets: &["ws\\.env", "ws\\lib\\.env"],
};

/// A project in a project.
const NESTED: Told<'_> = Told {
    protected: &[
        "ws\\.git",
        "ws\\lib\\.git",
        "ws\\parts\\vendor\\.git",
        "ws\\parts\\vendor\\lib\\.git",
    ],
    absent: &["ws\\.codex", "ws\\parts\\vendor\\.codex"],
    secrets: &["ws\\.env", "ws\\parts\\vendor\\.env"],
};
