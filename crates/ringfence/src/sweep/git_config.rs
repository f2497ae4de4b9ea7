//! git's configuration syntax, as far as it takes to drop what a host's git could execute.
//!
//! The file is parsed and written anew from the keys that are known to be harmless, so that no trick of the syntax
//! carries a line over. Invariant: a key that is not on the list is not in the result.

use std::fmt::Write as _;

/// Keys that only describe a repository. `*` stands for any subsection.
const HARMLESS: [(&str, Subsection, &[&str]); 7] = [
    (
        "core",
        Subsection::None,
        &[
            "repositoryformatversion",
            "filemode",
            "bare",
            "logallrefupdates",
            "ignorecase",
            "precomposeunicode",
            "symlinks",
            "autocrlf",
            "eol",
        ],
    ),
    (
        "extensions",
        Subsection::None,
        &["objectformat", "refstorage", "compatobjectformat"],
    ),
    ("user", Subsection::None, &["name", "email"]),
    ("init", Subsection::None, &["defaultbranch"]),
    ("pull", Subsection::None, &["rebase", "ff"]),
    (
        "remote",
        Subsection::Any,
        &["url", "fetch", "push", "tagopt", "prune"],
    ),
    (
        "branch",
        Subsection::Any,
        &["remote", "merge", "rebase", "description"],
    ),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subsection {
    None,
    Any,
}

/// One key with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Setting {
    section: String,
    subsection: Option<String>,
    key: String,
    value: Option<String>,
}

/// What is left of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cleaned {
    /// The new text.
    pub(super) text: String,
    /// The dotted names of what was dropped, without values.
    pub(super) dropped: Vec<String>,
}

/// Drops every setting that is not known to be harmless. What can't be parsed is dropped whole.
pub(super) fn clean(bytes: &[u8]) -> Cleaned {
    let parsed = std::str::from_utf8(bytes).ok().and_then(parse);
    let Some(settings) = parsed else {
        return Cleaned {
            text: "[core]\n\trepositoryformatversion = 0\n".to_owned(),
            dropped: vec!["everything: it can't be parsed".to_owned()],
        };
    };
    let mut cleaned = Cleaned {
        text: String::new(),
        dropped: Vec::new(),
    };
    let mut header = None;
    for setting in settings {
        if !is_harmless(&setting) {
            cleaned.dropped.push(setting.name());
            continue;
        }
        let this = (setting.section.clone(), setting.subsection.clone());
        if header.as_ref() != Some(&this) {
            cleaned.text.push_str(&render_header(&setting));
            header = Some(this);
        }
        cleaned.text.push_str(&render_setting(&setting));
    }
    cleaned
}

impl Setting {
    fn name(&self) -> String {
        match &self.subsection {
            Some(subsection) => format!("{}.{subsection}.{}", self.section, self.key),
            None => format!("{}.{}", self.section, self.key),
        }
    }
}

fn is_harmless(setting: &Setting) -> bool {
    let listed = HARMLESS.iter().any(|(section, subsection, keys)| {
        let fits = match subsection {
            Subsection::None => setting.subsection.is_none(),
            Subsection::Any => setting.subsection.is_some(),
        };
        fits && *section == setting.section && keys.contains(&setting.key.as_str())
    });
    listed
        && (setting.key != "url" || is_harmless_url(setting.value.as_deref().unwrap_or_default()))
}

/// `ext::command` runs a command; a leading `-` would be taken for an option by what git starts.
fn is_harmless_url(url: &str) -> bool {
    !url.contains("::") && !url.starts_with('-') && !url.contains("://-")
}

fn render_header(setting: &Setting) -> String {
    match &setting.subsection {
        Some(subsection) => format!("[{} \"{}\"]\n", setting.section, escape(subsection)),
        None => format!("[{}]\n", setting.section),
    }
}

fn render_setting(setting: &Setting) -> String {
    let mut line = format!("\t{}", setting.key);
    if let Some(value) = &setting.value {
        // Writing to a String can't fail.
        let _ = write!(line, " = \"{}\"", escape(value));
    }
    line.push('\n');
    line
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' => escaped.push_str("\\\""),
            '\\' => escaped.push_str("\\\\"),
            '\n' => escaped.push_str("\\n"),
            '\t' => escaped.push_str("\\t"),
            character => escaped.push(character),
        }
    }
    escaped
}

/// All settings in order; `None` for what git would refuse too, or what we don't know.
fn parse(text: &str) -> Option<Vec<Setting>> {
    let text = text
        .strip_prefix('\u{feff}')
        .unwrap_or(text)
        .replace("\r\n", "\n");
    let mut rest = text.chars().peekable();
    let mut settings = Vec::new();
    let mut section: Option<(String, Option<String>)> = None;
    while let Some(&character) = rest.peek() {
        match character {
            '#' | ';' => while rest.next_if(|next| *next != '\n').is_some() {},
            '[' => {
                rest.next();
                section = Some(parse_header(&mut rest)?);
            }
            character if character.is_whitespace() => {
                rest.next();
            }
            character if character.is_ascii_alphabetic() => {
                let (section, subsection) = section.clone()?;
                let (key, value) = parse_setting(&mut rest)?;
                settings.push(Setting {
                    section,
                    subsection,
                    key,
                    value,
                });
            }
            _ => return None,
        }
    }
    Some(settings)
}

type Text<'a> = std::iter::Peekable<std::str::Chars<'a>>;

