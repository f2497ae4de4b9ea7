//! Paths resolved component by component, with the links that were followed.
//!
//! Invariant: no component of a resolved path is a link, as far as the path exists.

use ringfence_backend::call::CallFailure;
use ringfence_plan::layout::{Entry, Kind};
use ringfence_plan::windows::WindowsPath;
use ringfence_plan::windows::facts::Elsewhere;
use ringfence_plan::windows::step::ObjectKind;

use super::look::{Leads, Look, Off, Seen};

/// As many links as NTFS follows in one open (`MAXIMUM_REPARSE_POINTS` of Windows 10 is 63).
const MAX_LINKS: usize = 63;

/// A path as far as it resolves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resolved {
    /// The final path; what does not exist is appended as it was written.
    pub(crate) path: WindowsPath,
    /// The links that were followed, by their own places.
    pub(crate) links: Vec<WindowsPath>,
    /// What is there.
    pub(crate) seen: Option<Seen>,
    /// The deepest directory that exists, where nothing is at the path.
    pub(crate) existing: WindowsPath,
}

/// What a path comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Resolution {
    /// A place on a drive of this machine.
    Drive(Resolved),
    /// A place on none; with the links on the way.
    Elsewhere(Off, Vec<WindowsPath>),
}

impl Resolution {
    /// The place, where it is on a drive.
    pub(crate) fn on_drive(self) -> Option<Resolved> {
        match self {
            Self::Drive(resolved) => Some(resolved),
            Self::Elsewhere(..) => None,
        }
    }
}

impl Resolved {
    /// Whether it is a directory that exists.
    pub(crate) fn is_directory(&self) -> bool {
        self.seen
            .as_ref()
            .is_some_and(|seen| seen.kind == ObjectKind::Directory)
    }
}

/// Resolves `path`, following every link.
///
/// # Errors
/// The look-ups'.
///
/// # Security
/// Links below a root are an attacker's: they count in the result, and a circle ends as a path that does not exist.
pub(crate) fn resolve<L: Look>(
    look: &mut L,
    path: &WindowsPath,
) -> Result<Resolution, CallFailure> {
    let mut walk = Walk {
        look,
        current: drive_root(path),
        links: Vec::new(),
        left: reversed(path.components()),
        last: None,
    };
    match walk.enter_drive()? {
        Some(off) => Ok(Resolution::Elsewhere(off, walk.links)),
        None => walk.run(),
    }
}

struct Walk<'a, L> {
    look: &'a mut L,
    current: WindowsPath,
    links: Vec<WindowsPath>,
    left: Vec<String>,
    last: Option<Seen>,
}

