//! The names that are protected from writing without anybody saying so.
//!
//! What is here runs or instructs something on the host: git hooks, agents' instructions and tools, editors' tasks,
//! a shell's directory environment. Decides no path: the planner finds the repositories.
//! Invariant: names are relative, and the table is sorted.

/// One built-in protected name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProtectedName {
    /// The name at the top of each writable root and repository.
    pub name: &'static str,
    /// Why it is protected.
    pub why: &'static str,
}

/// Directories that tools fill: no name is protected below them and no built-in secret hidden, because a mount there
/// breaks their removal. What a person's own pattern names is hidden there too.
pub const FILLED: [&str; 4] = [".venv", "node_modules", "target", "vendor"];

/// Every built-in protected name, sorted.
pub const BUILT_IN: [ProtectedName; 16] = [
    protected(".agents", "instructions and tools of agents"),
    protected(".claude", "instructions, hooks and settings of an agent"),
    protected(".codex", "instructions and settings of an agent"),
    protected(".cursor", "rules and settings of an editor's agent"),
    protected(
        ".envrc",
        "shell code that direnv runs on entering the directory",
    ),
    protected(".gemini", "instructions and settings of an agent"),
    protected(".git", "hooks and configuration that git runs on the host"),
    protected(".githooks", "hooks that git runs on the host"),
    protected(".husky", "hooks that git runs on the host"),
    protected(".idea", "run configurations of an editor"),
    protected(".mcp.json", "servers that an agent starts on the host"),
    protected(".ringfence", "the project's own policy"),
    protected(".vscode", "tasks and settings that an editor runs"),
    protected("AGENTS.md", "instructions to agents"),
    protected("CLAUDE.md", "instructions to an agent"),
    protected("GEMINI.md", "instructions to an agent"),
];

const fn protected(name: &'static str, why: &'static str) -> ProtectedName {
    ProtectedName { name, why }
}

/// Whether `name` is protected without anybody saying so.
#[must_use]
pub fn is_built_in(name: &str) -> bool {
    BUILT_IN
        .binary_search_by(|entry| entry.name.cmp(name))
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_relative() {
        assert!(BUILT_IN.is_sorted_by(|left, right| left.name < right.name));
        assert!(BUILT_IN.iter().all(|entry| !entry.name.contains('/')));
    }

    #[test]
    fn a_built_in_name_is_known() {
        assert!(is_built_in(".git") && is_built_in("AGENTS.md"));
        assert!(!is_built_in(".github") && !is_built_in("agents.md"));
    }
}