/// After `[`: `section]`, `section "sub"]`, or the old form `section.sub]`.
fn parse_header(rest: &mut Text<'_>) -> Option<(String, Option<String>)> {
    let mut name = String::new();
    while let Some(next) =
        rest.next_if(|next| next.is_ascii_alphanumeric() || matches!(next, '-' | '.'))
    {
        name.push(next.to_ascii_lowercase());
    }
    while rest.next_if(|next| matches!(next, ' ' | '\t')).is_some() {}
    let mut subsection = None;
    if rest.next_if_eq(&'"').is_some() {
        let mut quoted = String::new();
        loop {
            match rest.next()? {
                '"' => break,
                '\\' => quoted.push(rest.next()?),
                '\n' => return None,
                character => quoted.push(character),
            }
        }
        subsection = Some(quoted);
    } else if let Some((section, sub)) = name.clone().split_once('.') {
        subsection = Some(sub.to_owned());
        section.clone_into(&mut name);
    }
    rest.next_if_eq(&']')?;
    Some((name, subsection))
}

fn parse_setting(rest: &mut Text<'_>) -> Option<(String, Option<String>)> {
    let mut key = String::new();
    while let Some(next) = rest.next_if(|next| next.is_ascii_alphanumeric() || *next == '-') {
        key.push(next.to_ascii_lowercase());
    }
    while rest.next_if(|next| matches!(next, ' ' | '\t')).is_some() {}
    match rest.peek() {
        None | Some('\n' | '#' | ';') => Some((key, None)),
        Some('=') => {
            rest.next();
            Some((key, Some(parse_value(rest)?)))
        }
        Some(_) => None,
    }
}

/// A value to the end of its line, with quotes, escapes, continued lines and comments as git reads them.
fn parse_value(rest: &mut Text<'_>) -> Option<String> {
    let mut value = String::new();
    let mut kept = 0;
    let mut quoted = false;
    while let Some(character) = rest.next() {
        match character {
            '\n' if quoted => return None,
            '\n' => break,
            '"' => {
                quoted = !quoted;
                kept = value.len();
            }
            '\\' => {
                match rest.next()? {
                    '\n' => continue,
                    'n' => value.push('\n'),
                    't' => value.push('\t'),
                    'b' => value.push('\u{8}'),
                    same @ ('"' | '\\') => value.push(same),
                    _ => return None,
                }
                kept = value.len();
            }
            '#' | ';' if !quoted => while rest.next_if(|next| *next != '\n').is_some() {},
            character if character.is_whitespace() && !quoted => {
                if !value.is_empty() {
                    value.push(character);
                }
            }
            character => {
                value.push(character);
                kept = value.len();
            }
        }
    }
    value.truncate(kept);
    (!quoted).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_repository_keeps_its_configuration() {
        let text = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n[remote \"origin\"]\n\turl = https://example.com/x.git\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n[branch \"main\"]\n\tremote = origin\n\tmerge = refs/heads/main\n";
        let cleaned = clean(text.as_bytes());
        assert!(cleaned.dropped.is_empty(), "{:?}", cleaned.dropped);
        assert_eq!(parse(&cleaned.text), parse(text));
    }

    #[test]
    fn what_a_host_could_execute_is_dropped_in_every_spelling() {
        for text in [
            "[core]\nfsmonitor=x",
            "[CORE] FsMonitor = x",
            "[core]hooksPath = x",
            "[core] sshCommand = \"x\"",
            "[core]\n\tfsm\\\nonitor = x",
            "[core] pager = x # bare",
            "[filter \"a\"] clean = x",
            "[filter.a] smudge = x",
            "[diff \"a\"] command = x",
            "[include] path = x",
            "[includeIf \"gitdir:/\"] path = x",
            "[alias] st = !x",
            "[gpg] program = x",
            "[credential] helper = x",
            "[remote \"o\"] url = ext::sh -c x",
            "[remote \"o\"] uploadpack = x",
            "[remote \"o\"] vcs = x",
            "[submodule \"a\"] update = !x",
            "[core] bare = false\n[core] fsmonitor = x ; [core] bare",
            "[extensions] worktreeConfig = true",
            "[protocol \"ext\"] allow = always",
            "[core]\nbare = \"a\\\n[core]\nfsmonitor = x",
            "\u{feff}[core]\nfsmonitor = x",
            "fsmonitor = x",
            "[core",
        ] {
            let cleaned = clean(text.as_bytes());
            assert!(!cleaned.dropped.is_empty(), "{text}");
            let left = cleaned.text.to_ascii_lowercase();
            for word in [
                "fsmonitor",
                "hookspath",
                "command",
                "path",
                "ext",
                "clean",
                "smudge",
                "helper",
                "program",
                "!x",
                "uploadpack",
                "vcs",
                "pager",
                "allow",
            ] {
                assert!(!left.contains(word), "{text:?} left {left:?}");
            }
        }
    }

    #[test]
    fn a_value_can_not_break_out_of_its_line() {
        let cleaned = clean(b"[user]\n\tname = \"a\\n[core]\\nfsmonitor = x\"\n");
        assert_eq!(
            cleaned.text,
            "[user]\n\tname = \"a\\n[core]\\nfsmonitor = x\"\n"
        );
        let again = parse(&cleaned.text).unwrap();
        assert_eq!(again.len(), 1);
    }

    #[test]
    fn what_is_no_text_is_dropped_whole() {
        assert_eq!(clean(b"[core]\nbare = \xff").dropped.len(), 1);
    }
}
