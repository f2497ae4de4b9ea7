use std::fs;
use std::os::unix::fs::symlink;

use ringfence_policy::document::PolicyDocument;

use super::*;
use crate::load::{LoadRequest, load_policy};
use crate::state::StateDirectory;

struct Desk {
    base: tempfile::TempDir,
    policy: Policy,
}

/// A workspace, a root that is named through a link, and a directory that no command may write.
fn desk(document: impl FnOnce(&mut PolicyDocument)) -> Desk {
    let base = tempfile::tempdir().unwrap();
    let path = |name: &str| base.path().canonicalize().unwrap().join(name);
    for name in ["work/.ringfence", "work/.git", "root", "home", "own"] {
        fs::create_dir_all(path(name)).unwrap();
    }
    symlink(path("root"), path("link-to-root")).unwrap();
    let absolute = |name| AbsolutePath::new(path(name)).unwrap();
    let mut request = LoadRequest {
        managed: path("managed.toml"),
        ..LoadRequest::new(absolute("work"), absolute("home"))
    };
    let root = path("link-to-root").to_str().unwrap().to_owned();
    request.command_line.filesystem.writable_roots = vec![root];
    document(&mut request.command_line);
    let state = StateDirectory::at(&path("state")).unwrap();
    let policy = load_policy(&request, &state).unwrap().policy;
    Desk { base, policy }
}

impl Desk {
    fn path(&self, name: &str) -> PathBuf {
        self.base.path().canonicalize().unwrap().join(name)
    }

    fn check(&self, name: &str) -> Result<(), OwnFileError> {
        check(&self.policy, OwnFile::Events, &self.path(name))
    }
}

#[test]
fn what_lies_in_a_root_is_refused_present_or_absent_by_every_name() {
    let desk = desk(|_| {});
    fs::write(desk.path("work/present"), "").unwrap();
    symlink(desk.path("work"), desk.path("own/way")).unwrap();
    for name in [
        "work/present",
        "work/absent",
        "work/no/such/directory",
        "work/.ringfence/../present",
        "root/absent",
        "link-to-root/absent",
        "own/way/absent",
        "own/../work/present",
    ] {
        let error = desk.check(name).unwrap_err();
        assert!(
            matches!(error, OwnFileError::InRoot { .. }),
            "{name}: {error:?}"
        );
        assert_eq!(error.exit_code().code(), 101);
    }
    // The control, and what a session never writes.
    for name in [
        "own/absent",
        "work/.ringfence/events",
        "work/.git/events",
        "work-beside",
    ] {
        desk.check(name).unwrap();
    }
}

#[test]
fn a_link_in_a_root_leads_nobody() {
    let desk = desk(|_| {});
    fs::write(desk.path("own/file"), "").unwrap();
    symlink(desk.path("own/file"), desk.path("work/file")).unwrap();
    symlink(desk.path("own/nothing"), desk.path("work/dangling")).unwrap();
    symlink(desk.path("own"), desk.path("work/directory")).unwrap();
    symlink(desk.path("work/directory"), desk.path("own/round")).unwrap();
    for name in [
        "work/file",
        "work/dangling",
        "work/directory/file",
        "own/round/file",
    ] {
        let error = desk.check(name).unwrap_err();
        assert!(
            matches!(error, OwnFileError::LinkInRoot { .. }),
            "{name}: {error:?}"
        );
    }
    symlink(desk.path("own/file"), desk.path("own/link")).unwrap();
    desk.check("own/link").unwrap();
}

#[test]
fn a_second_name_is_refused() {
    let desk = desk(|_| {});
    fs::write(desk.path("own/file"), "").unwrap();
    desk.check("own/file").unwrap();
    fs::hard_link(desk.path("own/file"), desk.path("work/other")).unwrap();
    // Its owner may write it whatever its mode says now.
    for mode in [0o600, 0o400] {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        fs::set_permissions(desk.path("own/file"), mode).unwrap();
        let error = desk.check("own/file").unwrap_err();
        assert!(
            matches!(error, OwnFileError::OtherNames { names: 2, .. }),
            "{error:?}"
        );
    }
}

#[test]
fn a_git_directory_that_may_be_committed_to_is_no_place() {
    use ringfence_policy::document::GitAccess;
    let desk = desk(|document| document.filesystem.git = Some(GitAccess::Commit));
    assert!(desk.check("work/.git/events").is_err());
    desk.check("work/.ringfence/events").unwrap();
}

#[test]
fn a_stream_is_no_file_that_a_command_could_write() {
    let desk = desk(|_| {});
    let (_reader, writer) = io::pipe().unwrap();
    let name = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&writer));
    check(&desk.policy, OwnFile::Events, Path::new(&name)).unwrap();
    check(&desk.policy, OwnFile::Events, Path::new("/dev/null")).unwrap();
    // But a stream that is a file in a root is that file.
    let file = fs::File::create(desk.path("work/log")).unwrap();
    let name = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    check(&desk.policy, OwnFile::Events, Path::new(&name)).unwrap_err();
}
