//! Queries that are not answered yet.
//!
//! A query changes nothing, so it is simply asked again on another connection.

use crate::io::CallId;
use cotter_types::Query;
use std::collections::{BTreeMap, BTreeSet};

/// One query on its way.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) call: CallId,
    pub(crate) query: Query,
    /// Whether it was ever sent.
    pub(crate) sent: bool,
}

/// All queries on their way, by the number that tells them apart on the stream.
#[derive(Debug, Default)]
pub(crate) struct Queries {
    next: u64,
    asked: BTreeMap<u64, Asked>,
    by_call: BTreeMap<CallId, u64>,
    /// To be sent on the present connection.
    unsent: BTreeSet<u64>,
}

impl Queries {
    /// Takes a query on.
    pub(crate) fn ask(&mut self, call: CallId, query: Query) {
        self.next += 1;
        self.by_call.insert(call, self.next);
        self.asked.insert(
            self.next,
            Asked {
                call,
                query,
                sent: false,
            },
        );
        self.unsent.insert(self.next);
    }

    /// Tells whether a call was ever sent; nothing if it is unknown.
    pub(crate) fn was_sent(&self, call: CallId) -> Option<bool> {
        let id = self.by_call.get(&call)?;
        Some(self.asked.get(id)?.sent)
    }

    /// Nobody waits for a call any more.
    pub(crate) fn abandon(&mut self, call: CallId) {
        if let Some(id) = self.by_call.get(&call).copied() {
            self.remove(id);
        }
    }

    /// Removes a query.
    pub(crate) fn remove(&mut self, id: u64) -> Option<Asked> {
        self.unsent.remove(&id);
        let asked = self.asked.remove(&id)?;
        self.by_call.remove(&asked.call);
        Some(asked)
    }

    /// Returns the next one to send.
    pub(crate) fn take_unsent(&mut self) -> Option<(u64, Query)> {
        let id = self.unsent.pop_first()?;
        let asked = self.asked.get_mut(&id)?;
        asked.sent = true;
        Some((id, asked.query.clone()))
    }

    /// Sends a query again, if it is not answered yet.
    pub(crate) fn again(&mut self, id: u64) {
        if self.asked.contains_key(&id) {
            self.unsent.insert(id);
        }
    }

    /// Sends all again: the connection is another.
    pub(crate) fn all_again(&mut self) {
        self.unsent = self.asked.keys().copied().collect();
    }

    /// Tells whether nothing is on its way.
    pub(crate) fn is_empty(&self) -> bool {
        self.asked.is_empty()
    }

    /// Takes all away.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Asked> + use<> {
        self.unsent.clear();
        self.by_call.clear();
        std::mem::take(&mut self.asked).into_values()
    }
}
