//! Exactly once: what a session has acknowledged, and which outcomes are kept for it.

use crate::state::Ledger;
use cotter_types::RequestNumber;

impl Ledger {
    /// Tells whether the client said that it will never ask for `number` again.
    pub(crate) fn has_acknowledged(&self, number: RequestNumber) -> bool {
        if number <= self.floor {
            return true;
        }
        let next = self.above.partition_point(|(_, last)| *last < number);
        self.above
            .get(next)
            .is_some_and(|(first, _)| *first <= number)
    }
}
