//! What a person's SSH configuration names: keys, certificates, control sockets. OpenSSH is never run.
//!
//! `Host` and `Match` are not judged: what may apply counts. Source: `ssh_config(5)`.

use std::collections::BTreeSet;

use ringfence_plan::layout::Entry;
use ringfence_plan::windows::WindowsPath;

use super::ObserveError;
use super::git_paths::place;
use super::look::Look;
use super::resolve::{probe_or_absent, read_following};
use super::scan::NameGlob;

/// As deep as OpenSSH follows includes.
const MAX_DEPTH: usize = 16;

/// The existing files that `~/.ssh/config` and what it includes name, sorted.
///
/// # Errors
/// [`ObserveError`].
pub(crate) fn names<L: Look>(
    look: &mut L,
    home: &WindowsPath,
) -> Result<Vec<WindowsPath>, ObserveError> {
    let Ok(directory) = home.join(".ssh") else {
        return Ok(Vec::new());
    };
    let Ok(config) = directory.join("config") else {
        return Ok(Vec::new());
    };
    let mut reading = Reading {
        look,
        home,
        directory: &directory,
        seen: BTreeSet::new(),
        names: BTreeSet::new(),
    };
    reading.file(&config, MAX_DEPTH)?;
    Ok(reading.names.into_iter().collect())
}

struct Reading<'a, L> {
    look: &'a mut L,
    home: &'a WindowsPath,
    directory: &'a WindowsPath,
    seen: BTreeSet<WindowsPath>,
    names: BTreeSet<WindowsPath>,
}

impl<L: Look> Reading<'_, L> {
    fn file(&mut self, file: &WindowsPath, depth: usize) -> Result<(), ObserveError> {
        if depth == 0 || !self.seen.insert(file.clone()) {
            return Ok(());
        }
        let Some(content) = read_following(self.look, file)? else {
            return Ok(());
        };
        for line in String::from_utf8_lossy(&content).lines() {
            let (key, values) = keyword(line);
            match key.as_str() {
                "include" => {
                    for value in &values {
                        for path in self.expand(value)? {
                            self.file(&path, depth - 1)?;
                        }
                    }
                }
                "identityfile" | "certificatefile" | "controlpath" | "identityagent" => {
                    for value in &values {
                        self.name(value)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn name(&mut self, value: &str) -> Result<(), ObserveError> {
        // What is known only at a connection (`%h`) is no file yet; the directory is hidden by name anyway.
        if value.contains('%') && !value.starts_with("%d") {
            return Ok(());
        }
        let Some(path) = self.path(value) else {
            return Ok(());
        };
        let (path, entry) = probe_or_absent(self.look, &path)?;
        match entry {
            Entry::File | Entry::Other | Entry::Directory => {
                self.names.insert(path);
            }
            Entry::Symlink {
                target,
                kind: Some(_),
            } => {
                self.names.insert(target);
            }
            Entry::Symlink { kind: None, .. } | Entry::Absent | Entry::AbsentParent { .. } => {}
        }
        Ok(())
    }

    fn path(&self, value: &str) -> Option<WindowsPath> {
        let value = value.replace('\\', "/");
        let below_home = value
            .strip_prefix("~/")
            .or_else(|| value.strip_prefix("%d/"))
            .or_else(|| value.strip_prefix("${HOME}/"))
            .or_else(|| value.strip_prefix("${USERPROFILE}/"));
        match below_home {
            Some(below) => place(below.as_bytes(), self.home),
            // OpenSSH takes a relative include from `~/.ssh`; a relative key from where it runs, mostly the home.
            None => place(value.as_bytes(), self.directory),
        }
    }

    /// The files that an include means; a star matches within one directory.
    fn expand(&mut self, value: &str) -> Result<Vec<WindowsPath>, ObserveError> {
        if !value.contains(['*', '?']) {
            return Ok(self.path(value).into_iter().collect());
        }
        let slashed = value.replace('\\', "/");
        let (directory, pattern) = slashed.rsplit_once('/').unwrap_or((".", &slashed));
        let Some(directory) = self
            .path(directory)
            .or_else(|| (directory == "~").then(|| self.home.clone()))
        else {
            return Ok(Vec::new());
        };
        let matcher = NameGlob::new(pattern)?;
        let mut found = Vec::new();
        for listed in self.look.list(&directory)?.unwrap_or_default() {
            if let Ok(path) = directory.join_observed(&listed.name)
                && matcher.is_match(path.name().unwrap_or_default())
            {
                found.push(path);
            }
        }
        Ok(found)
    }
}

/// A line's keyword in lower case, and its arguments, quotes removed.
fn keyword(line: &str) -> (String, Vec<String>) {
    let line = line.trim();
    if line.starts_with('#') {
        return (String::new(), Vec::new());
    }
    let end = line
        .find(|c: char| c.is_whitespace() || c == '=')
        .unwrap_or(line.len());
    let (key, rest) = line.split_at(end);
    let rest = rest.trim_start().trim_start_matches('=').trim();
    let mut values = Vec::new();
    let mut value = String::new();
    let mut quoted = false;
    for character in rest.chars() {
        match character {
            '"' => quoted = !quoted,
            c if c.is_whitespace() && !quoted => {
                if !value.is_empty() {
                    values.push(std::mem::take(&mut value));
                }
            }
            c => value.push(c),
        }
    }
    if !value.is_empty() {
        values.push(value);
    }
    (key.to_ascii_lowercase(), values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_are_read_as_openssh_reads_them() {
        assert_eq!(
            keyword("  IdentityFile = \"~/my keys/id\" # no comment here"),
            (
                "identityfile".to_owned(),
                vec![
                    "~/my keys/id".to_owned(),
                    "#".to_owned(),
                    "no".to_owned(),
                    "comment".to_owned(),
                    "here".to_owned()
                ]
            )
        );
        assert_eq!(keyword("# IdentityFile x").1, Vec::<String>::new());
        assert_eq!(keyword("Include=a b").1, ["a", "b"]);
    }
}
