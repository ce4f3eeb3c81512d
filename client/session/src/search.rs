//! Where to look for the master, and when.
//!
//! Any replica knows where the master is, or that there is none. A replica that is not master says
//! so and keeps the stream, so while there is no master the client *stays and listens*: the replica
//! tells it the moment that it changes, and no time is lost in a backoff. It goes elsewhere only
//! when the backoff ends, for the replica may be cut off from the others.
//!
//! It must never believe a master of the past: the highest epoch ever seen is remembered.

use crate::random::Random;
use cotter_types::{CellId, Epoch, Moment, Welcome};
use std::collections::BTreeMap;
use std::time::Duration;

/// First wait before another replica is tried, in milliseconds; doubled each time.
const BACKOFF_MS_MIN: u64 = 20;
/// Longest wait before another replica is tried, in milliseconds.
const BACKOFF_MS_MAX: u64 = 1_000;
/// For so long an address that could not be reached is not tried on a mere hint, nor in its turn
/// while there are others, in milliseconds.
const UNREACHABLE_MS: u64 = 1_000;
/// Most addresses that are learned from replicas.
const LEARNED_MAX: usize = 16;
/// After so many hints in a row that led to no master, the next one waits.
const HOPS_MAX: u32 = 3;

/// What to make of a replica's [`Welcome`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the master.
    Master,
    /// It is not, and the master is said to be at this address.
    Elsewhere(String),
    /// It is not, and knows no better. Listen to it for so long, then try the next.
    Listen(Duration),
    /// It belongs to another cell. Try the next after so long.
    OtherCell(Duration),
}

/// Finds the master of a cell.
#[derive(Clone, Debug)]
pub struct MasterSearch {
    configured: Vec<String>,
    learned: Vec<String>,
    cursor: usize,
    failures: u32,
    hops: u32,
    epoch: Epoch,
    cell: Option<CellId>,
    /// Addresses that could not be reached, with the epoch known then and the time.
    unreachable: BTreeMap<String, (Epoch, Moment)>,
    random: Random,
}

impl MasterSearch {
    /// Returns a search that begins at `endpoints`.
    #[must_use]
    pub fn new(endpoints: Vec<String>, cell: Option<CellId>, seed: u64) -> Self {
        Self {
            configured: endpoints,
            learned: Vec::new(),
            cursor: 0,
            failures: 0,
            hops: 0,
            epoch: Epoch(0),
            cell,
            unreachable: BTreeMap::new(),
            random: Random::new(seed),
        }
    }

    /// Returns the cell, once known.
    #[must_use]
    pub fn cell(&self) -> Option<CellId> {
        self.cell
    }

    /// Returns the highest epoch that any replica has told.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Returns the next address to try, in turn; nothing if there is none at all. One that was not
    /// reached just now is passed over while there are others: a frozen replica accepts connections
    /// and costs the whole patience each time.
    pub fn next_address(&mut self, now: Moment) -> Option<String> {
        let all: Vec<&String> = self.configured.iter().chain(&self.learned).collect();
        let count = all.len();
        if count == 0 {
            return None;
        }
        let recent = Duration::from_millis(UNREACHABLE_MS);
        let index = (0..count)
            .map(|step| (self.cursor + step) % count)
            .find(|index| {
                let failed = self.unreachable.get(all[*index]);
                failed.is_none_or(|(_, since)| now.since(*since) >= recent)
            })
            .unwrap_or(self.cursor % count);
        let address = all[index].clone();
        self.cursor = index + 1;
        Some(address)
    }

    /// Returns all addresses that are known, the configured ones first, none twice.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        let learned = self.learned.iter();
        let news = learned.filter(|address| !self.configured.contains(address));
        self.configured.iter().chain(news).cloned().collect()
    }

    /// Tells what to make of a replica at `address` that says `welcome`.
    pub fn welcome(&mut self, now: Moment, address: &str, welcome: &Welcome) -> Verdict {
        if self.cell.is_some_and(|cell| cell != welcome.cell_id) {
            return Verdict::OtherCell(self.backoff());
        }
        self.cell = Some(welcome.cell_id);
        self.learn(&welcome.addresses);
        self.unreachable.remove(address);
        let stale = welcome.epoch < self.epoch;
        self.epoch = self.epoch.max(welcome.epoch);
        if welcome.is_master && !stale {
            self.failures = 0;
            self.hops = 0;
            return Verdict::Master;
        }
        // A replica that has not heard of the last epoch can only point to a master of the past.
        let hint = welcome.addresses.first().filter(|hint| {
            !welcome.is_master
                && !stale
                && welcome.master.is_some()
                && hint.as_str() != address
                && !self.is_unreachable(now, hint, welcome.epoch)
        });
        match hint {
            Some(hint) if self.hops < HOPS_MAX => {
                self.hops += 1;
                Verdict::Elsewhere(hint.clone())
            }
            _ => {
                self.hops = 0;
                Verdict::Listen(self.backoff())
            }
        }
    }

    /// Tells where to go when the replica at `address` answers that it is not the master, and that
    /// the master is at `hint`.
    pub fn not_master(&mut self, now: Moment, address: &str, hint: Option<&str>) -> Verdict {
        let hint = hint
            .filter(|hint| *hint != address && !self.is_unreachable(now, hint, self.epoch))
            .filter(|_| self.hops < HOPS_MAX);
        match hint {
            Some(hint) => {
                self.hops += 1;
                Verdict::Elsewhere(hint.to_owned())
            }
            None => {
                self.hops = 0;
                Verdict::Listen(self.backoff())
            }
        }
    }

    /// Tells whether there is more than one address to try.
    #[must_use]
    pub fn has_others(&self) -> bool {
        self.configured.len() + self.learned.len() > 1
    }

    /// Takes note that an attempt to reach `address` failed. Hints to it are not followed for a
    /// while, unless they come with a newer epoch.
    pub fn unreachable(&mut self, now: Moment, address: &str) {
        let expired = now.before(Duration::from_millis(UNREACHABLE_MS));
        self.unreachable.retain(|_, (_, since)| *since > expired);
        self.unreachable
            .insert(address.to_owned(), (self.epoch, now));
    }

    /// Returns how long to wait before the next attempt: longer each time, until a master is found.
    pub fn backoff(&mut self) -> Duration {
        let whole = BACKOFF_MS_MIN
            .checked_shl(self.failures)
            .map_or(BACKOFF_MS_MAX, |ms| ms.min(BACKOFF_MS_MAX));
        self.failures = (self.failures + 1).min(16);
        self.jittered(whole)
    }

    /// Returns something between half of `ms` milliseconds and all of it.
    pub fn jittered(&mut self, ms: u64) -> Duration {
        Duration::from_micros(self.random.jitter(ms.saturating_mul(1_000)))
    }

    fn is_unreachable(&self, now: Moment, address: &str, epoch: Epoch) -> bool {
        self.unreachable.get(address).is_some_and(|(known, since)| {
            epoch <= *known && now.since(*since) < Duration::from_millis(UNREACHABLE_MS)
        })
    }

    /// Replaces what was learned: members come and go.
    fn learn(&mut self, addresses: &[String]) {
        if addresses.is_empty() {
            return;
        }
        // The order says who is master, which changes; the rotation must not change with it.
        let mut learned: Vec<String> = addresses
            .iter()
            .filter(|address| !self.configured.contains(address))
            .take(LEARNED_MAX)
            .cloned()
            .collect();
        learned.sort();
        learned.dedup();
        self.learned = learned;
    }
}
