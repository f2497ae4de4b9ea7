//! A plan as text for a person, its hash, and the difference of two.
//!
//! Names in a plan are an attacker's: every path is escaped, so that a line of the text is one line of ours.
//! Invariant: equal plans render equally; different steps render differently.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use ringfence_policy::AbsolutePath;
use ringfence_policy::escape::{escape_again, escape_os};
use ringfence_policy::filesystem::{PathAccess, Strength};

use crate::linux::landlock::Ruleset;
use crate::plan::{Plan, PlanHash};
use crate::step::{
    AddressFamily, IpSockets, LimitMechanism, MountAccess, MountPoint, Namespace, Observe,
    Placeholder, Service, Step,
};

/// A path on one line, escaped.
#[must_use]
pub fn printable(path: &AbsolutePath) -> String {
    escape_os(path.as_path())
}

impl Plan {
    /// SHA-256 of the plan's canonical JSON: fields in the order of their definition, no spaces.
    #[must_use]
    pub fn hash(&self) -> PlanHash {
        if let Some(windows) = &self.windows {
            return windows.hash();
        }
        let mut hasher = Sha256::new();
        // Every field is a plain value, so serialising can't fail; a failure must still not look like another plan.
        match serde_json::to_vec(self) {
            Ok(json) => hasher.update(&json),
            Err(error) => hasher.update(format!("unserialisable: {error}: {self:?}").as_bytes()),
        }
        PlanHash(hexadecimal(&hasher.finalize()))
    }

    /// The plan as text: what will be done in order, what is watched, what is missing.
    #[must_use]
    pub fn render_text(&self) -> String {
        if let Some(windows) = &self.windows {
            return windows.render_text();
        }
        let mut text = String::new();
        let _ = writeln!(text, "plan {}", self.hash());
        let _ = writeln!(text, "level {}", self.level.word());
        let _ = writeln!(text, "workspace {}", printable(&self.workspace));
        for part in &self.missing {
            let _ = writeln!(
                text,
                "missing {}: {} (cure: {})",
                part.what,
                escape_again(&part.cause),
                escape_again(&part.cure)
            );
        }
        for note in &self.notes {
            let _ = writeln!(text, "note {}", escape_again(note));
        }
        if !self.steps.is_empty() {
            let _ = writeln!(text, "\nsteps");
        }
        for (index, step) in self.steps.iter().enumerate() {
            let _ = writeln!(text, "{:>5}  {}", index + 1, render_step(step));
            if let Step::RestrictPaths { ruleset } = step {
                render_ruleset(&mut text, ruleset);
            }
        }
        self.render_guard(&mut text);
        self.render_rules(&mut text);
        if !self.environment.is_empty() {
            let _ = writeln!(text, "\nenvironment");
        }
        for (name, value) in &self.environment {
            let _ = writeln!(text, "       {name}={}", escape_again(value));
        }
        text
    }

    fn render_guard(&self, text: &mut String) {
        if self.guard.absent.is_empty() && self.guard.roots.is_empty() {
            return;
        }
        let _ = writeln!(
            text,
            "\nwatched (new repositories: {})",
            new_repositories(self)
        );
        for root in &self.guard.roots {
            let _ = writeln!(text, "       repositories below {}", printable(root));
        }
        for directory in &self.guard.commit_directories {
            let _ = writeln!(text, "       commits to {}", printable(directory));
        }
        for name in &self.guard.absent {
            let _ = writeln!(
                text,
                "       absent {} ({})",
                printable(&name.path),
                escape_again(&name.origin)
            );
        }
    }

    fn render_rules(&self, text: &mut String) {
        if !self.rules.paths().is_empty() || !self.rules.globs().is_empty() {
            let _ = writeln!(text, "\nrules");
        }
        for rule in self.rules.paths() {
            let strength = match rule.strength {
                Strength::Place => "place",
                Strength::Deny => "deny",
                Strength::HardBlock => "block",
            };
            let _ = writeln!(
                text,
                "       {strength:<5} {:<10} {} [{}]",
                path_access(rule.access),
                printable(&rule.path),
                escape_again(&rule.origin)
            );
        }
        for rule in self.rules.globs() {
            let _ = writeln!(
                text,
                "       glob  {:<10} {} below {} [{}]",
                path_access(rule.access),
                escape_again(&rule.glob),
                printable(&rule.anchor),
                escape_again(&rule.origin)
            );
        }
    }
}

