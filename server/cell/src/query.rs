//! Answers to queries: reads of the applied state.

use crate::Cell;
use cotter_types::{CellTime, Query, QueryResponse, Refusal};

impl Cell {
    /// Answers every query but [`Query::Status`]. `now` is cell time by the master's own count.
    ///
    /// # Errors
    /// A refusal that says why there is no answer.
    pub fn query(&self, _query: &Query, _now: CellTime) -> Result<QueryResponse, Refusal> {
        todo!()
    }
}
