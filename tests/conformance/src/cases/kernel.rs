//! Attacks on the kernel, on privilege and on processes outside.

use std::collections::BTreeMap;
use std::process::Stdio;

use super::writes::text;
use crate::checks::{Checks, Context, Control, Failure};
use crate::ground::Ground;
use crate::launch::Launch;
use crate::suite::{Case, Needs};
use crate::verdict::Verdict;

/// The cases of this module.
pub(super) const CASES: &[Case] = &[
    Case {
        name: "kernel.attacks",
        promise: "mounts, namespaces, io_uring, bpf, perf, keys, modules, kexec, swap, quota, time, reboot are refused",
        needs: Needs::Full,
        run: attacks,
    },
    Case {
        name: "kernel.siblings",
        promise: "what ordinary programs ask of the kernel works: fork, tracing one's own child, personality query",
        needs: Needs::Full,
        run: siblings,
    },
    Case {
        name: "kernel.privileged-modes",
        promise: "no call makes a setuid or setgid file or a device node, and the same calls with plain modes work",
        needs: Needs::Full,
        run: privileged_modes,
    },
    Case {
        name: "kernel.settings",
        promise: "/proc/sys, /sys and what else sets the kernel can't be written, also from root",
        needs: Needs::Full,
        run: settings,
    },
    Case {
        name: "process.outside",
        promise: "no process outside can be seen, signalled, traced or read",
        needs: Needs::Full,
        run: outside,
    },
    Case {
        name: "process.privileges",
        promise: "all five capability sets are empty, NoNewPrivs is 1, a seccomp filter is in force, ids are the caller's",
        needs: Needs::Full,
        run: privileges,
    },
    Case {
        name: "process.descriptors",
        promise: "the command has descriptors 0, 1 and 2, whatever the caller had open",
        needs: Needs::Full,
        run: descriptors,
    },
];

/// When an attack's control can succeed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    /// Everybody outside can do it.
    Anyone,
    /// Root outside can do it.
    Root,
    /// Root outside gets past the permission check; the argument is wrong on purpose.
    RootPasses,
}
use Who::{Anyone, Root, RootPasses};

/// One attack: its words (`D` an empty directory, `W` the workspace), who has a control, and numbers that mean refused.
struct Row(&'static [&'static str], Who, &'static [i32]);

const NO_CALL: &[i32] = &[libc::ENOSYS];
const NONE: &[i32] = &[];