/// The lines that two renderings do not share, with `-` and `+`, in order: what a person reads to see a change.
#[must_use]
pub fn diff(old: &Plan, new: &Plan) -> String {
    diff_text(&old.render_text(), &new.render_text())
}

/// [`diff`] of two rendered plans.
pub(crate) fn diff_text(old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (numberless(old), numberless(new));
    let start = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let end = old
        .iter()
        .rev()
        .zip(new.iter().rev())
        .take(old.len().min(new.len()) - start)
        .take_while(|(a, b)| a == b)
        .count();
    let changed = |lines: &[&str], sign: char| -> String {
        let middle = lines.get(start..lines.len() - end).unwrap_or_default();
        middle.iter().fold(String::new(), |mut text, line| {
            let _ = writeln!(text, "{sign} {line}");
            text
        })
    };
    changed(&old, '-') + &changed(&new, '+')
}

/// Lines without their step number, so that one step more is one line of difference.
fn numberless(text: &str) -> Vec<&str> {
    text.lines()
        .filter(|line| !line.starts_with("plan "))
        .map(|line| {
            line.trim_start_matches(|character: char| {
                character == ' ' || character.is_ascii_digit()
            })
        })
        .collect()
}

/// Bytes as hexadecimal digits.
#[must_use]
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn new_repositories(plan: &Plan) -> &'static str {
    use ringfence_policy::document::NewRepositories;
    match plan.guard.new_repositories {
        NewRepositories::Clean => "clean",
        NewRepositories::Quarantine => "quarantine",
        NewRepositories::Allow => "allow",
    }
}

fn path_access(access: PathAccess) -> &'static str {
    match access {
        PathAccess::Hidden => "hidden",
        PathAccess::ReadOnly => "read-only",
        PathAccess::ReadWrite => "read-write",
    }
}

fn mount_access(access: MountAccess) -> &'static str {
    match access {
        MountAccess::ReadWrite => "read-write",
        MountAccess::ReadOnly => "read-only",
    }
}

fn render_ruleset(text: &mut String, ruleset: &Ruleset) {
    let _ = writeln!(
        text,
        "         handled {}",
        ruleset.handled.names().join(" ")
    );
    for rule in &ruleset.rules {
        let allowed = if rule.allowed == ruleset.handled {
            "all handled".to_owned()
        } else {
            rule.allowed.names().join(" ")
        };
        let _ = writeln!(text, "         allow {}: {allowed}", printable(&rule.path));
    }
}

fn mechanism(mechanism: &LimitMechanism) -> String {
    match mechanism {
        LimitMechanism::CgroupV2 { parent } => format!("cgroup v2 below {}", printable(parent)),
        LimitMechanism::CgroupV1 { parent } => format!("cgroup v1 below {}", printable(parent)),
        LimitMechanism::Watched => "watched by init".to_owned(),
        LimitMechanism::ResourceLimit => "RLIMIT_NPROC".to_owned(),
    }
}

fn namespace(namespace: Namespace) -> &'static str {
    match namespace {
        Namespace::User => "user",
        Namespace::Mount => "mount",
        Namespace::Pid => "pid",
        Namespace::Net => "net",
        Namespace::Ipc => "ipc",
        Namespace::Uts => "uts",
        Namespace::Cgroup => "cgroup",
    }
}

