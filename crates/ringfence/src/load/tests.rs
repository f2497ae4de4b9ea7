use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};

use ringfence_policy::document::Mode;
use tempfile::TempDir;

use super::*;
use crate::state::file::tests::is_given_away;

/// What only a layer that is believed may say.
const WIDER: &str = "[filesystem]\ndeny_read = [\"/srv/secret\"]\n";
/// Asks for more than the defaults give.
const WIDENING: &str = "[filesystem]\nunprotected = [\"AGENTS.md\"]\n";

struct Desk {
    _directory: TempDir,
    base: PathBuf,
    state: StateDirectory,
    request: LoadRequest,
}

fn desk() -> Desk {
    let directory = tempfile::tempdir().unwrap();
    let base = directory.path().canonicalize().unwrap();
    fs::set_permissions(&base, Permissions::from_mode(0o755)).unwrap();
    let make = |name: &str| {
        fs::create_dir_all(base.join(name)).unwrap();
        AbsolutePath::new(base.join(name)).unwrap()
    };
    let (workspace, home) = (make("work"), make("home"));
    make("work/.ringfence");
    make("home/.config/ringfence");
    make("managed");
    let state = StateDirectory::at(&base.join("state")).unwrap();
    let request = LoadRequest {
        managed: base.join("managed/policy.toml"),
        ..LoadRequest::new(workspace, home)
    };
    Desk {
        _directory: directory,
        base,
        state,
        request,
    }
}

impl Desk {
    fn load(&self) -> Result<Loaded, LoadError> {
        load_policy(&self.request, &self.state)
    }

    fn managed(&self) -> &Path {
        &self.request.managed
    }

    fn user(&self) -> PathBuf {
        self.base.join("home/.config/ringfence/policy.toml")
    }