impl<L: Look> Walk<'_, L> {
    fn run(mut self) -> Result<Resolution, CallFailure> {
        while let Some(part) = self.left.pop() {
            match part.as_str() {
                "" | "." => continue,
                ".." => {
                    self.current = self
                        .current
                        .parent()
                        .unwrap_or_else(|| self.current.clone());
                    self.last = self.look.look(&self.current)?;
                    continue;
                }
                _ => {}
            }
            let Some(next) = append(&self.current, &part) else {
                return Ok(self.unfinished(&part));
            };
            let Some(seen) = self.look.look(&next)? else {
                return Ok(self.unfinished(&part));
            };
            let target = match &seen.leads {
                None | Some(Leads::Volume) => {
                    // The final path spells what a short name stands for.
                    self.current = match &seen.place {
                        Ok(place) => place.clone(),
                        Err(off) => return Ok(Resolution::Elsewhere(off.clone(), self.links)),
                    };
                    self.last = Some(seen);
                    continue;
                }
                Some(Leads::Unknown) => return Ok(self.unfinished(&part)),
                Some(Leads::Path(target)) => target.clone(),
            };
            if self.links.len() == MAX_LINKS {
                return Ok(self.unfinished(&part));
            }
            self.links.push(seen.place.unwrap_or(next));
            if let Some(off) = self.follow(&target)? {
                return Ok(Resolution::Elsewhere(off, self.links));
            }
        }
        Ok(Resolution::Drive(Resolved {
            existing: self.current.clone(),
            path: self.current,
            links: self.links,
            seen: self.last,
        }))
    }

    /// Goes on at a link's target; tells where it leads if that is no drive.
    fn follow(&mut self, target: &str) -> Result<Option<Off>, CallFailure> {
        match Target::of(target) {
            Target::Drive(drive, rest) => {
                let Ok(root) = WindowsPath::parse(&format!("{drive}:\\")) else {
                    return Ok(Some((target.to_owned(), Elsewhere::Device)));
                };
                self.current = root;
                self.left.extend(reversed_text(rest));
            }
            Target::Rooted(rest) => {
                self.current = drive_root(&self.current);
                self.left.extend(reversed_text(rest));
            }
            Target::Relative(rest) => self.left.extend(reversed_text(rest)),
            Target::Elsewhere => {
                let off = self.look.elsewhere(target)?;
                return Ok(Some(
                    off.unwrap_or_else(|| (target.to_owned(), kind_elsewhere(target))),
                ));
            }
        }
        self.enter_drive()
    }

    /// Looks at the directory that the walk goes on from; a drive's root may be another directory, or elsewhere.
    fn enter_drive(&mut self) -> Result<Option<Off>, CallFailure> {
        self.last = self.look.look(&self.current)?;
        let place = self.last.as_ref().map(|seen| seen.place.clone());
        match place {
            Some(Ok(place)) if place != self.current => {
                let drive = std::mem::replace(&mut self.current, place);
                self.links.push(drive);
                Ok(None)
            }
            Some(Err(off)) => Ok(Some(off)),
            Some(Ok(_)) | None => Ok(None),
        }
    }

    fn unfinished(&self, part: &str) -> Resolution {
        let mut path = self.current.clone();
        for part in std::iter::once(part).chain(self.left.iter().rev().map(String::as_str)) {
            match part {
                "" | "." => {}
                ".." => path = path.parent().unwrap_or(path),
                // What no path can hold can't be there either.
                part => path = append(&path, part).unwrap_or(path),
            }
        }
        Resolution::Drive(Resolved {
            path,
            links: self.links.clone(),
            seen: None,
            existing: self.current.clone(),
        })
    }
}

