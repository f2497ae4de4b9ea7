//! The three standard streams of a command: checked, and relayed where they can't be passed.
