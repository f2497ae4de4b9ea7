//! Drops from git configuration what a host's git could execute.
//!
//! The file is parsed and written anew from the keys that are known to be harmless, so that no trick of the syntax
//! carries a line over. Invariant: a key that is not on the list is not in the result.

use std::fmt::Write as _;

use ringfence_plan::git::config::parse_whole;

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
    let Some(settings) = settings(bytes) else {
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

/// All settings in order; `None` for what git would refuse too, and for what is no text.
fn settings(bytes: &[u8]) -> Option<Vec<Setting>> {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).ok();
    let mut settings = Vec::new();
    for variable in parse_whole(bytes)? {
        settings.push(Setting {
            section: variable.section,
            subsection: match variable.subsection {
                Some(subsection) => Some(text(subsection)?),
                None => None,
            },
            key: variable.name,
            value: match variable.value {
                Some(value) => Some(text(value)?),
                None => None,
            },
        });
    }
    Some(settings)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_repository_keeps_its_configuration() {
        let text = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n[remote \"origin\"]\n\turl = https://example.com/x.git\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n[branch \"main\"]\n\tremote = origin\n\tmerge = refs/heads/main\n";
        let cleaned = clean(text.as_bytes());
        assert!(cleaned.dropped.is_empty(), "{:?}", cleaned.dropped);
        assert_eq!(settings(cleaned.text.as_bytes()), settings(text.as_bytes()));
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
        let again = settings(cleaned.text.as_bytes()).unwrap();
        assert_eq!(again.len(), 1);
    }

    #[test]
    fn what_is_no_text_is_dropped_whole() {
        assert_eq!(clean(b"[core]\nbare = \xff").dropped.len(), 1);
    }
}
