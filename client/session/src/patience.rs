//! How long each call may take.
//!
//! What a call comes to when its time is up is decided by whether it ever left: what was never sent
//! has not happened, what was sent may have. The numbers of what was sent stay in the ledger, so that
//! a late answer finds its place and nothing is acknowledged that the cell might still do.

use crate::io::CallId;
use cotter_types::Moment;
use std::collections::{BTreeMap, BTreeSet};

/// How long a call may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// From this moment on it is given up. [`Moment::NEVER`]: it ends with the session.
    pub deadline: Moment,
    /// Whether it goes on waiting while the cell is unreachable, though it was never sent.
    pub through_outages: bool,
}

impl Patience {
    /// Waits for ever: until the session ends.
    pub const FOR_EVER: Self = Self {
        deadline: Moment::NEVER,
        through_outages: true,
    };

    /// Waits until `deadline`, and not for a cell that is unreachable.
    #[must_use]
    pub fn until(deadline: Moment) -> Self {
        Self {
            deadline,
            through_outages: false,
        }
    }
}

/// The patience of the calls that are not over.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    calls: BTreeMap<CallId, Patience>,
    due: BTreeSet<(Moment, CallId)>,
}

impl Deadlines {
    /// A call begins.
    pub(crate) fn begin(&mut self, call: CallId, patience: Patience) {
        self.over(call);
        self.calls.insert(call, patience);
        if patience.deadline < Moment::NEVER {
            self.due.insert((patience.deadline, call));
        }
    }

    /// A call is over, or nobody waits for it any more.
    pub(crate) fn over(&mut self, call: CallId) {
        if let Some(patience) = self.calls.remove(&call) {
            self.due.remove(&(patience.deadline, call));
        }
    }

    /// Returns the moment of the next deadline.
    pub(crate) fn next(&self) -> Moment {
        self.due.first().map_or(Moment::NEVER, |(at, _)| *at)
    }

    /// Returns a call whose time is up, the one that is due for longest.
    pub(crate) fn due(&self, now: Moment) -> Option<CallId> {
        let (at, call) = self.due.first()?;
        (*at <= now).then_some(*call)
    }

    /// Returns the calls that do not wait for a cell that is unreachable.
    pub(crate) fn impatient(&self) -> Vec<CallId> {
        let impatient = |patience: &Patience| !patience.through_outages;
        self.calls
            .iter()
            .filter(|(_, patience)| impatient(patience))
            .map(|(call, _)| *call)
            .collect()
    }
}
