//! Reads git configuration without git: which values run a program, or name more configuration.
//!
//! Takes bytes and gives paths; looks at no disk. Conditions of `includeIf` are not judged: an include that may
//! apply counts. What git would refuse to read is skipped line by line, so that one bad line hides no other.
//!
//! Invariant: total on any input (every byte of it an attacker's), and linear in its length.
//! Source: `git-config(1)`, "CONFIGURATION FILE" and the keys' own sections.

use std::path::{Path, PathBuf};

use super::words::{bytes_to_path, words};

/// One variable of a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// The section's name in lower case.
    pub section: String,
    /// The subsection, as it is written.
    pub subsection: Option<Vec<u8>>,
    /// The variable's name in lower case.
    pub name: String,
    /// The value; `None` for a name without `=`, which means true.
    pub value: Option<Vec<u8>>,
}

/// What a value leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lead {
    /// The variable: `core.hookspath`, `filter.*.clean`.
    pub key: String,
    /// The path, not resolved; made absolute with the place that git takes it from.
    pub path: PathBuf,
    /// How sure it is that git takes it.
    pub certainty: Certainty,
    /// Whether it is itself configuration, to be read in turn.
    pub content: Content,
}

/// How sure it is that a word is a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Certainty {
    /// It is one, whether or not anything is there.
    Path,
    /// It is one only if a regular file is there: a bare word of a command line.
    IfFile,
}

/// What lies at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// More configuration.
    Configuration,
    /// A program, a directory of them, or their arguments.
    Program,
}

/// Where relative values start.
#[derive(Clone, Copy, Debug)]
pub struct Bases<'a> {
    /// The caller's home, for `~/`.
    pub home: &'a Path,
    /// The directory of the file that holds the variable, for includes.
    pub file: &'a Path,
    /// The top of the working tree, where git starts programs.
    pub top: &'a Path,
}

/// Reads one file, as far as it can be read: for finding all that git may do because of it.
#[must_use]
pub fn parse(content: &[u8]) -> Vec<Variable> {
    read(content).0
}

/// Reads one file that git would read whole, and `None` for any other: for telling that nothing else is in it.
#[must_use]
pub fn parse_whole(content: &[u8]) -> Option<Vec<Variable>> {
    match read(content) {
        (variables, Syntax::Sound) => Some(variables),
        (_, Syntax::Broken) => None,
    }
}

/// Whether git would take a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Syntax {
    Sound,
    Broken,
}

fn read(content: &[u8]) -> (Vec<Variable>, Syntax) {
    let content = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content);
    let mut reader = Reader {
        rest: content,
        syntax: Syntax::Sound,
    };
    let mut section: Option<(String, Option<Vec<u8>>)> = None;
    let mut variables = Vec::new();
    while let Some(byte) = reader.peek() {
        match byte {
            b'#' | b';' => reader.skip_line(),
            b'[' => {
                reader.next();
                section = reader.header();
                if section.is_none() {
                    reader.skip_broken();
                }
            }
            byte if byte.is_ascii_alphabetic() => match (reader.variable(), &section) {
                (Some((name, value)), Some((section, subsection))) => variables.push(Variable {
                    section: section.clone(),
                    subsection: subsection.clone(),
                    name,
                    value,
                }),
                (Some(_) | None, _) => reader.syntax = Syntax::Broken,
            },
            byte if byte.is_ascii_whitespace() => {
                reader.next();
            }
            _ => reader.skip_broken(),
        }
    }
    (variables, reader.syntax)
}