    fn project(&self) -> PathBuf {
        self.base.join("work").join(PROJECT_POLICY)
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn protects_agents(loaded: &Loaded) -> bool {
    let protected = &loaded.policy.filesystem.protected;
    protected.iter().any(|name| name.value == "AGENTS.md")
}

#[test]
fn a_managed_file_that_others_may_write_is_not_believed() {
    let desk = desk();
    // The administrator is who owns `/`; as anybody else, our own files are never the administrator's.
    let administrator = rustix::process::geteuid().is_root();
    fs::write(desk.managed(), WIDER).unwrap();
    set_mode(desk.managed(), 0o644);
    match desk.load() {
        Ok(loaded) => {
            assert!(administrator);
            assert_eq!(loaded.layers[0].kind, LayerKind::Managed);
        }
        Err(error) => {
            assert!(!administrator, "{error:?}");
            assert!(matches!(error, LoadError::ManagedNotBelieved { .. }));
        }
    }
    let parent = desk.managed().parent().unwrap();
    for (path, mode) in [
        (desk.managed(), 0o664),
        (desk.managed(), 0o646),
        (parent, 0o775),
        (parent, 0o1777),
    ] {
        set_mode(desk.managed(), 0o644);
        set_mode(parent, 0o755);
        set_mode(path, mode);
        let error = desk.load().unwrap_err();
        assert!(
            matches!(&error, LoadError::ManagedNotBelieved { .. }),
            "{mode:o}: {error:?}"
        );
        assert_eq!(error.exit_code(), ExitCode::PolicyInvalid);
        assert!(error.hint().contains("chmod go-w"));
    }
    set_mode(desk.managed(), 0o644);
    set_mode(parent, 0o755);
    if administrator && is_given_away(desk.managed()) {
        let error = desk.load().unwrap_err();
        assert!(
            matches!(&error, LoadError::ManagedNotBelieved { reason, .. } if reason.contains("somebody else"))
        );
    }
}

#[test]
fn a_policy_file_is_a_small_regular_file_and_no_link() {
    let desk = desk();
    let secret = desk.base.join("secret");
    fs::write(&secret, "token = \"hunter2\"\n").unwrap();
    for path in [desk.user(), desk.project(), desk.managed().to_owned()] {
        let refused = |what: &str| {
            let error = desk.load().expect_err(what);
            assert!(
                matches!(&error, LoadError::Read { path: read, .. } if *read == path),
                "{what}: {error:?}"
            );
            assert_eq!(error.exit_code(), ExitCode::PolicyInvalid);
            let mut words = format!("{error} {}", error.hint());
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                words += &cause.to_string();
                source = cause.source();
            }
            assert!(!words.contains("hunter2"), "{words}");
        };
        symlink(&secret, &path).unwrap();
        refused("a link to a file");
        fs::remove_file(&path).unwrap();
        symlink("/dev/zero", &path).unwrap();
        refused("a link to a device");
        fs::remove_file(&path).unwrap();
        // Nobody will ever write to it: opening it must not wait.
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        refused("a FIFO");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        refused("a directory");
        fs::remove_dir(&path).unwrap();
        // Sparse: reading it whole would fill the memory.
        fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
        refused("a huge file");
        fs::remove_file(&path).unwrap();
    }
    // The control: the same places with a policy in them, as large as one may be.
    let mut largest = WIDER.to_owned();
    largest.push_str(&"#".repeat(usize::try_from(POLICY_FILE_LIMIT).unwrap() - WIDER.len()));
    for path in [desk.user(), desk.project()] {
        fs::write(path, &largest).unwrap();
    }
    assert_eq!(desk.load().unwrap().layers.len(), 2);
    largest.push('#');
    fs::write(desk.user(), &largest).unwrap();
    assert!(matches!(desk.load(), Err(LoadError::Read { .. })));
}

#[test]
fn trust_ends_with_the_first_edit() {
    let desk = desk();
    fs::write(desk.project(), WIDENING).unwrap();
    let refused_or_kept = |desk: &Desk| match desk.load() {
        Ok(loaded) => protects_agents(&loaded),
        Err(LoadError::Merge(_)) => true,
        Err(other) => panic!("{other:?}"),
    };
    assert!(refused_or_kept(&desk), "an untrusted file widened");
    let store = TrustStore::open(&desk.state);
    store.add(&desk.project()).unwrap();
    let loaded = desk.load().unwrap();
    assert!(!protects_agents(&loaded), "a trusted file did not widen");
    let project = |loaded: &Loaded| {
        let layer = loaded
            .layers
            .iter()
            .find(|layer| layer.kind == LayerKind::Project);
        layer.unwrap().clone()
    };
    assert_eq!(project(&loaded).trust, Trust::Trusted);
    // The digest is over every byte: a blank line is an edit.
    fs::write(desk.project(), format!("{WIDENING}\n")).unwrap();
    assert!(refused_or_kept(&desk), "an edited file widened");
    // And a command that puts the trusted text back has what the person trusted, no more.
    fs::write(desk.project(), WIDENING).unwrap();
    assert_eq!(project(&desk.load().unwrap()).trust, Trust::Trusted);
    // The same text elsewhere is another file.
    let other = self::desk();
    fs::write(other.project(), WIDENING).unwrap();
    assert!(refused_or_kept(&other));
}

#[test]
fn a_users_file_that_a_command_could_write_is_refused() {
    let mut desk = desk();
    let refused = |desk: &Desk| {
        let error = desk.load().unwrap_err();
        assert!(matches!(error, LoadError::OwnFile(_)), "{error:?}");
        assert_eq!(error.exit_code(), ExitCode::PolicyInvalid);
    };
    let inside = desk.base.join("work/mine.toml");
    fs::write(&inside, WIDER).unwrap();
    desk.request.config = Some(inside.clone());
    refused(&desk);
    // In read-only mode nothing there can be written, and below a protected name never.
    desk.request.command_line.mode = Some(Mode::ReadOnly);
    desk.load().unwrap();
    desk.request.command_line.mode = None;
    let kept = desk.base.join("work/.ringfence/mine.toml");
    fs::copy(&inside, &kept).unwrap();
    desk.request.config = Some(kept.clone());
    desk.load().unwrap();
    desk.request.command_line.filesystem.unprotected = vec![".ringfence".to_owned()];
    refused(&desk);
    desk.request.command_line.filesystem.unprotected.clear();
    desk.request.config = Some(desk.base.join("absent.toml"));
    assert!(matches!(desk.load(), Err(LoadError::Missing { .. })));
    desk.request.config = None;
    desk.load().unwrap();
    let home = desk.request.home.as_path().join(".config");
    desk.request.command_line.filesystem.writable_roots = vec![home.to_str().unwrap().to_owned()];
    refused(&desk);
}
