//! What is looked at when a command has ended.
