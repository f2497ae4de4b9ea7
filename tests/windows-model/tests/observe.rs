//! What the executor observes of hostile and of ordinary trees, on simulated files.

#![expect(
    clippy::expect_used,
    reason = "a world that can't be built is a failed test"
)]

use ringfence_nt::WriteClass;
use ringfence_nt::fs::{Node, NodeId, Reparse, ReparseKind};
use ringfence_plan::layout::{BackLink, Entry};
use ringfence_plan::windows::facts::{Reached, WindowsFacts, WindowsRoot};
use ringfence_plan::windows::{PlanError, WindowsLedger, plan};
use ringfence_windows_model::host::Host;
use ringfence_windows_model::observe::{Seat, observe};

const WORK: &str = "C:\\Users\\ada\\src\\app";

fn desk() -> (Host, Seat) {
    let (mut host, seat) = (Host::new(), Seat::new("ada", 1001));
    seat.move_in(&mut host);
    for path in ["C:\\Users\\ada\\src", WORK] {
        host.directory(path, seat.sid);
    }
    (host, seat)
}

fn write(host: &mut Host, seat: &Seat, path: &str, content: &str) -> NodeId {
    let id = host.file(path, seat.sid);
    let node = host.fs.node_mut(id).expect("just made");
    node.streams.insert(Vec::new(), content.as_bytes().to_vec());
    id
}

fn repository(host: &mut Host, seat: &Seat, git: &str) {
    for below in ["", "\\objects", "\\refs", "\\hooks"] {
        host.directory(&format!("{git}{below}"), seat.sid);
    }
    write(
        host,
        seat,
        &format!("{git}\\HEAD"),
        "ref: refs/heads/main\n",
    );
    write(
        host,
        seat,
        &format!("{git}\\config"),
        "[core]\n\tbare = false\n",
    );
}

fn junction(host: &mut Host, seat: &Seat, path: &str, target: &str) {
    let id = host.directory(path, seat.sid);
    let node: &mut Node = host.fs.node_mut(id).expect("just made");
    node.reparse = Some(Reparse {
        kind: ReparseKind::Junction,
        target: target.to_owned(),
    });
}

fn facts(host: &Host, seat: &Seat, workspace: &str, policy: &str) -> WindowsFacts {
    observe(host, seat, &seat.policy(workspace, policy), WriteClass::H2)
}

fn root(facts: &WindowsFacts) -> &WindowsRoot {
    facts.roots.first().expect("the workspace")
}

