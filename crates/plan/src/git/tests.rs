//! Repositories on a disk that is a list of texts.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::{Path, PathBuf};

use ringfence_policy::layers::{Context, resolve};
use ringfence_policy::secrets::Platform;
use ringfence_policy::{AbsolutePath, Policy};

use super::{Disk, Links, Place, Probed, Root, layout, references};
use crate::layout::{Anchor, BackLink, Entry, GitLayout, GitRole, Kind};

/// What stands at a path.
#[derive(Clone, Debug)]
enum Node {
    File(&'static str),
    Directory,
    /// A directory that nobody may look into.
    Closed,
}

/// Paths with slashes, without links.
#[derive(Default)]
struct Texts(BTreeMap<String, Node>);

impl Texts {
    fn of(files: &[(&str, &'static str)]) -> Self {
        let mut texts = Self::default();
        for (path, content) in files {
            texts.put(path, Node::File(content));
        }
        texts
    }

    fn put(&mut self, path: &str, node: Node) {
        for (end, _) in path.match_indices('/').skip(1) {
            self.0
                .entry(path[..end].to_owned())
                .or_insert(Node::Directory);
        }
        self.0.insert(path.to_owned(), node);
    }
}

fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

impl Disk for Texts {
    type Path = String;
    type Error = Infallible;

    fn below(&self, directory: &String, name: &str) -> Option<String> {
        Some(normal(&format!("{directory}/{name}")))
    }
    fn above(&self, path: &String) -> Option<String> {
        let (above, _) = path.rsplit_once('/')?;
        (path != "/").then(|| normal(above))
    }
    fn is_within(&self, path: &String, directory: &String) -> bool {
        Path::new(path).starts_with(directory)
    }
    fn written(&self, path: &String) -> PathBuf {
        PathBuf::from(path)
    }
    fn resolve(&mut self, path: &String) -> Result<Option<Place<String>>, Infallible> {
        let kind = self.0.get(path).map(|node| match node {
            Node::File(_) => Kind::File,
            Node::Directory | Node::Closed => Kind::Directory,
        });
        Ok(Some(Place {
            path: path.clone(),
            links: Links::Refused,
            kind,
        }))
    }
    fn follow(&mut self, base: &String, value: &[u8]) -> Result<Option<Place<String>>, Infallible> {
        let value = std::str::from_utf8(value).expect("text");
        let joined = Path::new(base).join(value);
        self.resolve(&normal(joined.to_str().expect("text")))
    }
    fn probe(&mut self, path: &String) -> Result<Probed<String>, Infallible> {
        let entry = match self.0.get(path) {
            None => Entry::Absent,
            Some(Node::File(_)) => Entry::File,
            Some(Node::Directory | Node::Closed) => Entry::Directory,
        };
        Ok((path.clone(), entry))
    }
    fn probe_written(&mut self, written: &Path) -> Result<Vec<Probed<String>>, Infallible> {
        let path = normal(written.to_str().expect("text"));
        Ok(vec![self.probe(&path)?])
    }
    fn directories(&mut self, directory: &String) -> Result<Option<Vec<String>>, Infallible> {
        if let Some(Node::Closed) = self.0.get(directory) {
            return Ok(None);
        }
        let found = self.0.iter().filter(|(path, node)| {
            matches!(node, Node::Directory | Node::Closed)
                && self.above(path).as_ref() == Some(directory)
        });
        Ok(Some(found.map(|(path, _)| path.clone()).collect()))
    }
    fn read(&mut self, file: &String, _: Links) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(match self.0.get(file) {
            Some(Node::File(content)) => Some(content.as_bytes().to_vec()),
            Some(Node::Directory | Node::Closed) | None => None,
        })
    }
    fn configuration(&mut self, written: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>, Infallible> {
        let path = normal(written.to_str().expect("text"));
        let content = self.read(&path, Links::Followed)?;
        let directory = written.parent().expect("a directory").to_owned();
        Ok(content
            .map(|content| (directory, content))
            .into_iter()
            .collect())
    }
}

fn policy(git: &str) -> Policy {
    let path = |path: &str| AbsolutePath::new(path).expect("absolute");
    let context = Context {
        home: path("/home"),
        workspace: path("/w"),
        state: path("/home/state"),
        platform: Platform::Linux,
    };
    let mut policy = resolve(&[], &context).expect("a policy");
    policy.filesystem.git.value = serde_json::from_value(serde_json::json!(git)).expect("a value");
    policy
}

fn layout_of(disk: &mut Texts, top: &str) -> Option<GitLayout<String>> {
    let top = top.to_owned();
    let (_, entry) = disk.probe(&format!("{top}/.git")).expect("infallible");
    layout(disk, &policy("commit"), &top, &entry).expect("infallible")
}

fn roles(layout: &GitLayout<String>) -> Vec<(&str, GitRole)> {
    layout
        .directories
        .iter()
        .map(|directory| (directory.path.as_str(), directory.role))
        .collect()
}

#[test]
fn submodules_and_working_trees_are_found_at_any_depth() {
    let mut disk = Texts::of(&[
        ("/w/.git/HEAD", ""),
        ("/w/.git/modules/a/HEAD", ""),
        ("/w/.git/modules/a/modules/b/HEAD", ""),
        ("/w/.git/modules/group/c/HEAD", ""),
        ("/w/.git/worktrees/other/gitdir", ""),
    ]);
    let layout = layout_of(&mut disk, "/w").expect("a layout");
    assert_eq!(layout.back_link, BackLink::Mutual);
    assert_eq!(
        roles(&layout),
        [
            ("/w/.git", GitRole::Own),
            ("/w/.git/worktrees/other", GitRole::OtherWorktree),
            ("/w/.git/modules/a", GitRole::Module),
            ("/w/.git/modules/a/modules/b", GitRole::Module),
            ("/w/.git/modules/group/c", GitRole::Module),
        ]
    );
}

#[test]
fn what_can_not_be_looked_into_is_closed_whole() {
    let mut disk = Texts::of(&[("/w/.git/HEAD", ""), ("/w/.git/modules/a/HEAD", "")]);
    disk.put("/w/.git/worktrees", Node::Closed);
    disk.put("/w/.git/modules/a/modules", Node::Closed);
    disk.put("/w/.git/modules/group", Node::Closed);
    let layout = layout_of(&mut disk, "/w").expect("a layout");
    assert_eq!(
        roles(&layout),
        [
            ("/w/.git", GitRole::Own),
            ("/w/.git/worktrees", GitRole::Unread),
            ("/w/.git/modules/a", GitRole::Module),
            ("/w/.git/modules/a/modules", GitRole::Unread),
            ("/w/.git/modules/group", GitRole::Unread),
        ]
    );
}

#[test]
fn submodules_below_all_that_is_followed_are_closed_whole() {
    let mut disk = Texts::of(&[("/w/.git/HEAD", "")]);
    disk.put(
        &format!("/w/.git/modules{}", "/a".repeat(20)),
        Node::Directory,
    );
    let layout = layout_of(&mut disk, "/w").expect("a layout");
    let deepest = format!("/w/.git/modules{}", "/a".repeat(16));
    assert_eq!(
        roles(&layout),
        [
            ("/w/.git", GitRole::Own),
            (deepest.as_str(), GitRole::Unread)
        ]
    );
}

#[test]
fn a_git_directory_elsewhere_has_to_name_the_tree_in_turn() {
    let elsewhere = [
        ("/w/.git", "gitdir: ../o/.git/worktrees/w\n"),
        ("/o/.git/worktrees/w/commondir", "../..\n"),
        ("/o/.git/HEAD", ""),
    ];
    for (gitdir, back_link) in [
        ("/w/.git\n", BackLink::Mutual),
        ("../../../../w/.git\n", BackLink::Mutual),
        ("/x/.git\n", BackLink::OneSided),
        ("\n", BackLink::OneSided),
        ("/w/.git\0", BackLink::OneSided),
    ] {
        let mut disk = Texts::of(&elsewhere);
        disk.put("/o/.git/worktrees/w/gitdir", Node::File(gitdir));
        let layout = layout_of(&mut disk, "/w").expect("a layout");
        assert_eq!(layout.common, "/o/.git");
        assert_eq!(layout.back_link, back_link, "{gitdir:?}");
    }
    let submodule = |worktree| {
        let mut disk = Texts::of(&[("/w/sub/.git", "gitdir: ../.git/modules/sub\n")]);
        disk.put("/w/.git/modules/sub/config", Node::File(worktree));
        layout_of(&mut disk, "/w/sub").expect("a layout").back_link
    };
    let named = submodule("[core]\nworktree = ../../../sub\n");
    assert_eq!(named, BackLink::Mutual);
    let other = submodule("[core]\nworktree = ../../../other\n");
    assert_eq!(other, BackLink::OneSided);
}

#[test]
fn broken_repositories_are_none() {
    for dot_git in [
        "",
        "gitdir:",
        "gitdir: nowhere",
        "gitdir: file",
        "no\ngitdir: .",
        "gitdir: \0",
    ] {
        let mut disk = Texts::of(&[("/w/file", "")]);
        disk.put(
            "/w/.git",
            Node::File(Box::leak(dot_git.to_owned().into_boxed_str())),
        );
        assert_eq!(layout_of(&mut disk, "/w"), None, "{dot_git:?}");
    }
}

#[test]
fn configuration_above_a_root_and_of_the_person_counts_through_its_includes() {
    let mut disk = Texts::of(&[
        ("/home/.gitconfig", "[include]\npath = more/inc\n"),
        (
            "/home/more/inc",
            "[core]\nhooksPath = tools/hooks\n[include]\npath = inc\n",
        ),
        ("/p/.git/HEAD", ""),
        ("/p/.git/config", "[core]\nfsmonitor = w/watch\n"),
        ("/p/w/.git/HEAD", ""),
    ]);
    let top = "/p/w".to_owned();
    let anchors = [Anchor {
        path: top.clone(),
        names: Vec::new(),
        git: layout_of(&mut disk, "/p/w"),
    }];
    let root = Root {
        top: Some(&top),
        anchors: &anchors,
        bare: &[],
    };
    let global = [PathBuf::from("/home/.gitconfig")];
    let home = "/home".to_owned();
    let found =
        references(&mut disk, &policy("read-only"), &home, &global, &[root]).expect("infallible");
    let found: Vec<_> = found
        .iter()
        .map(|one| (one.key.as_str(), one.path.as_str()))
        .collect();
    assert_eq!(
        found,
        [
            ("core.hookspath", "/p/w/tools/hooks"),
            ("core.fsmonitor", "/p/w/watch"),
        ]
    );
}
