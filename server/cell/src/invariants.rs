//! What must always be true of a cell.

use crate::Cell;

impl Cell {
    /// Checks every invariant over the whole state; costs a walk over everything.
    ///
    /// # Errors
    /// The number of the first broken invariant and what is wrong.
    pub fn check(&self) -> Result<(), String> {
        todo!()
    }
}