const ATTACKS: &[Row] = &[
    Row(&["mount-tmpfs", "D"], Root, NONE),
    Row(&["mount-bind", "W", "D"], Root, NONE),
    Row(&["mount-remount-writable", "/"], RootPasses, NONE),
    Row(&["mount-remount-writable", "W"], RootPasses, NONE),
    Row(&["mount-proc", "D"], Root, NONE),
    Row(&["umount", "W"], RootPasses, NONE),
    Row(&["pivot-root", "D"], RootPasses, NONE),
    Row(&["open-tree", "W"], Root, NO_CALL),
    Row(&["move-mount", "W", "D"], Root, NO_CALL),
    Row(&["move-mount-bare"], RootPasses, NO_CALL),
    Row(&["fsopen"], Root, NO_CALL),
    Row(&["fsconfig"], RootPasses, NO_CALL),
    Row(&["fsmount"], RootPasses, NO_CALL),
    Row(&["fspick", "/"], Root, NO_CALL),
    Row(&["mount-setattr", "W"], RootPasses, NO_CALL),
    Row(&["own-mount-tmpfs", "D"], Anyone, NO_CALL),
    Row(&["own-mount-bind", "W", "D"], Anyone, NO_CALL),
    Row(&["own-open-tree", "W"], Anyone, NO_CALL),
    Row(&["own-fsopen"], Anyone, NO_CALL),
    Row(&["unshare", "user"], Anyone, NONE),
    Row(&["unshare", "mount"], Anyone, NONE),
    Row(&["unshare", "pid"], Anyone, NONE),
    Row(&["unshare", "net"], Anyone, NONE),
    Row(&["unshare", "ipc"], Anyone, NONE),
    Row(&["unshare", "uts"], Anyone, NONE),
    Row(&["unshare", "cgroup"], Anyone, NONE),
    Row(&["unshare", "time"], Anyone, NONE),
    Row(&["unshare-bare", "mount"], Root, NONE),
    Row(&["unshare-bare", "pid"], Root, NONE),
    Row(&["unshare-bare", "net"], Root, NONE),
    Row(&["unshare-bare", "ipc"], Root, NONE),
    Row(&["unshare-bare", "uts"], Root, NONE),
    Row(&["unshare-bare", "cgroup"], Root, NONE),
    Row(&["unshare-bare", "time"], Root, NONE),
    Row(&["clone", "user"], Anyone, NONE),
    Row(&["clone", "mount"], Anyone, NONE),
    Row(&["clone", "pid"], Anyone, NONE),
    Row(&["clone", "net"], Anyone, NONE),
    Row(&["clone", "ipc"], Anyone, NONE),
    Row(&["clone", "uts"], Anyone, NONE),
    Row(&["clone", "cgroup"], Anyone, NONE),
    Row(&["clone3", "user"], Anyone, NO_CALL),
    Row(&["clone3", "mount"], Anyone, NO_CALL),
    Row(&["clone3", "pid"], Anyone, NO_CALL),
    Row(&["clone3", "net"], Anyone, NO_CALL),
    // A C library that hears ENOSYS falls back to clone, whose flags the filter can read.
    Row(&["clone3-plain"], Anyone, NO_CALL),
    Row(&["setns", "/proc/self/ns/mnt"], Root, NONE),
    Row(&["setns", "/proc/self/ns/net"], Root, NONE),
    Row(&["setns", "/proc/self/ns/uts"], Root, NONE),
    Row(&["io-uring-setup"], Anyone, NO_CALL),
    Row(&["io-uring-enter"], RootPasses, NO_CALL),
    Row(&["io-uring-register"], RootPasses, NO_CALL),
    Row(&["bpf"], Root, NO_CALL),
    Row(&["perf-event-open"], Root, NO_CALL),
    Row(&["userfaultfd"], Anyone, NO_CALL),
    Row(&["userfaultfd-device"], Root, &[libc::ENOENT, libc::ENXIO]),
    Row(&["add-key"], Anyone, NO_CALL),
    Row(&["request-key"], RootPasses, NO_CALL),
    Row(&["keyctl"], Anyone, NO_CALL),
    Row(&["pidfd-getfd-self"], Anyone, NO_CALL),
    Row(&["process-vm-readv", "SELF"], RootPasses, NO_CALL),
    Row(&["process-vm-writev", "SELF"], RootPasses, NO_CALL),
    Row(&["personality-read-implies-exec"], Anyone, NONE),
    Row(&["openat2", "/etc/passwd"], Anyone, NO_CALL),
    Row(&["tiocsti"], Root, NONE),
    Row(&["tiocsti-high-bits"], Root, NONE),
    Row(&["tioclinux"], RootPasses, NONE),
    Row(&["chroot", "D"], Root, NONE),
    Row(&["init-module"], RootPasses, NO_CALL),
    Row(&["finit-module"], RootPasses, NO_CALL),
    Row(&["delete-module"], RootPasses, NO_CALL),
    Row(&["kexec-load"], RootPasses, NO_CALL),
    Row(&["kexec-file-load"], RootPasses, NO_CALL),
    Row(&["swapon"], RootPasses, NO_CALL),
    Row(&["swapoff"], RootPasses, NO_CALL),
    Row(&["quotactl"], RootPasses, NO_CALL),
    Row(&["quotactl-fd"], RootPasses, NO_CALL),
    Row(&["reboot"], RootPasses, NONE),
    Row(&["acct"], RootPasses, NO_CALL),
    Row(&["syslog"], Root, NO_CALL),
    Row(&["sethostname"], Root, NONE),
    Row(&["setdomainname"], Root, NONE),
    Row(&["settimeofday"], Root, NONE),
    Row(&["clock-settime"], Root, NONE),
    Row(&["adjtimex"], Root, NONE),
    Row(&["clock-adjtime"], Root, NONE),
    Row(&["iopl"], Root, NO_CALL),
    Row(&["setuid", "12345"], Root, &[libc::EINVAL]),
    Row(&["setgroups"], Root, NONE),
    Row(&["capset"], Root, NONE),
    Row(&["fanotify-init"], Root, NO_CALL),
    Row(
        &["seccomp-listener"],
        RootPasses,
        &[libc::EBUSY, libc::ENOSYS, libc::EINVAL],
    ),
];

