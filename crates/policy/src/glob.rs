//! Globs in the one dialect of policies: `*` and `?` stay within a name, `**` crosses them.
//!
//! Names with stars, which is what people write (`**/.env.*`, `secrets/*.pem`), are matched here: compiling a regular
//! expression costs more than all the rest of a policy. What needs more goes to globset.
//! Invariant: both answer alike; a property test holds it.

mod index;

use std::path::Path;

use globset::{GlobBuilder, GlobMatcher};

pub use self::index::GlobIndex;

/// A glob, ready to match.
#[derive(Clone, Debug)]
pub struct Glob(Matcher);

#[derive(Clone, Debug)]
enum Matcher {
    Parts(Vec<Part>),
    Compiled(Box<GlobMatcher>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// `**`: any number of names, also none.
    AnyDepth,
    /// One name; `*` in it is any number of bytes.
    Name(Box<[u8]>),
}

impl Glob {
    /// Reads `glob`.
    ///
    /// # Errors
    /// globset's reason why it is no glob.
    pub fn new(glob: &str) -> Result<Self, globset::Error> {
        if let Some(parts) = parts(glob) {
            return Ok(Self(Matcher::Parts(parts)));
        }
        GlobBuilder::new(glob)
            .literal_separator(true)
            .backslash_escape(true)
            .build()
            .map(|glob| Self(Matcher::Compiled(Box::new(glob.compile_matcher()))))
    }

    /// Whether `path`, normal and without a trailing separator, matches as a whole.
    ///
    /// # Security
    /// The path is an attacker's: time is at most its length times the glob's.
    #[must_use]
    pub fn is_match(&self, path: &Path) -> bool {
        match &self.0 {
            Matcher::Parts(parts) => matches_parts(parts, path.as_os_str().as_encoded_bytes()),
            Matcher::Compiled(matcher) => matcher.is_match(path),
        }
    }
}

/// The parts of a glob that is made of names, stars and whole `**`; `None` for every other.
fn parts(glob: &str) -> Option<Vec<Part>> {
    if !cfg!(unix) || glob.is_empty() || glob.contains(['?', '[', ']', '{', '}', '\\', '\0']) {
        return None;
    }
    let mut parts = Vec::new();
    let mut words = glob.split('/').enumerate().peekable();
    while let Some((index, word)) = words.next() {
        let is_last = words.peek().is_none();
        match word {
            "**" => {
                parts.push(Part::AnyDepth);
                if is_last {
                    // `dir/**` is what lies below, not the directory.
                    parts.push(Part::Name(b"*".as_slice().into()));
                }
            }
            "" if index > 0 || is_last => return None,
            word if word.contains("**") => return None,
            word => parts.push(Part::Name(word.as_bytes().into())),
        }
    }
    Some(parts)
}

/// As [`matches_name`], with names for bytes and `**` for the star.
fn matches_parts(parts: &[Part], path: &[u8]) -> bool {
    // The commonest glob needs no look at the directories.
    if let [Part::AnyDepth, Part::Name(pattern)] = parts {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        return matches_name(pattern, name);
    }
    let mut parts = parts;
    let mut left = Some(path);
    let mut retry = None;
    while let Some(rest) = left {
        let (name, after) = first_name(rest);
        match parts.split_first() {
            Some((Part::AnyDepth, more)) => {
                retry = Some((more, after));
                parts = more;
                continue;
            }
            Some((Part::Name(pattern), more)) if matches_name(pattern, name) => {
                parts = more;
                left = after;
                continue;
            }
            Some((Part::Name(_), _)) | None => {}
        }
        // The last `**` takes one name more.
        let Some((more, Some(next))) = retry else {
            return false;
        };
        retry = Some((more, first_name(next).1));
        parts = more;
        left = Some(next);
    }
    parts.is_empty()
}

fn first_name(path: &[u8]) -> (&[u8], Option<&[u8]>) {
    match path.iter().position(|byte| *byte == b'/') {
        Some(end) => {
            let (name, rest) = path.split_at(end);
            (name, rest.get(1..))
        }
        None => (path, None),
    }
}

/// Whether a pattern with stars matches a whole name. On a mismatch only the last star takes one byte more.
fn matches_name(pattern: &[u8], name: &[u8]) -> bool {
    let (mut pattern, mut name) = (pattern, name);
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        match (pattern.split_first(), name.split_first()) {
            (None, None) => return true,
            (Some((b'*', more)), _) => {
                if more.is_empty() {
                    return true;
                }
                retry = Some((more, name));
                pattern = more;
                continue;
            }
            (Some((wanted, more)), Some((found, rest))) if wanted == found => {
                pattern = more;
                name = rest;
                continue;
            }
            (Some(_) | None, _) => {}
        }
        let Some((more, [_, rest @ ..])) = retry else {
            return false;
        };
        retry = Some((more, rest));
        pattern = more;
        name = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn compiled(glob: &str) -> GlobMatcher {
        GlobBuilder::new(glob)
            .literal_separator(true)
            .backslash_escape(true)
            .build()
            .unwrap()
            .compile_matcher()
    }

    #[test]
    fn the_common_globs_are_matched_without_a_regular_expression() {
        for glob in [
            "**/.env",
            "**/.env.*",
            "secrets/*.pem",
            "/home/a/.cargo/credentials*",
            "a/**/b",
            "a/**",
            "**",
        ] {
            assert!(parts(glob).is_some(), "{glob}");
        }
        for glob in [
            "", "a//b", "a/", "a**", "?", "[a]", "{a,b}", "\\*", "a/b**/c",
        ] {
            assert!(parts(glob).is_none(), "{glob}");
        }
    }

    #[test]
    fn a_suffix_of_any_depth_is_not_the_directory_itself() {
        let glob = Glob::new("a/**").unwrap();
        assert!(glob.is_match(Path::new("a/b")) && glob.is_match(Path::new("a/b/c")));
        assert!(!glob.is_match(Path::new("a")) && !glob.is_match(Path::new("ab/c")));
    }

    #[cfg(unix)]
    #[test]
    fn names_that_are_no_text_match_by_their_bytes() {
        use std::os::unix::ffi::OsStrExt as _;
        let name = Path::new(std::ffi::OsStr::from_bytes(b"a/\xff.pem"));
        assert!(Glob::new("**/*.pem").unwrap().is_match(name));
        assert!(!Glob::new("*.pem").unwrap().is_match(name));
    }

    #[test]
    fn a_hostile_name_costs_no_more_than_its_length_times_the_globs() {
        let name = "a".repeat(20_000);
        let glob = Glob::new(&format!("**/{}b", "a*".repeat(100))).unwrap();
        assert!(!glob.is_match(Path::new(&name)));
        let deep = "a/".repeat(2_000) + "a";
        let glob = Glob::new(&format!("{}b", "**/a/".repeat(100))).unwrap();
        assert!(!glob.is_match(Path::new(&deep)));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]
        #[test]
        fn the_answer_is_globsets(
            glob in "/?(\\*\\*/){0,1}([ab.*]{1,4}/){0,3}(\\*\\*/){0,1}([ab.*]{1,4}|\\*\\*)",
            path in "/?([ab.]{1,3}/){0,4}[ab.]{1,4}",
        ) {
            if let Some(parts) = parts(&glob) {
                let expected = compiled(&glob).is_match(&path);
                prop_assert_eq!(matches_parts(&parts, path.as_bytes()), expected, "{} {}", glob, path);
            }
        }
    }
}
