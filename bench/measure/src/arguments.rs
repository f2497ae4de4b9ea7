//! The command line of the benchmark. It looks at no file. Invariant: an area is measured once, in a fixed order.

use std::ffi::OsString;
use std::path::PathBuf;

/// How to call it.
pub(crate) const USAGE: &str = "\
usage: measure --ringfence FILE --limit FILE [start|growth|tail|steady|egress|size|windows]... [--json] [--short] [--peer NAME=COMMAND]...
  --peer  another tool: COMMAND, split at spaces, is followed by the target and its arguments";

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Area {
    /// Cold and warm starts.
    Start,
    /// Many protected paths, many mounts.
    Growth,
    /// The part of growth that runs in a mount namespace of its own.
    Mounts,
    /// The slowest starts, and many at once.
    Tail,
    /// What work costs inside.
    Steady,
    /// The way out, and what a session pays for it.
    Egress,
    /// Bytes on disk and in memory.
    Size,
    /// Deciding and planning for Windows.
    Windows,
    /// The part of start that keeps a session.
    WarmStart,
    /// The part of tail that keeps eight.
    WarmTail,
}

/// How the result is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// For a person.
    Table,
    /// For a program.
    Json,
}

/// How long it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    /// Enough repetitions for a p99.
    Whole,
    /// Just enough to see that it works.
    Short,
}

/// What the caller asked for.
#[derive(Debug, Clone)]
pub(crate) struct Arguments {
    /// In this order.
    pub(crate) areas: Vec<Area>,
    /// The release build of the program.
    pub(crate) ringfence: PathBuf,
    /// The yardstick L.
    pub(crate) limit: PathBuf,
    /// For whom.
    pub(crate) format: Format,
    /// How long.
    pub(crate) length: Length,
    /// Other tools: name and command.
    pub(crate) peers: Vec<(String, Vec<OsString>)>,
}

impl Arguments {
    /// Reads the arguments after the program's name.
    pub(crate) fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Self, String> {
        let mut words = arguments.map(|word| word.to_string_lossy().into_owned());
        let (mut ringfence, mut limit) = (None, None);
        let (mut areas, mut peers) = (Vec::new(), Vec::new());
        let (mut format, mut length) = (Format::Table, Length::Whole);
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} wants a value"));
            match word.as_str() {
                "--ringfence" => ringfence = Some(value()?.into()),
                "--limit" => limit = Some(value()?.into()),
                "--json" => format = Format::Json,
                "--short" => length = Length::Short,
                "--peer" => peers.push(parse_peer(&value()?)?),
                name => areas.push(parse_area(name)?),
            }
        }
        if areas.is_empty() {
            areas = vec![
                Area::Start,
                Area::Growth,
                Area::Tail,
                Area::Steady,
                Area::Egress,
                Area::Size,
                Area::Windows,
            ];
        }
        Ok(Self {
            areas,
            ringfence: ringfence.ok_or("no --ringfence")?,
            limit: limit.ok_or("no --limit")?,
            format,
            length,
            peers,
        })
    }

    /// `whole` repetitions, or `short` ones.
    pub(crate) fn repetitions(&self, whole: usize, short: usize) -> usize {
        match self.length {
            Length::Whole => whole,
            Length::Short => short,
        }
    }
}

fn parse_area(name: &str) -> Result<Area, String> {
    Ok(match name {
        "start" => Area::Start,
        "growth" => Area::Growth,
        "mounts" => Area::Mounts,
        "tail" => Area::Tail,
        "steady" => Area::Steady,
        "egress" => Area::Egress,
        "size" => Area::Size,
        "windows" => Area::Windows,
        "warm-start" => Area::WarmStart,
        "warm-tail" => Area::WarmTail,
        _ => return Err(format!("unknown area or option {name}")),
    })
}

fn parse_peer(text: &str) -> Result<(String, Vec<OsString>), String> {
    let (name, command) = text.split_once('=').ok_or("--peer wants NAME=COMMAND")?;
    let command: Vec<OsString> = command.split_whitespace().map(OsString::from).collect();
    if name.is_empty() || command.is_empty() {
        return Err("--peer wants NAME=COMMAND".to_owned());
    }
    Ok((name.to_owned(), command))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Arguments, String> {
        Arguments::parse(words.iter().map(OsString::from))
    }

    #[test]
    fn no_area_means_all_of_them() {
        let arguments = parse(&["--ringfence", "a", "--limit", "b"]).unwrap();
        assert_eq!(arguments.areas.len(), 7);
        assert_eq!(arguments.repetitions(100, 3), 100);
    }

    #[test]
    fn peers_have_a_name_and_a_command() {
        let words = [
            "--ringfence",
            "a",
            "--limit",
            "b",
            "size",
            "--short",
            "--peer",
            "x=y --z",
        ];
        let arguments = parse(&words).unwrap();
        let command = vec![OsString::from("y"), OsString::from("--z")];
        assert_eq!(arguments.peers, [("x".to_owned(), command)]);
        assert_eq!(arguments.areas, [Area::Size]);
        assert!(parse(&["--peer", "nothing"]).is_err());
        assert!(parse(&["--limit"]).is_err());
    }
}