fn attacks(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let empty = fixture.workspace.join("empty");
    std::fs::create_dir_all(&empty).context(|| format!("making {}", empty.display()))?;
    let pid = std::process::id().to_string();
    let words = |row: &Row| -> Vec<String> {
        row.0
            .iter()
            .map(|word| match *word {
                "D" => text(&empty),
                "W" => text(&fixture.workspace),
                "SELF" => pid.clone(),
                other => other.to_owned(),
            })
            .collect()
    };
    let launch = Launch::new(ground, &fixture);
    let all: Vec<Vec<String>> = ATTACKS.iter().map(words).collect();
    let verdicts = launch.batch_inside(&all)?;
    for ((row, words), verdict) in ATTACKS.iter().zip(&all).zip(&verdicts) {
        let label = row.0.join(" ");
        control(ground, checks, &launch, row, words)?;
        // Its own process number means nothing inside: there it is another process, or none.
        let also = if row.0.contains(&"SELF") {
            &[libc::ESRCH, libc::ENOSYS][..]
        } else {
            row.2
        };
        checks.refused(&label, verdict, also);
    }
    foreign_calls(ground, checks, &launch)
}

fn control(
    ground: &Ground,
    checks: &mut Checks,
    launch: &Launch<'_>,
    row: &Row,
    words: &[String],
) -> Result<Control, Failure> {
    let label = row.0.join(" ");
    if row.1 != Anyone && !ground.root() {
        return Ok(Control::Absent);
    }
    let verdict = launch.attack_plain(words)?;
    if row.1 == RootPasses {
        let unknown = matches!(&verdict, Verdict::Failed { errno, .. } if *errno == libc::ENOSYS);
        if unknown {
            checks.note(format!("{label}: not on this kernel"));
            return Ok(Control::Absent);
        }
        checks.that(&format!("control {label}"), !verdict.refused(NONE), || {
            format!("must get past the permission check outside, but: {verdict:?}")
        });
        return Ok(Control::Stands);
    }
    // A kernel may lack a facility, or its administrator may have switched it off: then a refusal proves nothing.
    if matches!(&verdict, Verdict::Failed { errno, .. }
        if [libc::EIO, libc::ENOENT, libc::ENODEV, libc::ENXIO].contains(errno))
    {
        checks.note(format!("{label}: not on this machine ({verdict:?})"));
        return Ok(Control::Absent);
    }
    Ok(checks.control(&label, &verdict))
}

/// System calls by another table of numbers; the kernel may lack both tables, and the filter may kill.
fn foreign_calls(ground: &Ground, checks: &mut Checks, launch: &Launch<'_>) -> Result<(), Failure> {
    for attack in ["x32", "int80"] {
        let outside = ground.plain(&[attack])?;
        if !outside.succeeded() {
            checks.note(format!("{attack}: not on this kernel ({outside:?})"));
        }
        let batch = launch.batch_inside(&[vec![attack.to_owned()]])?;
        let killed = Verdict::Crashed {
            signal: libc::SIGSYS,
        };
        for inside in &batch {
            checks.that(
                attack,
                inside.refused(NO_CALL) || *inside == killed || *inside == outside,
                || format!("must be refused or killed by the filter, but: {inside:?}"),
            );
            checks.that(attack, !inside.succeeded(), || format!("{inside:?}"));
        }
    }
    Ok(())
}

fn siblings(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let launch = Launch::new(ground, &fixture);
    for words in [
        &["fork"][..],
        &["ptrace-child"],
        &["personality-query"],
        &["terminal-size"],
        &["shared-memory"],
    ] {
        let outside = launch.attack_plain(words)?;
        let inside = launch.attack_inside(words)?;
        if outside.succeeded() {
            checks.sibling(&words.join(" "), &inside);
            let same = words == ["personality-query"] || inside.detail() == outside.detail();
            checks.that(&words.join(" "), same, || {
                format!("{inside:?} beside {outside:?}")
            });
        } else {
            checks.note(format!(
                "{} does not work outside either: {outside:?}",
                words.join(" ")
            ));
        }
    }
    Ok(())
}

/// The calls that carry a mode, with the bits that each can carry.
const MODE_CALLS: &[&str] = &[
    "mode-chmod",
    "mode-fchmod",
    "mode-fchmodat",
    "mode-fchmodat2",
    "mode-open",
    "mode-openat",
    "mode-openat-tmpfile",
    "mode-openat2",
    "mode-creat",
    "mode-mkdir",
    "mode-mkdirat",
    "mode-mknod",
    "mode-mknodat",
];

