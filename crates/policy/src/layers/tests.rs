//! Unit tests of the merge.

use super::*;

pub(crate) fn context() -> Context {
    Context {
        home: AbsolutePath::new("/home/ann").unwrap(),
        workspace: AbsolutePath::new("/home/ann/work").unwrap(),
        state: AbsolutePath::new("/home/ann/.local/state/ringfence").unwrap(),
        platform: Platform::Linux,
    }
}
