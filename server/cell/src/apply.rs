//! Applying entries: the only way in which a cell changes.

use crate::effect::Applied;
use crate::{Cell, Entry};

impl Cell {
    /// Applies one log entry. Cannot fail: what is refused is an outcome too.
    ///
    /// # Panics
    /// If an invariant is broken: the replica stops rather than answer wrongly.
    pub fn apply(&mut self, _entry: &Entry) -> Applied {
        todo!()
    }
}