/// One step on one line.
#[must_use]
#[expect(clippy::too_many_lines, reason = "one arm per step, two lines each")]
pub fn render_step(step: &Step) -> String {
    match step {
        Step::MakePrivateDirectory { path, mode, owner } => {
            let owner = owner.map_or(String::new(), |(uid, gid)| format!(" owner {uid}:{gid}"));
            format!("make directory {} mode {mode:o}{owner}", printable(path))
        }
        Step::EnterNamespaces {
            namespaces,
            identity,
        } => {
            let names: Vec<&str> = namespaces.iter().map(|one| namespace(*one)).collect();
            format!(
                "enter namespaces {} as {}:{}, target {}:{}",
                names.join(" "),
                identity.uid,
                identity.gid,
                identity.target.0,
                identity.target.1
            )
        }
        Step::RaiseLoopback => "raise loopback".to_owned(),
        Step::CaptureAddresses { family } => format!(
            "deliver what is sent to any {} address to the session itself",
            match family {
                AddressFamily::V4 => "IPv4",
                AddressFamily::V6 => "IPv6",
            }
        ),
        Step::Serve { socket } => format!(
            "listen on {} inside, served outside as {}",
            socket.address,
            match socket.service {
                Service::Captured => "the connections it takes",
                Service::Connected => "the host's own server there",
                Service::Proxy => "a proxy",
                Service::DnsDatagrams => "DNS over UDP",
                Service::DnsStream => "DNS over TCP",
            }
        ),
        Step::Publish { port } => {
            format!("reach port {port} of the session's loopback from the host's")
        }
        Step::ReachSocket { named, path, .. } => {
            format!(
                "let commands connect to the host's socket {}{}",
                printable(named),
                if named == path {
                    String::new()
                } else {
                    format!(" ({})", printable(path))
                }
            )
        }
        Step::SealMounts => "make every mount private, read-only, nosuid, nodev".to_owned(),
        Step::MountProc => "mount a new /proc".to_owned(),
        Step::KeepProc => "keep the host's /proc, read-only".to_owned(),
        Step::MountDevices => "mount a small /dev".to_owned(),
        Step::MountTemporary {
            target,
            mode,
            access,
        } => format!(
            "mount an empty directory at {} mode {mode:o} {}",
            printable(target),
            mount_access(*access)
        ),
        Step::Bind {
            source,
            target,
            access,
            identity,
            mount_point,
        } => {
            let made = match mount_point {
                MountPoint::Existing => "",
                MountPoint::MakeDirectory => ", making the directory",
                MountPoint::MakeFile => ", making the file",
            };
            let object = identity.map_or(String::new(), |id| {
                format!(" (object {}:{})", id.device, id.inode)
            });
            if source == target {
                format!(
                    "bind {} {}{object}{made}",
                    printable(target),
                    mount_access(*access)
                )
            } else {
                format!(
                    "bind {} from {} {}{object}{made}",
                    printable(target),
                    printable(source),
                    mount_access(*access)
                )
            }
        }
        Step::MountOverlay {
            lower,
            store,
            directories,
            masked,
        } => {
            let list = |paths: &[AbsolutePath]| {
                let paths: Vec<String> = paths.iter().map(printable).collect();
                paths.join(", ")
            };
            let without = if masked.is_empty() {
                String::new()
            } else {
                let paths: Vec<AbsolutePath> =
                    masked.iter().map(|mask| mask.path.clone()).collect();
                format!(" without {}", list(&paths))
            };
            format!(
                "overlay {} from {}{without}, written to {}",
                list(directories),
                printable(lower),
                printable(store)
            )
        }
        Step::Pin { path } => format!("pin {}", printable(path)),
        Step::Protect { path } => format!("protect {}", printable(path)),
        Step::ProtectLink { path } => format!("protect link {}", printable(path)),
        Step::Unprotect { path } => format!("unprotect {}", printable(path)),
        Step::Hide {
            path,
            placeholder,
            mount_point,
        } => {
            let placeholder = match placeholder {
                Placeholder::Directory => "directory",
                Placeholder::File => "file",
            };
            let made = match mount_point {
                MountPoint::Existing => "",
                MountPoint::MakeDirectory | MountPoint::MakeFile => ", made for it",
            };
            format!("hide {placeholder} {}{made}", printable(path))
        }
        Step::LimitMemory {
            bytes,
            mechanism: how,
        } => {
            format!("limit memory to {bytes} bytes, {}", mechanism(how))
        }
        Step::LimitProcesses {
            count,
            mechanism: how,
        } => {
            format!("limit processes to {count}, {}", mechanism(how))
        }
        Step::DropCapabilities => "drop every capability".to_owned(),
        Step::SetNoNewPrivs => "set no_new_privs".to_owned(),
        Step::RestrictPaths { ruleset } => format!(
            "restrict paths by Landlock ABI {}{}",
            ruleset.abi,
            if ruleset.scoped.0 == 0 {
                ""
            } else {
                ", signals and abstract sockets scoped"
            }
        ),
        Step::FilterSyscalls {
            observe,
            ip_sockets,
        } => {
            let observe = match observe {
                Observe::Off => "off",
                Observe::Writes => "writes",
                Observe::All => "all",
            };
            let sockets = match ip_sockets {
                IpSockets::InNamespace => "in the session's network",
                IpSockets::Refused => "refused",
            };
            format!("filter system calls, observe {observe}, IP sockets {sockets}")
        }
    }
}