struct Reader<'a> {
    rest: &'a [u8],
    syntax: Syntax,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// The next byte; a carriage return before a line feed is the line feed's.
    fn next(&mut self) -> Option<u8> {
        if let [b'\r', b'\n', after @ ..] = self.rest {
            self.rest = after;
            return Some(b'\n');
        }
        let (first, after) = self.rest.split_first()?;
        self.rest = after;
        Some(*first)
    }

    fn skip_broken(&mut self) {
        self.syntax = Syntax::Broken;
        self.skip_line();
    }

    fn skip_line(&mut self) {
        while let Some(byte) = self.next() {
            if byte == b'\n' {
                return;
            }
        }
    }

    fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | 0x0b | 0x0c)) {
            // A carriage return that ends the line ends it.
            if self.rest.starts_with(b"\r\n") {
                return;
            }
            self.next();
        }
    }

    /// The rest of `[section]`, `[section "Subsection"]` or `[section.subsection]`.
    fn header(&mut self) -> Option<(String, Option<Vec<u8>>)> {
        let mut name = String::new();
        loop {
            match self.peek()? {
                b']' => {
                    self.next();
                    let mut parts = name.splitn(2, '.');
                    let section = parts.next().unwrap_or_default().to_owned();
                    let subsection = parts.next().map(|part| part.as_bytes().to_vec());
                    return Some((section, subsection));
                }
                byte if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.' => {
                    name.push(char::from(byte.to_ascii_lowercase()));
                    self.next();
                }
                b' ' | b'\t' => break,
                _ => return None,
            }
        }
        self.skip_blanks();
        if self.next()? != b'"' {
            return None;
        }
        let mut subsection = Vec::new();
        loop {
            match self.next()? {
                b'"' => break,
                b'\n' => return None,
                b'\\' => match self.next()? {
                    b'\n' => return None,
                    byte => subsection.push(byte),
                },
                byte => subsection.push(byte),
            }
        }
        (self.next()? == b']').then_some((name, Some(subsection)))
    }

    /// A name, and its value if an equals sign follows; `None` for what git refuses.
    fn variable(&mut self) -> Option<(String, Option<Vec<u8>>)> {
        let mut name = String::new();
        while let Some(byte) = self.peek() {
            if !byte.is_ascii_alphanumeric() && byte != b'-' {
                break;
            }
            name.push(char::from(byte.to_ascii_lowercase()));
            self.next();
        }
        self.skip_blanks();
        match self.peek() {
            Some(b'=') => {
                self.next();
                Some((name, Some(self.value())))
            }
            None | Some(b'\n' | b'\r') => Some((name, None)),
            Some(b'#' | b';') => {
                self.skip_line();
                Some((name, None))
            }
            Some(_) => {
                self.skip_line();
                None
            }
        }
    }

    fn value(&mut self) -> Vec<u8> {
        self.skip_blanks();
        let mut value = Vec::new();
        let mut kept = 0;
        let mut quoted = false;
        while let Some(byte) = self.next() {
            match byte {
                b'\n' => break,
                b'#' | b';' if !quoted => {
                    self.skip_line();
                    break;
                }
                b'"' => {
                    quoted = !quoted;
                    kept = value.len();
                }
                b'\\' => {
                    match self.next() {
                        Some(b'\n') => continue,
                        Some(b'n') => value.push(b'\n'),
                        Some(b't') => value.push(b'\t'),
                        Some(b'b') => value.push(8),
                        Some(same @ (b'"' | b'\\')) => value.push(same),
                        Some(other) => {
                            self.syntax = Syntax::Broken;
                            value.push(other);
                        }
                        None => self.syntax = Syntax::Broken,
                    }
                    kept = value.len();
                }
                byte => {
                    value.push(byte);
                    if quoted || !byte.is_ascii_whitespace() {
                        kept = value.len();
                    }
                }
            }
        }
        // Git refuses a quote that is open at the end of its line; what it holds still counts here.
        if quoted {
            self.syntax = Syntax::Broken;
        }
        value.truncate(kept);
        value
    }
}

/// What kind of value a variable holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    Include,
    Path,
    Command,
    /// A command after `!`; anything else is git's own.
    Shell,
}

fn meaning(variable: &Variable) -> Option<Meaning> {
    let deep = variable.subsection.is_some();
    match (variable.section.as_str(), variable.name.as_str()) {
        ("include" | "includeif", "path") => Some(Meaning::Include),
        ("core", "hookspath" | "attributesfile" | "worktree") | ("init", "templatedir") => {
            Some(Meaning::Path)
        }
        (
            "core",
            "fsmonitor"
            | "sshcommand"
            | "editor"
            | "pager"
            | "askpass"
            | "gitproxy"
            | "alternaterefscommand",
        )
        | ("sequence", "editor")
        | ("gpg", "program" | "defaultkeycommand")
        | ("interactive", "difffilter")
        | ("uploadpack", "packobjectshook")
        | ("diff", "external")
        | ("web", "browser")
        | ("pager", _)
        | ("credential", "helper")
        | ("filter", "clean" | "smudge" | "process")
        | ("sendemail", "smtpserver" | "tocmd" | "cccmd" | "headercmd" | "sendmailcmd") => {
            Some(Meaning::Command)
        }
        ("diff", "command" | "textconv")
        | ("merge", "driver")
        | ("hook" | "trailer", "command" | "cmd")
        | ("remote", "uploadpack" | "receivepack" | "vcs")
        | ("tar", "command")
        | ("difftool" | "mergetool" | "browser" | "man" | "guitool", "cmd" | "path")
            if deep =>
        {
            Some(Meaning::Command)
        }
        ("alias", _) | ("submodule", "update") => Some(Meaning::Shell),
        _ => None,
    }
}