/// What the letters of a link's target say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target<'a> {
    Drive(char, &'a str),
    Rooted(&'a str),
    Relative(&'a str),
    Elsewhere,
}

impl<'a> Target<'a> {
    fn of(text: &'a str) -> Self {
        let plain = ["\\??\\", "\\\\?\\", "\\\\.\\"]
            .iter()
            .find_map(|prefix| text.strip_prefix(prefix))
            .unwrap_or(text);
        let mut characters = plain.chars();
        match (characters.next(), characters.next()) {
            (Some(drive), Some(':')) if drive.is_ascii_alphabetic() => {
                Self::Drive(drive, characters.as_str())
            }
            _ if plain.len() != text.len() => Self::Elsewhere,
            (Some('\\' | '/'), Some('\\' | '/')) => Self::Elsewhere,
            (Some('\\' | '/'), _) => Self::Rooted(plain),
            _ => Self::Relative(plain),
        }
    }
}

/// What a path that is no drive path is, by its letters.
pub(crate) fn kind_elsewhere(text: &str) -> Elsewhere {
    let lower = text.replace('/', "\\").to_ascii_lowercase();
    let share = lower
        .strip_prefix("\\\\?\\unc\\")
        .or_else(|| lower.strip_prefix("\\??\\unc\\"))
        .or_else(|| {
            lower
                .strip_prefix("\\\\")
                .filter(|rest| !rest.starts_with(['?', '.']))
        });
    match share {
        Some(share) if share.starts_with("wsl$") || share.starts_with("wsl.localhost") => {
            Elsewhere::Wsl
        }
        Some(_) => Elsewhere::Network,
        None => Elsewhere::Device,
    }
}

/// `path` with a component that was written down or found.
fn append(path: &WindowsPath, part: &str) -> Option<WindowsPath> {
    let text = path.to_string();
    let separator = if text.ends_with('\\') { "" } else { "\\" };
    WindowsPath::observed(&format!("{text}{separator}{part}")).ok()
}

fn drive_root(path: &WindowsPath) -> WindowsPath {
    path.ancestors().last().unwrap_or_else(|| path.clone())
}

fn reversed(components: &[String]) -> Vec<String> {
    components.iter().rev().cloned().collect()
}

fn reversed_text(text: &str) -> Vec<String> {
    text.rsplit(['\\', '/']).map(str::to_owned).collect()
}

/// What stands at `path`, whose directory part is resolved first; returns the path with that part resolved.
///
/// `None` where the directory lies on no drive of this machine.
///
/// # Errors
/// The look-ups'.
pub(crate) fn probe_entry<L: Look>(
    look: &mut L,
    path: &WindowsPath,
) -> Result<Option<(WindowsPath, Entry<WindowsPath>)>, CallFailure> {
    let (Some(parent), Some(name)) = (path.parent(), path.name()) else {
        return Ok(Some((path.clone(), Entry::Directory)));
    };
    let Some(parent) = resolve(look, &parent)?.on_drive() else {
        return Ok(None);
    };
    let Some(full) = append(&parent.path, name) else {
        return Ok(Some((path.clone(), Entry::Absent)));
    };
    if !parent.is_directory() {
        let existing = parent.existing;
        return Ok(Some((full, Entry::AbsentParent { existing })));
    }
    let Some(seen) = look.look(&full)? else {
        return Ok(Some((full, Entry::Absent)));
    };
    let full = seen.place.clone().unwrap_or(full);
    let entry = match (&seen.leads, seen.kind) {
        (None | Some(Leads::Volume), ObjectKind::Directory) => Entry::Directory,
        (None | Some(Leads::Volume), ObjectKind::File) => Entry::File,
        (Some(Leads::Path(_)), _) => match resolve(look, &full)? {
            Resolution::Drive(end) => Entry::Symlink {
                kind: end.seen.as_ref().map(|seen| match seen.kind {
                    ObjectKind::Directory => Kind::Directory,
                    ObjectKind::File => Kind::File,
                }),
                target: end.path,
            },
            Resolution::Elsewhere(..) => Entry::Other,
        },
        // What can't be followed is at least not replaced.
        (Some(Leads::Unknown), _) => Entry::Other,
    };
    Ok(Some((full, entry)))
}

/// [`probe_entry`] where nothing is known of a place elsewhere: it is no drive's, so nothing of it is ours to hold.
///
/// # Errors
/// The look-ups'.
pub(crate) fn probe_or_absent<L: Look>(
    look: &mut L,
    path: &WindowsPath,
) -> Result<(WindowsPath, Entry<WindowsPath>), CallFailure> {
    Ok(probe_entry(look, path)?.unwrap_or_else(|| (path.clone(), Entry::Absent)))
}

/// A file's content, through links.
///
/// # Errors
/// The look-ups'.
pub(crate) fn read_following<L: Look>(
    look: &mut L,
    file: &WindowsPath,
) -> Result<Option<Vec<u8>>, CallFailure> {
    match resolve(look, file)?.on_drive() {
        Some(end) if end.seen.is_some() => look.read(&end.path),
        Some(_) | None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_letters_of_a_target_say_where_it_leads() {
        for (text, target) in [
            ("\\??\\C:\\a", Target::Drive('C', "\\a")),
            ("D:\\a", Target::Drive('D', "\\a")),
            ("\\a\\b", Target::Rooted("\\a\\b")),
            ("..\\b", Target::Relative("..\\b")),
            ("\\\\server\\share", Target::Elsewhere),
            ("\\??\\UNC\\server\\share", Target::Elsewhere),
            ("\\??\\Volume{x}\\", Target::Elsewhere),
        ] {
            assert_eq!(Target::of(text), target, "{text}");
        }
    }

    #[test]
    fn shares_distributions_and_devices_are_told_apart() {
        for (text, kind) in [
            ("\\\\server\\share\\a", Elsewhere::Network),
            ("\\\\?\\UNC\\server\\share", Elsewhere::Network),
            ("\\\\wsl$\\Debian\\home", Elsewhere::Wsl),
            ("//wsl.localhost/Debian", Elsewhere::Wsl),
            ("\\\\?\\Volume{0}\\x", Elsewhere::Device),
            ("\\\\.\\pipe\\x", Elsewhere::Device),
        ] {
            assert_eq!(kind_elsewhere(text), kind, "{text}");
        }
    }
}
