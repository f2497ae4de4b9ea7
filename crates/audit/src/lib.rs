//! The event schema of a session.
