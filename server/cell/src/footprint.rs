//! Which cacheable things a command may change, computed before it is proposed.
//!
//! The master clears a footprint from all caches before it proposes the command, so a footprint may
//! be too wide but never too narrow: whatever `apply` touches must be covered. It is computed from
//! the applied state; the master adds the footprints of the commands in flight.

use crate::{Cell, Command};
use cotter_types::{CellTime, Path};
use std::collections::BTreeSet;

/// Something that a client may have in its cache.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cacheable {
    /// A node's contents.
    Contents(Path),
    /// A node's stat, but for the lock's fields.
    Stat(Path),
    /// A node's children with their stats.
    Listing(Path),
    /// That there is no node.
    Absence(Path),
    /// That a lock is free.
    LockFree(Path),
    /// All of these, for a path and everything below it.
    Subtree(Path),
}

/// A set of cacheable things.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    items: BTreeSet<Cacheable>,
}

impl Footprint {
    /// Adds something.
    pub fn add(&mut self, item: Cacheable) {
        self.items.insert(item);
    }

    /// Returns everything in it, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Cacheable> {
        self.items.iter()
    }

    /// Tells whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

impl Cell {
    /// Returns what `command` may change, were it applied now.
    #[must_use]
    pub fn footprint(&self, _command: &Command) -> Footprint {
        todo!()
    }

    /// Returns what may change when cell time reaches `time`, were that now.
    #[must_use]
    pub fn footprint_of_time(&self, _time: CellTime) -> Footprint {
        todo!()
    }
}
