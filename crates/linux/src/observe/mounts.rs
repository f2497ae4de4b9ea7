//! The mount table, read once and parsed as bytes: mount points are an attacker's names too.
//!
//! Source: kernel document `filesystems/proc`, section 3.5. Invariant: linear in the table's length.

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use ringfence_plan::linux::facts::ProcMount;

use super::error::ObserveError;
use super::host::read_file;

/// One mount.
#[derive(Debug)]
pub(super) struct Mount {
    /// Where.
    pub(super) point: PathBuf,
    /// Which directory of the file system is mounted there.
    pub(super) root: PathBuf,
    /// The file system's type.
    pub(super) kind: Vec<u8>,
    /// The superblock's options.
    pub(super) options: Vec<u8>,
}

/// The mounts of this process's namespace.
#[derive(Debug)]
pub(super) struct Mounts(Vec<Mount>);

/// Mount points that `/proc` keeps for others: empty directories, which hide nothing.
const EMPTY_PROC_DIRECTORIES: [&str; 2] = ["/proc/sys/fs/binfmt_misc", "/proc/fs/nfsd"];

/// Reads the mount table.
///
/// # Errors
/// [`ObserveError::ReadFile`].
pub(super) fn read() -> Result<Mounts, ObserveError> {
    Ok(parse(&read_file(Path::new("/proc/self/mountinfo"))?))
}

fn parse(table: &[u8]) -> Mounts {
    Mounts(
        table
            .split(|byte| *byte == b'\n')
            .filter_map(parse_line)
            .collect(),
    )
}

fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let root = fields.nth(3)?;
    let point = fields.next()?;
    // Optional fields end with a lone dash.
    let mut rest = fields.skip_while(|field| *field != b"-").skip(1);
    let kind = rest.next()?;
    let options = rest.nth(1).unwrap_or_default();
    Some(Mount {
        point: unescape(point),
        root: unescape(root),
        kind: kind.to_vec(),
        options: options.to_vec(),
    })
}

/// Undoes the kernel's `\040`, `\011`, `\012`, `\134`.
fn unescape(field: &[u8]) -> PathBuf {
    if !field.contains(&b'\\') {
        return PathBuf::from(OsStr::from_bytes(field));
    }
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        let code = match (first, after) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..]) => {
                rest = after.get(3..).unwrap_or_default();
                (a - b'0') * 64 + (b - b'0') * 8 + (c - b'0')
            }
            _ => *first,
        };
        bytes.push(code);
    }
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

impl Mounts {
    /// Every mount.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Mount> {
        self.0.iter()
    }

    /// The mount that `path` lies on: the deepest, and the last made of several on one point.
    pub(super) fn of(&self, path: &Path) -> Option<&Mount> {
        self.0
            .iter()
            .filter(|mount| path.starts_with(&mount.point))
            .max_by_key(|mount| mount.point.as_os_str().len())
    }

    /// The mount points strictly below `directory`, sorted.
    pub(super) fn below(&self, directory: &Path) -> Vec<PathBuf> {
        let prefix = directory.as_os_str().as_bytes();
        let mut points: Vec<PathBuf> = self
            .0
            .iter()
            .map(|mount| &mount.point)
            // Bytes first: comparing components of a thousand mounts would cost more than all the rest.
            .filter(|point| point.as_os_str().as_bytes().starts_with(prefix))
            .filter(|point| point.as_path() != directory && point.starts_with(directory))
            .cloned()
            .collect();
        points.sort_unstable();
        points.dedup();
        points
    }

    /// Whether the kernel is expected to mount a new `/proc`: some present one must show everything.
    pub(super) fn proc_mount(&self) -> ProcMount {
        let whole = self
            .0
            .iter()
            .any(|mount| mount.kind == b"proc" && mount.root == Path::new("/"));
        let hidden = self.below(Path::new("/proc")).iter().any(|point| {
            !EMPTY_PROC_DIRECTORIES
                .iter()
                .any(|empty| point == Path::new(empty))
        });
        if whole && !hidden {
            ProcMount::New
        } else {
            ProcMount::Kept
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_parsed_with_and_without_optional_fields() {
        let mounts = parse(
            b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:2 - ext3 /dev/root rw,errors=continue\n\
              22 27 0:21 / /proc rw,relatime - proc proc rw\n\
              garbage\n",
        );
        let points: Vec<&Path> = mounts.iter().map(|mount| mount.point.as_path()).collect();
        assert_eq!(points, [Path::new("/mnt2"), Path::new("/proc")]);
        assert_eq!(mounts.0[0].options, b"rw,errors=continue");
        assert_eq!(mounts.0[1].kind, b"proc");
    }

    #[test]
    fn hostile_mount_points_are_unescaped_once() {
        assert_eq!(unescape(br"/a\040b\012c\134040"), Path::new("/a b\nc\\040"));
        assert_eq!(unescape(br"/end\04"), Path::new(r"/end\04"));
    }

    #[test]
    fn mounts_below_a_root_share_more_than_a_prefix() {
        let mounts = parse(
            b"1 0 0:1 / /w rw - ext4 a rw\n2 0 0:1 / /w/m rw - ext4 a rw\n3 0 0:1 / /work rw - ext4 a rw\n",
        );
        assert_eq!(mounts.below(Path::new("/w")), [PathBuf::from("/w/m")]);
    }

    #[test]
    fn a_path_lies_on_the_deepest_and_latest_mount() {
        let mounts = parse(
            b"1 0 0:1 / / rw - ext4 a rw\n2 1 0:2 / /srv/p rw - ext4 a rw\n3 2 0:3 / /srv/p rw - proc proc rw\n",
        );
        let kind = |path: &str| mounts.of(Path::new(path)).map(|mount| mount.kind.clone());
        assert_eq!(kind("/srv/p/sys").as_deref(), Some(&b"proc"[..]));
        assert_eq!(kind("/srv/pp").as_deref(), Some(&b"ext4"[..]));
    }

    #[test]
    fn a_masked_proc_is_kept_and_a_binfmt_mount_is_no_mask() {
        let masked =
            b"1 0 0:1 / /proc rw - proc proc rw\n2 1 0:2 / /proc/kcore rw - tmpfs tmpfs rw\n";
        assert_eq!(parse(masked).proc_mount(), ProcMount::Kept);
        let plain = b"1 0 0:1 / /proc rw - proc proc rw\n2 1 0:2 / /proc/sys/fs/binfmt_misc rw - autofs a rw\n";
        assert_eq!(parse(plain).proc_mount(), ProcMount::New);
        assert_eq!(parse(b"").proc_mount(), ProcMount::Kept);
    }
}