/// The paths that `variable` leads to: programs git would start, and configuration it would read.
#[must_use]
pub fn leads(variable: &Variable, bases: &Bases<'_>) -> Vec<Lead> {
    let (Some(meaning), Some(value)) = (meaning(variable), &variable.value) else {
        return Vec::new();
    };
    let key = match &variable.subsection {
        Some(_) => format!("{}.*.{}", variable.section, variable.name),
        None => format!("{}.{}", variable.section, variable.name),
    };
    let lead = |path, certainty, content| Lead {
        key: key.clone(),
        path,
        certainty,
        content,
    };
    match meaning {
        Meaning::Include => place(value, bases.file, bases.home)
            .map(|path| lead(path, Certainty::Path, Content::Configuration))
            .into_iter()
            .collect(),
        Meaning::Path => place(value, bases.top, bases.home)
            .map(|path| lead(path, Certainty::Path, Content::Program))
            .into_iter()
            .collect(),
        Meaning::Command | Meaning::Shell => {
            let command = value.strip_prefix(b"!");
            if is_boolean(value) || (meaning == Meaning::Shell && command.is_none()) {
                return Vec::new();
            }
            words(command.unwrap_or(value))
                .into_iter()
                .filter_map(|word| {
                    let certainty = if word.contains(&b'/') {
                        Certainty::Path
                    } else {
                        Certainty::IfFile
                    };
                    let path = place(&word, bases.top, bases.home)?;
                    Some(lead(path, certainty, Content::Program))
                })
                .collect()
        }
    }
}

fn is_boolean(value: &[u8]) -> bool {
    [
        &b"true"[..],
        b"false",
        b"yes",
        b"no",
        b"on",
        b"off",
        b"0",
        b"1",
        b"",
    ]
    .iter()
    .any(|word| value.eq_ignore_ascii_case(word))
}

/// Where a value leads: below the home, absolute, or below `base`. Other people's homes and git's own prefix are not
/// inside any root.
fn place(value: &[u8], base: &Path, home: &Path) -> Option<PathBuf> {
    if value.is_empty() || value.contains(&0) || value.starts_with(b"%(") {
        return None;
    }
    match value {
        b"~" => Some(home.to_owned()),
        [b'~', b'/', rest @ ..] => Some(home.join(bytes_to_path(trim_slashes(rest))?)),
        [b'~', ..] => None,
        _ => Some(base.join(bytes_to_path(value)?)),
    }
}