fn paths(list: &[ringfence_plan::windows::WindowsPath]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

#[test]
fn a_worktree_counts_as_its_own_only_where_the_repository_names_it() {
    let (mut host, seat) = desk();
    let main = "C:\\Users\\ada\\src\\main";
    host.directory(main, seat.sid);
    repository(&mut host, &seat, &format!("{main}\\.git"));
    let tree = format!("{main}\\.git\\worktrees\\app");
    host.directory(&format!("{main}\\.git\\worktrees"), seat.sid);
    host.directory(&tree, seat.sid);
    write(&mut host, &seat, &format!("{tree}\\commondir"), "../..\n");
    let link = write(
        &mut host,
        &seat,
        &format!("{tree}\\gitdir"),
        "C:/Users/ada/src/app/.git\n",
    );
    write(
        &mut host,
        &seat,
        &format!("{WORK}\\.git"),
        "gitdir: ../main/.git/worktrees/app\n",
    );
    let layout = |host: &Host| {
        let facts = facts(host, &seat, WORK, "[filesystem]\ngit = \"commit\"\n");
        root(&facts).anchors[0].git.clone().expect("a repository")
    };
    let own = layout(&host);
    assert_eq!(own.back_link, BackLink::Mutual);
    assert_eq!(own.common.to_string(), format!("{main}\\.git"));
    assert_eq!(own.directories.len(), 2);

    // Attack: the `.git` file names a repository that names another tree.
    host.fs
        .node_mut(link)
        .unwrap()
        .streams
        .insert(Vec::new(), b"C:/Users/ada/src/other/.git\n".to_vec());
    let others = layout(&host);
    assert_eq!(others.back_link, BackLink::OneSided);
    assert!(others.directories.is_empty());
}

#[test]
fn the_walk_leaves_the_root_by_no_junction_and_tells_what_has_a_name_outside() {
    let (mut host, seat) = desk();
    let outside = "C:\\Users\\ada\\src\\outside";
    host.directory(outside, seat.sid);
    repository(&mut host, &seat, &format!("{outside}\\.git"));
    write(&mut host, &seat, &format!("{outside}\\.env"), "TOKEN=x");
    junction(&mut host, &seat, &format!("{WORK}\\away"), outside);
    let kept = write(&mut host, &seat, &format!("{outside}\\kept"), "x");
    let place = host.place(&format!("{WORK}\\planted"));
    host.fs.place_link(&place, kept).unwrap();
    let twice = write(&mut host, &seat, &format!("{WORK}\\one"), "x");
    let place = host.place(&format!("{WORK}\\two"));
    host.fs.place_link(&place, twice).unwrap();

    let facts = facts(&host, &seat, WORK, "");
    let root = root(&facts);
    assert_eq!(root.anchors.len(), 1, "no repository behind the junction");
    assert_eq!(paths(&root.outside_links), [format!("{WORK}\\planted")]);
    assert!(facts.hidden.iter().all(|hidden| {
        !hidden
            .path
            .to_string()
            .starts_with(&format!("{WORK}\\away"))
    }),);

    // Control: the same tree without the junction's attribute is walked.
    let id = host.find(outside);
    assert!(host.fs.node(id).unwrap().reparse.is_none());
    let facts = self::facts(&host, &seat, outside, "");
    assert!(self::root(&facts).anchors[0].git.is_some());
}

#[test]
fn a_root_behind_links_is_told_with_each_of_them_and_a_circle_is_absent() {
    let (mut host, seat) = desk();
    junction(&mut host, &seat, "C:\\Users\\ada\\src\\link", "D:\\hop");
    junction(
        &mut host,
        &seat,
        "D:\\hop",
        "\\??\\C:\\Users\\ada\\src\\app",
    );
    junction(&mut host, &seat, "D:\\round", "D:\\round\\round");
    let facts = facts(&host, &seat, "C:\\Users\\ADA\\src\\LINK", "");
    let reached = &root(&facts).reached;
    let Reached::Directory { path } = reached else {
        panic!("{reached:?}");
    };
    // Spelt as the disk spells it, not as it was named.
    assert_eq!(path.to_string(), WORK);
    assert_eq!(
        paths(&root(&facts).links),
        ["C:\\Users\\ada\\src\\link", "D:\\hop"]
    );
    let circle = self::facts(&host, &seat, "D:\\round", "");
    assert_eq!(root(&circle).reached, Reached::Absent);
    let error = plan(
        &seat.policy("D:\\round", ""),
        &circle,
        &WindowsLedger::default(),
    );
    assert!(
        matches!(error, Err(PlanError::ForbiddenRoot { .. })),
        "{error:?}"
    );
}

#[test]
fn what_git_configuration_runs_in_a_root_is_found_through_includes() {
    let (mut host, seat) = desk();
    repository(&mut host, &seat, &format!("{WORK}\\.git"));
    write(
        &mut host,
        &seat,
        &seat.path(".gitconfig"),
        "[include]\n\tpath = C:/Users/ada/src/shared.inc\n[user]\n\tname = Ada\n\temail = ada@example.com\n",
    );
    write(
        &mut host,
        &seat,
        "C:\\Users\\ada\\src\\shared.inc",
        "[core]\n\thooksPath = tools/hooks\n\tfsmonitor = /c/Users/ada/src/app/watch.exe\n",
    );
    host.directory(&format!("{WORK}\\tools"), seat.sid);
    write(&mut host, &seat, &format!("{WORK}\\watch.exe"), "MZ");
    let facts = facts(&host, &seat, WORK, "");
    let found: Vec<(String, String, bool)> = facts
        .git_references
        .iter()
        .map(|one| {
            let present = one.entry == Entry::File;
            (one.key.clone(), one.path.to_string(), present)
        })
        .collect();
    assert_eq!(
        found,
        [
            (
                "core.hookspath".to_owned(),
                format!("{WORK}\\tools\\hooks"),
                false
            ),
            (
                "core.fsmonitor".to_owned(),
                format!("{WORK}\\watch.exe"),
                true
            ),
        ]
    );
    let identity = facts.person.git_identity.expect("an identity");
    assert_eq!(identity.email, "ada@example.com");
}

#[test]
fn keys_that_the_ssh_configuration_names_are_found_through_includes() {
    let (mut host, seat) = desk();
    for directory in [".ssh", ".ssh\\conf.d", "keys"] {
        host.directory(&seat.path(directory), seat.sid);
    }
    write(
        &mut host,
        &seat,
        &seat.path(".ssh\\config"),
        "Include conf.d/*\nHost *.example.com\n  IdentityFile ~/keys/work\n  IdentityFile \"~/keys/gone\"\n",
    );
    write(
        &mut host,
        &seat,
        &seat.path(".ssh\\conf.d\\more"),
        "identityfile=%d/keys/more\nControlPath ~/keys/%h\n",
    );
    for key in ["keys\\work", "keys\\more", "keys\\unnamed"] {
        write(&mut host, &seat, &seat.path(key), "key");
    }
    let facts = facts(&host, &seat, WORK, "");
    assert_eq!(
        paths(&facts.ssh_names),
        [seat.path("keys\\more"), seat.path("keys\\work")]
    );
}

#[test]
fn the_plan_needs_no_object_that_was_not_looked_at() {
    let (mut host, seat) = desk();
    repository(&mut host, &seat, &format!("{WORK}\\.git"));
    let deep = format!("{WORK}\\vendor\\lib");
    host.directory(&format!("{WORK}\\vendor"), seat.sid);
    host.directory(&deep, seat.sid);
    repository(&mut host, &seat, &format!("{WORK}\\mirror.git"));
    write(&mut host, &seat, &format!("{WORK}\\.env"), "TOKEN=x");
    host.directory(&seat.path(".aws"), seat.sid);
    for policy in [
        "",
        "[filesystem]\ngit = \"commit\"\n",
        "[filesystem]\ngit = \"full\"\n",
    ] {
        let facts = facts(&host, &seat, WORK, policy);
        let plan = plan(
            &seat.policy(WORK, policy),
            &facts,
            &WindowsLedger::default(),
        );
        let plan = plan.unwrap_or_else(|error| panic!("{policy}: {error}"));
        let bare = plan
            .held
            .iter()
            .any(|held| held.object.path.to_string().contains("mirror.git"));
        assert_eq!(bare, !policy.contains("full"), "{policy}");
    }
}
