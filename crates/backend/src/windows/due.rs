//! What has to be done before a command of a plan can start, beside starting it.
//!
//! Pure. Invariant: where nothing is due, a launch writes no list and starts no helper but the session's runner.

use ringfence_plan::windows::{Accounts, WindowsPlan};

/// What the elevated program would have to do first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetupDue {
    /// Nothing: what it did is what the plan needs.
    Nothing,
    /// Everything: it has not run for this person.
    First,
    /// It has run, and the policy or the machine need something else now.
    Again,
}

/// What a launch needs first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Of the elevated program.
    pub setup: SetupDue,
    /// How many of the person's own steps.
    pub steps: usize,
}

impl Due {
    /// What is due for `plan`.
    #[must_use]
    pub fn of(plan: &WindowsPlan) -> Self {
        Self {
            setup: match plan.accounts {
                Accounts::ToBeMade(_) => SetupDue::First,
                Accounts::Made(_) if !plan.machine_steps.is_empty() => SetupDue::Again,
                Accounts::Made(_) | Accounts::Person => SetupDue::Nothing,
            },
            steps: plan.person_steps.len(),
        }
    }

    /// How many helper programs are started before the session's runner.
    #[must_use]
    pub const fn helpers(self) -> u32 {
        match self.setup {
            SetupDue::Nothing => 0,
            SetupDue::First | SetupDue::Again => 1,
        }
    }
}
