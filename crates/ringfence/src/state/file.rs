//! The one way a state file is read and written.