fn privileged_modes(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let launch = Launch::new(ground, &fixture);
    for place in [text(&fixture.workspace), "/tmp".to_owned()] {
        for call in MODE_CALLS {
            for mode in ["4755", "2755", "6755"] {
                let words = [*call, &place, mode];
                mode_refused(checks, &launch, &fixture.outside, &words)?;
            }
            let plain = launch.attack_inside(&[*call, &place, "755"])?;
            let missing = matches!(&plain, Verdict::Failed { errno, .. } if *errno == libc::ENOSYS);
            if missing && ["mode-openat2", "mode-fchmodat2"].contains(call) {
                checks.note(format!("{call} is refused whole inside; callers fall back"));
            } else {
                checks.sibling(&format!("{call} {place} 755"), &plain);
            }
        }
        for device in ["device-character", "device-block"] {
            let words = [device, place.as_str()];
            if ground.root() {
                let control = launch.attack_plain(&[device, &text(&fixture.outside)])?;
                checks.control(&words.join(" "), &control);
            }
            checks.refused(&words.join(" "), &launch.attack_inside(&words)?, NONE);
        }
    }
    let files = crate::snapshot::listing(&fixture.workspace)?;
    for file in files.keys() {
        use std::os::unix::fs::MetadataExt;
        let mode = std::fs::symlink_metadata(file).map_or(0, |metadata| metadata.mode());
        checks.that("no bit is on the host", mode & 0o6000 == 0, || {
            format!("{} {mode:o}", file.display())
        });
    }
    Ok(())
}

/// Refused, or made without the bit by a kernel that drops it.
fn mode_refused(
    checks: &mut Checks,
    launch: &Launch<'_>,
    outside: &std::path::Path,
    words: &[&str],
) -> Result<(), Failure> {
    let [call, _, mode] = words else {
        return Ok(());
    };
    let label = words.join(" ");
    let control = launch.attack_plain(&[*call, &text(outside), mode])?;
    // mkdir and O_TMPFILE drop the setuid bit by themselves on some kernels: no control, nothing to refuse.
    let bits = u32::from_str_radix(control.detail(), 8).unwrap_or(0) & 0o6000;
    if bits == 0 {
        checks.note(format!(
            "{label}: the kernel drops the bits by itself ({control:?})"
        ));
    } else {
        checks.control(&label, &control);
    }
    let inside = launch.attack_inside(words)?;
    let left = u32::from_str_radix(inside.detail(), 8).unwrap_or(0) & 0o6000;
    let dropped = inside.succeeded() && left == 0 && bits == 0;
    checks.that(&label, dropped || inside.refused(NO_CALL), || {
        format!("must be refused, but: {inside:?}")
    });
    Ok(())
}

fn settings(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let launch = Launch::new(ground, &fixture);
    let places = [
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/hostname",
        "/proc/sys/kernel/modprobe",
        "/proc/sys/kernel/hotplug",
        "/proc/sys/kernel/randomize_va_space",
        "/proc/sys/vm/overcommit_memory",
        "/proc/sys/fs/suid_dumpable",
        "/proc/sys/net/ipv4/ip_forward",
        "/proc/sys/fs/binfmt_misc/register",
        "/proc/sysrq-trigger",
        "/proc/irq/default_smp_affinity",
        "/proc/mtrr",
        "/sys/kernel/uevent_helper",
        "/sys/kernel/mm/transparent_hugepage/enabled",
        "/sys/power/state",
        "/sys/fs/cgroup/cgroup.procs",
        "/sys/fs/cgroup/unified/cgroup.procs",
        "/sys/fs/cgroup/memory/cgroup.procs",
        "/sys/fs/cgroup/memory/release_agent",
        "/dev/mem",
        "/dev/kmsg",
        "/dev/vda",
        "/dev/sda",
    ];
    for place in places {
        let words = ["open-write", place];
        if ground.root() && launch.attack_plain(&words)?.succeeded() {
            checks.control(
                place,
                &Verdict::Succeeded {
                    detail: String::new(),
                },
            );
        }
        let inside = launch.attack_inside(&words)?;
        checks.refused(place, &inside, &[libc::ENOENT, libc::ENXIO, libc::EINVAL]);
    }
    let null = launch.attack_inside(&["open-write", "/dev/null"])?;
    checks.sibling("write /dev/null", &null);
    Ok(())
}

/// Attacks on a process outside by its number.
const OUTSIDE: &[&str] = &[
    "kill",
    "kill-group",
    "tkill",
    "tgkill",
    "sigqueue",
    "pidfd-open",
    "pidfd-signal",
    "pidfd-getfd",
    "ptrace-attach",
    "ptrace-seize",
    "process-vm-readv",
    "process-vm-writev",
    "proc-mem",
    "proc-environ",
    "proc-maps",
    "proc-fd",
    "proc-cwd",
    "proc-root",
    "prlimit",
    "setpriority",
    "sched-setaffinity",
    "kcmp",
    "setns-pidfd",
];

