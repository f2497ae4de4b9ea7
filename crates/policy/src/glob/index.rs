//! Many globs asked at once: most of them are ruled out by the ends of a name, with no look at the glob itself.
//!
//! The last name of whatever a glob matches begins, or ends, with the glob's own last letters. Invariant: a glob that
//! matches is always among the candidates; the others are few, not none.

/// As many bytes of a name's end are compared.
const LONGEST: usize = 8;

/// Where globs are found by the first or last bytes of a name.
#[derive(Clone, Debug, Default)]
pub struct GlobIndex {
    /// By how many first bytes are compared, less one; sorted.
    heads: [Vec<(u64, u32)>; LONGEST],
    /// By how many last bytes are compared, less one; sorted.
    tails: [Vec<(u64, u32)>; LONGEST],
    /// Globs that may match any name.
    rest: Vec<u32>,
}

/// What the last name of every match begins or ends with.
enum End<'a> {
    Head(&'a [u8]),
    Tail(&'a [u8]),
    Unknown,
}

impl GlobIndex {
    /// The index of `globs`, which it names by their places.
    #[must_use]
    pub fn new<'a>(globs: impl IntoIterator<Item = &'a str>) -> Self {
        let mut index = Self::default();
        for (place, glob) in (0_u32..).zip(globs) {
            let (table, bytes) = match end(glob) {
                End::Head(bytes) => (&mut index.heads, bytes),
                End::Tail(bytes) => (&mut index.tails, bytes),
                End::Unknown => {
                    index.rest.push(place);
                    continue;
                }
            };
            match table.get_mut(bytes.len().wrapping_sub(1)) {
                Some(list) => list.push((word(bytes), place)),
                None => index.rest.push(place),
            }
        }
        for list in index.heads.iter_mut().chain(&mut index.tails) {
            list.sort_unstable();
        }
        index
    }

    /// The globs that may match a path whose last name is `name`, by their places.
    pub fn candidates<'a>(&'a self, name: &'a [u8]) -> impl Iterator<Item = usize> {
        let heads = lists(&self.heads, move |length| name.get(..length));
        let tails = lists(&self.tails, move |length| {
            name.get(name.len().checked_sub(length)?..)
        });
        let rest = self.rest.iter().copied();
        heads.chain(tails).chain(rest).map(|place| place as usize)
    }
}

/// What the lists hold for the bytes that `part` gives of each length.
fn lists<'a>(
    table: &'a [Vec<(u64, u32)>; LONGEST],
    part: impl Fn(usize) -> Option<&'a [u8]>,
) -> impl Iterator<Item = u32> {
    (1..).zip(table).flat_map(move |(length, list)| {
        let wanted = if list.is_empty() { None } else { part(length) };
        let found = wanted.map_or(&[][..], |bytes| {
            let wanted = word(bytes);
            let start = list.partition_point(|(word, _)| *word < wanted);
            list.get(start..).unwrap_or_default()
        });
        let wanted = wanted.map(word);
        found
            .iter()
            .take_while(move |(word, _)| Some(*word) == wanted)
            .map(|(_, place)| *place)
    })
}

/// At most [`LONGEST`] bytes as one number.
fn word(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// The longer of the two ends of the last name that the glob spells out.
fn end(glob: &str) -> End<'_> {
    // Alternatives may hold whole names, and a backslash is a letter or not.
    if glob.contains(['{', '}', '\\']) {
        return End::Unknown;
    }
    let name = glob.rsplit('/').next().unwrap_or_default();
    let tail = name.rsplit(['*', '?', ']']).next().unwrap_or_default();
    if tail.contains('[') {
        return End::Unknown;
    }
    // A class may hold a slash: then what looks like a name's beginning is none.
    let head = if glob.contains('[') {
        ""
    } else {
        name.split(['*', '?']).next().unwrap_or_default()
    };
    let (head, tail) = (head.as_bytes(), tail.as_bytes());
    let head = head.get(..LONGEST).unwrap_or(head);
    let tail = tail
        .get(tail.len().saturating_sub(LONGEST)..)
        .unwrap_or(tail);
    match (head.len(), tail.len()) {
        (0, 0) => End::Unknown,
        (head_length, tail_length) if head_length > tail_length => End::Head(head),
        _ => End::Tail(tail),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::super::Glob;
    use super::*;

    fn candidates(globs: &[&str], path: &str) -> Vec<usize> {
        let name = path.rsplit('/').next().unwrap();
        let index = GlobIndex::new(globs.iter().copied());
        let mut found: Vec<_> = index.candidates(name.as_bytes()).collect();
        found.sort_unstable();
        found
    }

    #[test]
    fn a_name_is_compared_with_few_of_many_globs() {
        let globs: Vec<_> = (0..200)
            .map(|number| format!("**/*.secret{number}"))
            .collect();
        let globs: Vec<_> = globs.iter().map(String::as_str).collect();
        assert_eq!(candidates(&globs, "a/b.secret7"), [7]);
        assert!(candidates(&globs, "a/main.rs").is_empty());
        assert!(candidates(&globs, "").is_empty());
    }

    #[test]
    fn what_spells_no_end_out_is_always_a_candidate() {
        let globs = [
            "a/**", "**/*", "{a,b/c}", "x[/]", "\\*", "a*", "**/.env", "[ab]c",
        ];
        assert_eq!(candidates(&globs, "zz"), [0, 1, 2, 3, 4]);
        assert_eq!(candidates(&globs, "ab"), [0, 1, 2, 3, 4, 5]);
        assert_eq!(candidates(&globs, ".env"), [0, 1, 2, 3, 4, 6]);
        assert_eq!(candidates(&globs, "bc"), [0, 1, 2, 3, 4, 7]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]
        #[test]
        fn what_matches_is_a_candidate(
            glob in "(\\*\\*/){0,1}([ab.*?]{1,4}/){0,2}(\\*\\*/){0,1}([ab.*?]{1,12}|\\[!?[ab/]\\][ab]{0,2}|a\\[[ab/]\\]b|\\*\\*|\\{a,b/a\\})",
            path in "([ab.]{1,3}/){0,3}[ab.]{1,12}",
        ) {
            if let Ok(matcher) = Glob::new(&glob)
                && matcher.is_match(Path::new(&path))
            {
                prop_assert_eq!(candidates(&[&glob], &path), vec![0], "{} {}", glob, path);
            }
        }
    }
}
