//! What a test that passed under wine is worth.
//!
//! Invariant: the longest prefix of a test's path decides, and a test that none fits has no class.

use std::fmt::Write as _;

/// What passing under wine says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    /// The test asks nothing of the system: it says the same everywhere.
    NoSystem,
    /// Wine does here what Windows documents: the test may rely on it.
    EnforcedByWine,
    /// The call works in shape: the program gets through, no more.
    PlumbingOnly,
}

impl Class {
    const ALL: [Self; 3] = [Self::NoSystem, Self::EnforcedByWine, Self::PlumbingOnly];

    const fn word(self) -> &'static str {
        match self {
            Self::NoSystem => "no-system",
            Self::EnforcedByWine => "enforced-by-wine",
            Self::PlumbingOnly => "plumbing-only",
        }
    }
}

/// The class of every test, by the beginning of its path.
const CLASSES: &[(&str, Class)] = &[
    ("audit::inside::copies::", Class::NoSystem),
    ("audit::leftovers::", Class::NoSystem),
    ("audit::settle::", Class::NoSystem),
    // Loopback connections are wine's own.
    ("audit::inside::network::", Class::EnforcedByWine),
    ("sys::socket::", Class::EnforcedByWine),
    ("backend::readable::", Class::NoSystem),
    ("backend::running::", Class::NoSystem),
    ("clock::", Class::NoSystem),
    ("custody::", Class::NoSystem),
    ("load::windows_tests::", Class::PlumbingOnly),
    ("state::hints::", Class::NoSystem),
    ("digest::", Class::NoSystem),
    ("grants::", Class::NoSystem),
    // Files of the person's, kept and read again.
    ("environment::", Class::PlumbingOnly),
    ("told::", Class::PlumbingOnly),
    ("session::certificates::", Class::PlumbingOnly),
    ("session::egress::", Class::PlumbingOnly),
    ("session::network::", Class::PlumbingOnly),
    ("session::tended::", Class::NoSystem),
    ("shortage::", Class::NoSystem),
    ("quarantine::renaming::", Class::EnforcedByWine),
    ("sweep::windows::", Class::PlumbingOnly),
    ("sweep::git_config::", Class::NoSystem),
    ("command_line::", Class::NoSystem),
    ("arguments::", Class::NoSystem),
    ("text::", Class::NoSystem),
    ("condition::", Class::NoSystem),
    ("machine::", Class::PlumbingOnly),
    ("setup::", Class::PlumbingOnly),
    ("firewall_text::", Class::NoSystem),
    ("password::", Class::NoSystem),
    ("environment_block::", Class::NoSystem),
    ("error_text::", Class::NoSystem),
    ("launch::exit::", Class::NoSystem),
    ("observe::git_paths::", Class::NoSystem),
    ("observe::ports::", Class::NoSystem),
    ("observe::resolve::", Class::NoSystem),
    ("observe::ssh::", Class::NoSystem),
    ("sys::file::", Class::NoSystem),
    ("sys::journal::", Class::PlumbingOnly),
    // Set-up on a system that enforces nothing: it must say so.
    // Wine knows files, their ids and directories; it folds what descriptors say.
    ("observe::disk::", Class::PlumbingOnly),
    ("observe::machine::", Class::PlumbingOnly),
    ("files::", Class::PlumbingOnly),
    ("ledger_file::", Class::EnforcedByWine),
    // Files, ids, and processes with the time of their creation.
    ("backend::", Class::EnforcedByWine),
    // Pipes, handle lists, jobs, waiting and exit codes are wine's own.
    ("launch::", Class::PlumbingOnly),
    ("launch::program::", Class::EnforcedByWine),
    ("sys::access::", Class::EnforcedByWine),
    ("sys::handle::", Class::EnforcedByWine),
    ("sys::job::", Class::EnforcedByWine),
    ("sys::pipe::", Class::EnforcedByWine),
    ("sys::process::", Class::EnforcedByWine),
    ("sys::", Class::PlumbingOnly),
    ("audit::", Class::PlumbingOnly),
    ("backend::undoing::", Class::PlumbingOnly),
    // Tests of the shipped programs say it in their names.
    ("plumbing_only_", Class::PlumbingOnly),
    ("enforced_by_wine_", Class::EnforcedByWine),
];

/// The class of a test: the one that its own name begins with, else that of the longest prefix.
fn class_of(test: &str) -> Option<Class> {
    let name = test.rsplit("::").next().unwrap_or(test);
    for class in Class::ALL {
        if name.starts_with(&class.word().replace('-', "_")) {
            return Some(class);
        }
    }
    CLASSES
        .iter()
        .filter(|(prefix, _)| test.starts_with(prefix))
        .max_by_key(|(prefix, _)| prefix.len())
        .map(|(_, class)| *class)
}

/// How many tests of each class passed, by the output of the test harness.
///
/// # Errors
/// The tests that have no class, a line each.
pub(super) fn count(output: &str) -> Result<String, String> {
    let passed = output.lines().filter_map(|line| {
        let test = line.trim_end().strip_prefix("test ")?;
        test.strip_suffix(" ... ok")
            .or_else(|| test.strip_suffix(" - should panic ... ok"))
    });
    let mut counts = [0_u32; 3];
    let mut undeclared = String::new();
    for test in passed {
        match class_of(test) {
            Some(class) => {
                for (one, count) in Class::ALL.iter().zip(&mut counts) {
                    *count += u32::from(*one == class);
                }
            }
            None => {
                let _ = writeln!(undeclared, "{test}");
            }
        }
    }
    if !undeclared.is_empty() {
        return Err(undeclared);
    }
    let mut text = String::new();
    for (class, count) in Class::ALL.iter().zip(counts) {
        let _ = writeln!(text, "{:<18} {count:>4} passed", class.word());
    }
    if counts.iter().sum::<u32>() == 0 {
        return Err("no test ran at all".to_owned());
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_decides() {
        assert_eq!(class_of("sys::pipe::tests::x"), Some(Class::EnforcedByWine));
        assert_eq!(class_of("sys::token::tests::x"), Some(Class::PlumbingOnly));
        assert_eq!(
            class_of("tests::plumbing_only_it_talks"),
            Some(Class::PlumbingOnly)
        );
        assert_eq!(class_of("brand_new::tests::x"), None);
    }

    #[test]
    fn a_test_without_a_class_is_a_failure_and_so_is_no_test() {
        let output = "test sys::job::tests::a ... ok\ntest brand_new::b ... ok\ntest result: ok.\n";
        assert_eq!(count(output), Err("brand_new::b\n".to_owned()));
        assert!(count("running 0 tests\n").is_err());
        let counted = count("test sys::job::tests::a ... ok\n").unwrap();
        assert!(
            counted.contains("enforced-by-wine      1 passed"),
            "{counted}"
        );
    }
}
