//! Nodes with a time to live.
//!
//! When such a node is created or set, the cell time at which it expires is noted in a table of its
//! own, and a deadline with it. The deadline fires once. If the lock is in use at that moment the
//! node stays, overdue, until settling finds the lock free; a set meanwhile begins the time anew.
//! So whether a node is overdue can be told from the tables alone, and whether its deadline is still
//! to come too: it is, exactly while the expiry is in the future.

use crate::apply::Application;
use crate::cell::Cell;
use crate::state::{Deadline, DeadlineKind};
use cotter_types::mutation::{self, Mutation as Bug};
use cotter_types::{CellTime, Lifetime, Path, Refusal, limits};

impl Cell {
    /// Tells whether the node's time to live has passed.
    pub(crate) fn is_overdue(&self, path: &Path) -> bool {
        let expiry = self.expiries.get(path);
        expiry.is_some_and(|at| *at <= self.header.time)
    }
}

impl Application<'_> {
    /// Begins a node's time to live, anew if it had begun before.
    pub(crate) fn begin_ttl(&mut self, path: &Path, ms: u64) {
        self.forget_ttl(path);
        let ms = if mutation::active(Bug::TimeToLiveHalved) {
            ms / 2
        } else {
            ms
        };
        let at = self.cell.header.time.after_ms(ms);
        self.cell.expiries.insert(path.clone(), at);
        self.cell.indexes.deadlines.insert(ttl_deadline(path, at));
    }

    /// Forgets a node's time to live, if it has one.
    pub(crate) fn forget_ttl(&mut self, path: &Path) {
        if let Some(at) = self.cell.expiries.remove(path) {
            self.cell.indexes.deadlines.remove(&ttl_deadline(path, at));
        }
    }

    /// Ends a time to live: settling removes the node, if its lock is free.
    pub(crate) fn end_ttl(&mut self, path: &Path) {
        self.disturb(path);
        let at = self.cell.expiries.get(path).copied();
        let at = at.expect("invariant I-CELL-12: a deadline belongs to a time to live");
        self.cell.indexes.deadlines.remove(&ttl_deadline(path, at));
    }
}

/// Refuses a time to live that is too short or too long.
pub(crate) fn check_lifetime(lifetime: Lifetime) -> Result<(), Refusal> {
    match lifetime {
        Lifetime::Ttl { ms } if !(limits::TTL_MS_MIN..=limits::TTL_MS_MAX).contains(&ms) => {
            Err(Refusal::Invalid {
                what: format!(
                    "a time to live of {ms} ms; ask for {} to {} ms",
                    limits::TTL_MS_MIN,
                    limits::TTL_MS_MAX
                ),
            })
        }
        Lifetime::Permanent | Lifetime::Ephemeral | Lifetime::Ttl { .. } => Ok(()),
    }
}

/// Returns the deadline that ends a time to live.
pub(crate) fn ttl_deadline(path: &Path, at: CellTime) -> Deadline {
    Deadline {
        at,
        kind: DeadlineKind::Ttl,
        path: path.clone(),
        place: 0,
    }
}
