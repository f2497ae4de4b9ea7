//! The file system as repositories are read from it: with the person's own rights, as the person's git would.

use std::path::{Path, PathBuf};

use ringfence_backend::call::CallFailure;
use ringfence_plan::git::config::parse;
use ringfence_plan::git::{Disk, Links, Place, Probed};
use ringfence_plan::layout::{Entry, Kind};
use ringfence_plan::windows::WindowsPath;
use ringfence_plan::windows::facts::GitIdentity;
use ringfence_plan::windows::step::ObjectKind;

use super::git_paths::{meanings, place, slashed};
use super::look::{ListedKind, Look};
use super::resolve::{Resolution, Resolved, probe_or_absent, read_following, resolve};

/// What `0` shows.
pub(super) struct Seen<'a, L>(pub(super) &'a mut L);

impl<L: Look> Disk for Seen<'_, L> {
    type Path = WindowsPath;
    type Error = CallFailure;

    fn below(&self, directory: &WindowsPath, name: &str) -> Option<WindowsPath> {
        directory.join(name).ok()
    }

    fn above(&self, path: &WindowsPath) -> Option<WindowsPath> {
        path.parent()
    }

    fn is_within(&self, path: &WindowsPath, directory: &WindowsPath) -> bool {
        path.starts_with(directory)
    }

    fn written(&self, path: &WindowsPath) -> PathBuf {
        PathBuf::from(slashed(path))
    }

    fn resolve(&mut self, path: &WindowsPath) -> Result<Option<Place<WindowsPath>>, CallFailure> {
        Ok(on_drive(resolve(self.0, path)?))
    }

    fn follow(
        &mut self,
        base: &WindowsPath,
        value: &[u8],
    ) -> Result<Option<Place<WindowsPath>>, CallFailure> {
        match place(value, base) {
            Some(path) => self.resolve(&path),
            None => Ok(None),
        }
    }

    fn probe(&mut self, path: &WindowsPath) -> Result<Probed<WindowsPath>, CallFailure> {
        probe_or_absent(self.0, path)
    }

    fn probe_written(&mut self, written: &Path) -> Result<Vec<Probed<WindowsPath>>, CallFailure> {
        meanings(written)
            .iter()
            .map(|path| self.probe(path))
            .collect()
    }

    fn directories(
        &mut self,
        directory: &WindowsPath,
    ) -> Result<Option<Vec<WindowsPath>>, CallFailure> {
        if self.probe(directory)?.1 != Entry::Directory {
            return Ok(Some(Vec::new()));
        }
        let Some(listed) = self.0.list(directory)? else {
            return Ok(None);
        };
        let mut paths: Vec<WindowsPath> = listed
            .into_iter()
            .filter(|listed| listed.kind == ListedKind::Directory)
            .filter_map(|listed| directory.join_observed(&listed.name).ok())
            .collect();
        paths.sort_unstable();
        Ok(Some(paths))
    }

    fn read(&mut self, file: &WindowsPath, links: Links) -> Result<Option<Vec<u8>>, CallFailure> {
        match links {
            Links::Refused => self.0.read(file),
            Links::Followed => read_following(self.0, file),
        }
    }

    fn configuration(&mut self, written: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>, CallFailure> {
        let mut found = Vec::new();
        for file in meanings(written) {
            if let Some(content) = read_following(self.0, &file)? {
                let directory = file.parent().unwrap_or_else(|| file.clone());
                found.push((self.written(&directory), content));
            }
        }
        Ok(found)
    }
}

fn on_drive(resolution: Resolution) -> Option<Place<WindowsPath>> {
    let Resolved {
        path, links, seen, ..
    } = resolution.on_drive()?;
    Some(Place {
        path,
        links: match links.as_slice() {
            [] => Links::Refused,
            [_, ..] => Links::Followed,
        },
        kind: seen.map(|seen| match seen.kind {
            ObjectKind::Directory => Kind::Directory,
            ObjectKind::File => Kind::File,
        }),
    })
}

/// `user.name` and `user.email` of the person's own files; the last one counts, as git has it.
///
/// # Errors
/// The look-ups'.
pub(super) fn identity<L: Look>(
    look: &mut L,
    global: &[WindowsPath],
) -> Result<Option<GitIdentity>, CallFailure> {
    let (mut name, mut email) = (None, None);
    for file in global {
        let content = read_following(look, file)?.unwrap_or_default();
        for variable in parse(&content) {
            if variable.section != "user" || variable.subsection.is_some() {
                continue;
            }
            let value = variable
                .value
                .and_then(|value| String::from_utf8(value).ok());
            match variable.name.as_str() {
                "name" => name = value,
                "email" => email = value,
                _ => {}
            }
        }
    }
    Ok(name
        .zip(email)
        .map(|(name, email)| GitIdentity { name, email }))
}