fn outside(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    use std::os::unix::process::CommandExt;
    let fixture = ground.fixture()?;
    let mut victim = std::process::Command::new("/bin/sleep")
        .arg("600")
        .process_group(0)
        .stdin(Stdio::null())
        .spawn()
        .context(|| "starting sleep".to_owned())?;
    let pid = victim.id().to_string();
    let launch = Launch::new(ground, &fixture);
    let verdicts = OUTSIDE
        .iter()
        .map(|attack| launch.attack_inside(&[*attack, &pid]))
        .collect::<Result<Vec<_>, _>>();
    let alive = matches!(victim.try_wait(), Ok(None));
    let mut controls = Vec::new();
    for attack in OUTSIDE {
        controls.push(launch.attack_plain(&[*attack, &pid]));
    }
    let _ = victim.kill();
    let _ = victim.wait();
    let gone = [libc::ESRCH, libc::ENOENT, libc::ENOSYS, libc::EINVAL];
    for ((attack, verdict), control) in OUTSIDE.iter().zip(verdicts?).zip(controls) {
        let control = control?;
        let ordinary = ["setns-pidfd", "kcmp"].contains(attack) && !control.succeeded();
        if ordinary {
            checks.note(format!("{attack}: no control here ({control:?})"));
        } else {
            checks.control(attack, &control);
        }
        checks.refused(attack, &verdict, &gone);
    }
    checks.that("it lives on", alive, || {
        "the process outside has ended".to_owned()
    });
    let list = launch.attack_inside(&["list", "/proc"])?;
    let names: Vec<String> = serde_json::from_str(list.detail()).unwrap_or_default();
    let numbers: Vec<&String> = names
        .iter()
        .filter(|name| name.parse::<u32>().is_ok())
        .collect();
    checks.that(
        "few processes are seen",
        (1..=8).contains(&numbers.len()),
        || format!("{numbers:?}"),
    );
    Ok(())
}

fn privileges(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let launch = Launch::new(ground, &fixture);
    let read = |verdict: &Verdict| -> BTreeMap<String, String> {
        serde_json::from_str(verdict.detail()).unwrap_or_default()
    };
    let outside = read(&launch.attack_plain(&["status"])?);
    let inside = read(&launch.attack_inside(&["status"])?);
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        checks.same(
            set,
            &inside.get(set).map(String::as_str),
            &Some("0000000000000000"),
        );
    }
    checks.same(
        "NoNewPrivs",
        &inside.get("NoNewPrivs").map(String::as_str),
        &Some("1"),
    );
    checks.same(
        "Seccomp",
        &inside.get("Seccomp").map(String::as_str),
        &Some("2"),
    );
    for id in ["Uid", "Gid"] {
        checks.same(id, &inside.get(id), &outside.get(id));
    }
    let control = outside
        .get("CapBnd")
        .is_some_and(|set| set != "0000000000000000");
    checks.that(
        "control: the bounding set outside is not empty",
        control,
        || format!("{outside:?}"),
    );
    Ok(())
}

fn descriptors(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let launch = Launch::new(ground, &fixture);
    let probe = launch.probe(&["descriptors"]);
    let script = "exec 3</etc/passwd 4>&1 9</ 17</etc/hosts; exec \"$@\"";
    let through = |words: Vec<std::ffi::OsString>| {
        let mut all: Vec<std::ffi::OsString> =
            ["/bin/bash", "-c", script, "sh"].map(Into::into).to_vec();
        all.extend(words);
        all
    };
    let count = |verdict: &Verdict| -> Vec<String> {
        serde_json::from_str(verdict.detail()).unwrap_or_default()
    };
    let control = count(&launch.plain(&through(probe.clone()))?.verdict());
    checks.that(
        "control: the caller's descriptors are inherited",
        control.len() >= 7,
        || format!("{control:?}"),
    );
    let run = launch.inside_command(&probe)?;
    let mut words = vec![run.get_program().to_owned()];
    words.extend(run.get_args().map(ToOwned::to_owned));
    let inside = count(&launch.plain(&through(words))?.verdict());
    let numbers: Vec<&str> = inside
        .iter()
        .filter_map(|entry| entry.split(' ').next())
        .collect();
    checks.same("descriptors inside", &numbers, &vec!["0", "1", "2"]);
    Ok(())
}
