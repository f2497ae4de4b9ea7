//! `cargo xtask verify-windows-model`: everything that is proven about the Windows boundary without Windows, at length.
//!
//! Runs the suites of the pure crates and of the model, optimised and with long searches, then the comparison with
//! the oracles, and adds up what they counted. It proves nothing itself. Invariant: what did not run is named, and
//! nothing that did not run is counted as held.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use crate::process::{self, RunError};
use crate::project::{self, Project, ProjectError};

/// The environment variable that names the file in which the suites write what they counted.
pub(crate) const FIGURES: &str = "RINGFENCE_FIGURES";

/// How many questions the oracle is asked.
const ORACLE_CASES: &str = "1000000";

/// The attack that no model holds: services that act under identities of their own.
const ELSEWHERE: u64 = 19;

/// Where the boundary is promised.
const PROMISED: [&str; 3] = ["H2", "H3", "H4"];

/// Whether the other implementations of NT's rules take part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Oracles {
    /// One that is missing is a failure.
    #[default]
    Needed,
    /// None is asked, and the summary says so.
    Without,
}

/// The suites, and what each is for.
const SUITES: [(&str, &str); 4] = [
    ("ringfence-nt", "the NT model"),
    ("ringfence-plan", "the planner and its linter"),
    (
        "ringfence-backend",
        "the ledgers and the executor in memory",
    ),
    (
        "ringfence-windows-model",
        "search, mutants, attacks, properties, oracles",
    ),
];

