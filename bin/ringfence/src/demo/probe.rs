//! The attacker's tool of Windows: this program, started in the project, tries one thing and ends with what came of it.
//!
//! Invariant: 5 stands for a refusal by its own code alone; what could not be tried is 70.

use ringfence::audit::{Answer, Hold, take};

use crate::failure::Failure;
use crate::output;
use crate::render::escape::one_line;

/// Refused.
const REFUSED: u8 = 5;
/// No answer.
const UNTRIED: u8 = 70;

/// Tries the attack of this name, and says in a line what came of it.
pub(super) fn run(attack: &str) -> Result<u8, Failure> {
    let Some(hold) = Hold::ALL.into_iter().find(|hold| hold.word() == attack) else {
        return Ok(UNTRIED);
    };
    let found = take(hold);
    output::data(&format!("{}\n", one_line(&found.detail)))?;
    Ok(match found.answer {
        Answer::Open => 0,
        Answer::Held => REFUSED,
        Answer::Unknown | Answer::NotEnforced => UNTRIED,
    })
}