fn trim_slashes(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().take_while(|byte| **byte == b'/').count();
    bytes.get(start..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(text: &str) -> Variable {
        let mut variables = parse(text.as_bytes());
        assert_eq!(variables.len(), 1, "{text:?}: {variables:?}");
        variables.remove(0)
    }

    fn value(text: &str) -> String {
        let variable = one(&format!("[s]\nk = {text}\n"));
        String::from_utf8(variable.value.expect("a value")).expect("text")
    }

    fn paths(text: &str) -> Vec<String> {
        let bases = Bases {
            home: Path::new("/home/u"),
            file: Path::new("/w/.git"),
            top: Path::new("/w"),
        };
        parse(text.as_bytes())
            .iter()
            .flat_map(|variable| leads(variable, &bases))
            .map(|lead| lead.path.to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn values_are_unquoted_trimmed_and_continued_as_git_does() {
        assert_eq!(value("a b  # comment"), "a b");
        assert_eq!(value("\"a # b\" ; comment"), "a # b");
        assert_eq!(value("\"  spaces  \"  "), "  spaces  ");
        assert_eq!(value("one \\\n  two"), "one   two");
        assert_eq!(value("one \\\r\n  two"), "one   two");
        assert_eq!(
            value(r#"tab\there \"quoted\" back\\slash"#),
            "tab\there \"quoted\" back\\slash"
        );
        assert_eq!(value("mid\"dle # \"end"), "middle # end");
        assert_eq!(value("crlf\r"), "crlf");
    }

    #[test]
    fn sections_keys_and_subsections_keep_or_lose_their_case() {
        let variable = one("[CoRe]\n\tHooksPath=x\n");
        assert_eq!(
            (variable.section.as_str(), variable.name.as_str()),
            ("core", "hookspath")
        );
        let variable = one("[filter \"LFS \\\"x\\\\\"] Clean = y");
        assert_eq!(variable.subsection.as_deref(), Some(&b"LFS \"x\\"[..]));
        let variable = one("[Filter.LFS]clean=y");
        assert_eq!(variable.subsection.as_deref(), Some(&b"lfs"[..]));
        assert_eq!(one("[core] fsmonitor\n").value, None);
    }

    #[test]
    fn a_bad_line_hides_no_other() {
        let text = "[core]\n = nothing\n?? \n9x = y\nhooksPath = h\n[broken \"\nfsmonitor = a/b\n[core]\neditor = e/d\n";
        assert_eq!(paths(text), ["/w/h", "/w/e/d"]);
    }

    #[test]
    fn what_git_would_refuse_is_not_whole() {
        assert_eq!(
            parse_whole(b"[s]\n\tk = \"a # b\" ; c\n").map(|all| all.len()),
            Some(1)
        );
        for text in [
            "[s]k = \"a\n",
            "[s]k = \"a",
            "[s]k = a\\x",
            "[s]k = a\\",
            "[s]k?\n",
            "[s",
            "k = a",
            "[s]\n9",
        ] {
            assert_eq!(parse_whole(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn variables_before_any_section_are_nobodys() {
        assert!(parse(b"hooksPath = x\n").is_empty());
        assert!(parse(b"\xef\xbb\xbf[core]\nhooksPath = x\n").len() == 1);
    }

    #[test]
    fn every_way_to_run_a_file_of_the_tree_is_found() {
        let cases = [
            (
                "[include]\npath = ../.gitconfig",
                vec!["/w/.git/../.gitconfig"],
            ),
            (
                "[includeIf \"gitdir:/x/\"]\npath = inc",
                vec!["/w/.git/inc"],
            ),
            ("[core]\nhooksPath = tools/hooks", vec!["/w/tools/hooks"]),
            ("[core]\nhooksPath = ~/hooks", vec!["/home/u/hooks"]),
            ("[core]\nfsmonitor = true", vec![]),
            (
                "[core]\nfsmonitor = .git/hooks/watch --x",
                vec!["/w/.git/hooks/watch", "/w/--x"],
            ),
            (
                "[core]\nsshCommand = \"FOO=./a/b ssh -i 'c d/e'\"",
                vec!["/w/./a/b", "/w/FOO", "/w/ssh", "/w/-i", "/w/c d/e"],
            ),
            (
                "[filter \"x\"]\nprocess = sh f.sh",
                vec!["/w/sh", "/w/f.sh"],
            ),
            ("[diff \"x\"]\ntextconv = bin/t", vec!["/w/bin/t"]),
            (
                "[alias]\nst = status\nx = !scripts/run",
                vec!["/w/scripts/run"],
            ),
            (
                "[credential \"https://example.com\"]\nhelper = !./cred",
                vec!["/w/./cred"],
            ),
            ("[gpg \"ssh\"]\nprogram = /w/gpg", vec!["/w/gpg"]),
            ("[core]\nhooksPath = ~other/hooks", vec![]),
            ("[user]\nname = a/b", vec![]),
        ];
        for (text, expected) in cases {
            let mut found = paths(text);
            let mut expected: Vec<String> = expected.into_iter().map(str::to_owned).collect();
            found.sort();
            expected.sort();
            assert_eq!(found, expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(content in proptest::collection::vec(any::<u8>(), 0..400)) {
            let bases = Bases { home: Path::new("/h"), file: Path::new("/f"), top: Path::new("/t") };
            for variable in parse(&content) {
                let _ = leads(&variable, &bases);
            }
        }

        #[test]
        fn any_mixture_of_gits_own_marks_is_read(content in "[\\[\\]\"\\\\=#; \nacore.filter/~!\r\t-]{0,200}") {
            for variable in parse(content.as_bytes()) {
                prop_assert!(variable.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'));
            }
        }

        #[test]
        fn a_quoted_path_survives(path in "[a-zA-Z0-9 #;._/-]{1,40}") {
            let text = format!("[core]\nhooksPath = \"{path}\"\n");
            let variables = parse(text.as_bytes());
            prop_assert_eq!(variables[0].value.as_deref(), Some(path.as_bytes()));
        }
    }
}