/// Why nothing was verified.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VerifyError {
    /// The workspace could not be read.
    #[error("can't read the workspace")]
    Project(#[source] ProjectError),
    /// A program did not run.
    #[error("can't run the verification")]
    Run(#[source] RunError),
    /// The file of figures could not be read.
    #[error("can't read what the suites counted")]
    Figures(#[source] std::io::Error),
}

/// Runs everything and prints what it came to.
#[expect(clippy::print_stdout, reason = "a build task talks to a person")]
pub(crate) fn run(oracles: Oracles) -> Result<ExitCode, VerifyError> {
    let project = Project::observe().map_err(VerifyError::Project)?;
    let started = Instant::now();
    let path = figures_file(&project);
    std::fs::write(&path, "").map_err(VerifyError::Figures)?;
    let mut summary = Summary {
        with: oracles,
        ..Summary::default()
    };
    for (package, what) in SUITES {
        println!("--- {package}: {what}");
        let finished =
            process::capture(suite(&project, package, &path)).map_err(VerifyError::Run)?;
        summary.suite(package, &finished.output, finished.success);
    }
    match oracles {
        Oracles::Needed => {
            println!(
                "--- the access check against another implementation, {ORACLE_CASES} questions"
            );
            let finished = process::capture(oracle(&project)).map_err(VerifyError::Run)?;
            summary.oracle(&finished.output, finished.success);
        }
        Oracles::Without => {
            let asked = "the access check against another implementation: --without-oracles";
            summary.skipped.insert(asked.to_owned());
        }
    }
    let figures = std::fs::read_to_string(&path).map_err(VerifyError::Figures)?;
    summary.read(&figures);
    print!("{}", summary.render());
    println!("{} s in all", started.elapsed().as_secs());
    Ok(if summary.holds() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn suite(project: &Project, package: &str, figures: &Path) -> Command {
    let mut command = project::cargo(&project.root);
    command.args(["test", "--quiet", "--locked", "--profile", "model"]);
    command.args(["--no-fail-fast", "--package", package, "--", "--nocapture"]);
    command.env("RINGFENCE_MODEL", "full");
    command.env(FIGURES, figures);
    command
}

fn oracle(project: &Project) -> Command {
    let mut command = project::cargo(&project.root);
    command.args(["run", "--quiet", "--locked", "--profile", "model"]);
    command.args([
        "--package",
        "ringfence-windows-model",
        "--bin",
        "windows-oracle",
    ]);
    command.args(["--", "access-check", "--cases", ORACLE_CASES]);
    command
}

/// Where the suites of a run write what they count.
pub(crate) fn figures_file(project: &Project) -> PathBuf {
    project.target.join("windows-model-figures.txt")
}

/// What the suites counted in the file at `path`, in three lines, and whether all of it held.
///
/// # Errors
/// The file can't be read: no suite that counts has run.
pub(crate) fn counted(path: &Path) -> std::io::Result<(String, bool)> {
    let mut summary = Summary {
        // Which of them are here is the business of their own tests.
        with: Oracles::Without,
        ..Summary::default()
    };
    summary.read(&std::fs::read_to_string(path)?);
    Ok((summary.short(), summary.holds()))
}

/// What was counted.
#[derive(Debug, Default)]
struct Summary {
    with: Oracles,
    failures: Vec<String>,
    skipped: BTreeSet<String>,
    states: u64,
    operations: u64,
    searches: Vec<Searched>,
    axes: Vec<String>,
    oracles: Vec<String>,
    mutants: (u64, u64),
    survivors: Vec<String>,
    /// Attack, then hypothesis or rung, then verdict.
    attacks: BTreeMap<u64, BTreeMap<String, String>>,
    titles: BTreeMap<u64, String>,
    properties: BTreeMap<String, u64>,
}

/// One search.
#[derive(Debug)]
struct Searched {
    world: String,
    class: String,
    states: u64,
    depth: u64,
    extent: String,
    /// The promises that do not hold, in words.
    broken: String,
}

impl Searched {
    /// What speaks against it: a promise that breaks where it is given, or a search that was cut short.
    fn failure(&self) -> Option<String> {
        let said = self.line();
        let is_promised = PROMISED.contains(&self.class.as_str());
        let known = matches!(self.extent.as_str(), "Whole" | "Depth");
        (!known || (is_promised && !self.broken.is_empty())).then_some(said)
    }

    fn line(&self) -> String {
        let Self {
            world,
            class,
            states,
            depth,
            extent,
            broken,
        } = self;
        let seen = match extent.as_str() {
            "Whole" => format!("every state there is, {depth} in a row at most"),
            "Depth" => format!("every sequence of {depth}"),
            _ => format!("CUT SHORT at depth {depth}"),
        };
        let verdict = if broken.is_empty() {
            "every promise holds".to_owned()
        } else {
            format!("BREAKS {broken}")
        };
        format!("search {class}, {world}: {states} states, {seen}: {verdict}")
    }
}

impl Summary {
    fn suite(&mut self, package: &str, output: &str, success: bool) {
        self.collect_skips(output);
        if !success {
            self.failures.push(format!("{package}\n{output}"));
        }
    }

    fn oracle(&mut self, output: &str, success: bool) {
        self.collect_skips(output);
        if success {
            self.oracles.push(output.trim().to_owned());
        } else {
            self.failures.push(format!("windows-oracle\n{output}"));
        }
    }

    fn collect_skips(&mut self, output: &str) {
        let skips = output.lines().filter_map(|line| {
            let at = line.find("SKIPPED")?;
            line.get(at..).map(str::to_owned)
        });
        self.skipped.extend(skips);
    }

    fn read(&mut self, figures: &str) {
        for line in figures.lines() {
            let fields: Vec<&str> = line.split('\t').collect();
            match fields.as_slice() {
                [
                    "search",
                    world,
                    class,
                    states,
                    operations,
                    depth,
                    extent,
                    broken,
                ] => {
                    self.states += number(states);
                    self.operations += number(operations);
                    self.searches.push(Searched {
                        world: (*world).to_owned(),
                        class: (*class).to_owned(),
                        states: number(states),
                        depth: number(depth),
                        extent: (*extent).to_owned(),
                        broken: (*broken).to_owned(),
                    });
                }
                ["axis", what, verdict] => self.axes.push(format!("{what}: {verdict}")),
                ["mutant", _, "killed", ..] => {
                    self.mutants.0 += 1;
                    self.mutants.1 += 1;
                }
                ["mutant", name, ..] => {
                    self.mutants.1 += 1;
                    self.survivors.push((*name).to_owned());
                }
                ["attack", attack, title, class, verdict] => {
                    let attack = number(attack);
                    self.titles.insert(attack, (*title).to_owned());
                    let verdicts = self.attacks.entry(attack).or_default();
                    // An attack of two parts is held where both are.
                    let known = verdicts.entry((*class).to_owned()).or_default();
                    if known != "broken" {
                        (*verdict).clone_into(known);
                    }
                }
                ["oracle", what] => self.oracles.push((*what).to_owned()),
                ["property", name, cases] => {
                    *self.properties.entry((*name).to_owned()).or_default() += number(cases);
                }
                ["skipped", what] => {
                    self.skipped.insert((*what).to_owned());
                }
                _ => self
                    .failures
                    .push(format!("a figure that nobody knows: {line}")),
            }
        }
    }

    /// Whether everything that ran held, and everything that every machine can run did.
    fn holds(&self) -> bool {
        let (killed, all) = self.mutants;
        self.failures.is_empty()
            && self.survivors.is_empty()
            && killed == all
            && all > 0
            && self.states > 0
            && self.broken().is_empty()
    }

    /// What does not hold, or was not looked at, where the boundary is promised.
    fn broken(&self) -> Vec<String> {
        let mut broken: Vec<String> = self
            .searches
            .iter()
            .filter_map(Searched::failure)
            .chain((1..=22).flat_map(|attack| self.unheld(attack)))
            .collect();
        for class in PROMISED {
            if !self.searches.iter().any(|search| search.class == class) {
                broken.push(format!("nothing was searched under {class}"));
            }
        }
        if self.with == Oracles::Needed {
            let missing = |skipped: &String| format!("{skipped} (or ask for --without-oracles)");
            broken.extend(self.skipped.iter().map(missing));
        }
        broken
    }

    /// The classes under which an attack was not seen to be held.
    fn unheld(&self, attack: u64) -> Vec<String> {
        let none = BTreeMap::new();
        let verdicts = self.attacks.get(&attack).unwrap_or(&none);
        if attack == ELSEWHERE && verdicts.values().any(|verdict| verdict == "elsewhere") {
            return Vec::new();
        }
        let is_held = |class: &&str| verdicts.get(*class).is_some_and(|own| own == "held");
        let unheld = PROMISED.iter().filter(|class| !is_held(class));
        unheld
            .map(|class| format!("attack {attack} under {class}"))
            .collect()
    }

    fn explored(&self) -> String {
        format!(
            "states explored: {} in {} searches, {} operations carried out",
            self.states,
            self.searches.len(),
            self.operations
        )
    }

    fn killed(&self) -> String {
        let (killed, all) = self.mutants;
        let survivors: String = self
            .survivors
            .iter()
            .fold(String::new(), |mut text, survivor| {
                let _ = write!(text, "\nSURVIVED {survivor}");
                text
            });
        format!("mutants killed: {killed}/{all}{survivors}")
    }

    fn held(&self, class: &str) -> String {
        let verdicts = |verdict: &str| {
            self.attacks
                .values()
                .filter(|verdicts| verdicts.get(class).is_some_and(|own| own == verdict))
                .count()
        };
        let (held, broken) = (verdicts("held"), verdicts("broken"));
        format!("{class} {held} of {}", held + broken)
    }

    fn attacks_held(&self) -> String {
        let held = ["H1", "H2", "H3", "H4"].map(|class| self.held(class));
        format!("attacks held: {}", held.join(", "))
    }

    /// The counts alone.
    fn short(&self) -> String {
        let mut lines = vec![self.explored(), self.killed(), self.attacks_held()];
        lines.extend(
            self.failures
                .iter()
                .chain(&self.broken())
                .map(|failure| format!("FAILED {failure}")),
        );
        lines.join("\n")
    }

    fn render(&self) -> String {
        let mut text = String::new();
        let mut line = |said: String| {
            text.push_str(&said);
            text.push('\n');
        };
        line(self.explored());
        for search in &self.searches {
            line(format!("  {}", search.line()));
        }
        for axis in &self.axes {
            line(format!("  assumed of Windows: {axis}"));
        }
        for oracle in &self.oracles {
            line(format!("oracle: {oracle}"));
        }
        for (name, cases) in &self.properties {
            line(format!("property: {name}: {cases} cases"));
        }
        line(self.killed());
        line(self.attacks_held());
        for (attack, verdicts) in &self.attacks {
            let mut said = format!(
                "  {attack:>2} {}:",
                self.titles.get(attack).map_or("", String::as_str)
            );
            for (class, verdict) in verdicts {
                let _ = write!(said, " {class} {verdict}");
            }
            line(said);
        }
        for skipped in &self.skipped {
            line(format!(
                "SKIPPED {}",
                skipped.trim_start_matches("SKIPPED, ")
            ));
        }
        for failure in self.failures.iter().chain(&self.broken()) {
            line(format!("FAILED {failure}"));
        }
        text
    }
}

/// A count as the suites write it; what is none counts nothing, and the verdict on an empty count is failure.
fn number(text: &str) -> u64 {
    text.parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attacks(verdict: &str) -> String {
        (1..=22).fold(String::new(), |mut all, attack| {
            for class in PROMISED {
                let _ = writeln!(all, "attack\t{attack}\ttitle\t{class}\t{verdict}");
            }
            all
        })
    }

    fn summary(figures: &str) -> Summary {
        let mut summary = Summary::default();
        summary.read(figures);
        summary
    }

    const SEARCH: &str = "search\tworld\tH2\t10\t20\t3\tWhole\t\n\
        search\tworld\tH3\t10\t20\t3\tDepth\t\nsearch\tworld\tH4\t10\t20\t3\tDepth\t\n";
    const KILLED: &str = "mutant\tno deny\tkilled\tby search\n";

    #[test]
    fn what_was_counted_is_added_up() {
        let summary = summary(&format!("{SEARCH}{SEARCH}{KILLED}{}", attacks("held")));
        assert!(summary.holds());
        let text = summary.render();
        assert!(text.contains("states explored: 60 in 6 searches"), "{text}");
        assert!(
            text.contains("search H3, world: 10 states, every sequence of 3: every promise holds"),
            "{text}"
        );
        assert!(text.contains("mutants killed: 1/1"), "{text}");
        assert!(text.contains("H2 22 of 22"), "{text}");
    }

    #[test]
    fn the_short_form_names_what_survived() {
        let summary = summary(&format!("{SEARCH}{KILLED}mutant\tother\tsurvived\t\n"));
        let text = summary.short();
        assert!(
            text.contains("mutants killed: 1/2\nSURVIVED other"),
            "{text}"
        );
    }

    #[test]
    fn nothing_counted_is_a_failure() {
        assert!(!summary("").holds());
        assert!(!summary(&format!("{SEARCH}{}", attacks("held"))).holds());
        assert!(!summary(&format!("{KILLED}{}", attacks("held"))).holds());
        assert!(!summary(&format!("{SEARCH}{KILLED}")).holds());
    }

    #[test]
    fn a_survivor_a_broken_promise_and_an_unknown_figure_fail() {
        let good = format!("{SEARCH}{KILLED}{}", attacks("held"));
        for bad in [
            "mutant\tother\tsurvived\t\n",
            "attack\t3\ttitle\tH4\tbroken\n",
            "what\n",
        ] {
            assert!(!summary(&format!("{good}{bad}")).holds(), "{bad}");
        }
        let narrow =
            "attack\t3\ttitle\tH1\tbroken\nsearch\tworld\tH1\t1\t1\t1\tDepth\troots stay\n";
        let narrow = summary(&format!("{good}{narrow}"));
        assert!(narrow.holds());
        assert!(
            narrow.render().contains("BREAKS roots stay"),
            "what fails is said"
        );
    }

    #[test]
    fn a_search_that_was_cut_or_breaks_where_it_is_promised_fails() {
        let good = format!("{SEARCH}{KILLED}{}", attacks("held"));
        for bad in [
            "search\tworld\tH2\t1\t1\t1\tCut\t\n",
            "search\tworld\tH1\t1\t1\t1\tCut\troots stay\n",
            "search\tworld\tH3\t1\t1\t1\tDepth\troots stay\n",
        ] {
            assert!(!summary(&format!("{good}{bad}")).holds(), "{bad}");
        }
        let only_h2 = "search\tworld\tH2\t10\t20\t3\tWhole\t\n";
        assert!(!summary(&format!("{only_h2}{KILLED}{}", attacks("held"))).holds());
    }

    #[test]
    fn every_attack_needs_a_verdict_under_every_class_and_one_may_be_elsewhere() {
        let all = attacks("held");
        let without = |start: &str| {
            let lines = all.lines().filter(|line| !line.starts_with(start));
            lines.fold(String::new(), |all, line| all + line + "\n")
        };
        let held = |figures: &str| summary(&format!("{SEARCH}{KILLED}{figures}")).holds();
        assert!(!held(&without("attack\t3\ttitle\tH4")));
        let elsewhere = |attack: u64| {
            let rest = without(&format!("attack\t{attack}\t"));
            format!("{rest}attack\t{attack}\ttitle\taudit\telsewhere\n")
        };
        assert!(held(&elsewhere(ELSEWHERE)));
        assert!(!held(&elsewhere(3)), "it is the model's to hold");
    }

    #[test]
    fn an_oracle_that_is_missing_fails_unless_none_is_asked() {
        let good = format!("{SEARCH}{KILLED}{}", attacks("held"));
        let mut missing = summary(&good);
        missing.suite("suite", "SKIPPED, nothing compared: no oracle\n", true);
        assert!(!missing.holds());
        missing.with = Oracles::Without;
        assert!(missing.holds());
        assert!(missing.render().contains("SKIPPED nothing compared"));
        // The word in a failing run's output excuses nothing.
        missing.oracle("3 differ, 2 SKIPPED\n", false);
        assert!(!missing.holds());
    }
}
