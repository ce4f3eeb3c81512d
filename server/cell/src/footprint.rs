//! Which cacheable things a command may change, computed before it is proposed.
//!
//! The master clears a footprint from all caches before it proposes the command, so a footprint may
//! be too wide but never too narrow: whatever `apply` touches must be covered. It is computed from
//! the applied state alone; the master adds what commands in flight may change, and computes again
//! what depends on them.

use crate::Cell;
use crate::Command;
use crate::state::Outcome;
use cotter_types::{
    CellTime, Create, Lifetime, Mutation, NodeOperation, Path, RequestNumber, SessionId,
    Transaction,
};
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

impl Cacheable {
    /// Returns the path that it is about.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Contents(path)
            | Self::Stat(path)
            | Self::Listing(path)
            | Self::Absence(path)
            | Self::LockFree(path)
            | Self::Subtree(path) => path,
        }
    }
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

    /// Adds everything that is in `other`.
    pub fn extend(&mut self, other: &Self) {
        self.items.extend(other.items.iter().cloned());
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

    /// Tells whether `item` is in it, by itself or with a whole subtree.
    #[must_use]
    pub fn covers(&self, item: &Cacheable) -> bool {
        if self.items.contains(item) {
            return true;
        }
        let mut above = Some(item.path().clone());
        while let Some(path) = above {
            above = path.parent();
            if self.items.contains(&Cacheable::Subtree(path)) {
                return true;
            }
        }
        false
    }

    /// Adds a node's stat, which its parent's listing shows too.
    fn add_stat(&mut self, path: &Path) {
        self.add(Cacheable::Stat(path.clone()));
        if let Some(parent) = path.parent() {
            self.add(Cacheable::Listing(parent));
        }
    }

    /// Adds what changes in the parent when a child comes or goes.
    fn add_child_change(&mut self, child: &Path) {
        if let Some(parent) = child.parent() {
            self.add(Cacheable::Listing(parent.clone()));
            self.add_stat(&parent);
        }
    }

    /// Adds what changes when a node without children goes.
    fn add_removal(&mut self, path: &Path) {
        self.add(Cacheable::Contents(path.clone()));
        self.add(Cacheable::Stat(path.clone()));
        self.add(Cacheable::Listing(path.clone()));
        self.add(Cacheable::LockFree(path.clone()));
        self.add_child_change(path);
    }
}

impl Cell {
    /// Returns what `command` may change, were it applied now, what it grants to others included.
    #[must_use]
    pub fn footprint(&self, command: &Command) -> Footprint {
        let mut footprint = Footprint::default();
        match command {
            Command::Open { .. } | Command::RaiseFeatureLevel { .. } => {}
            Command::Expire { session } => self.add_end(*session, &mut footprint),
            Command::Mutate {
                session, mutation, ..
            } => self.add_mutation(*session, mutation, &mut footprint),
            Command::CallAcquire { acquire, .. } => {
                self.add_acquire(&acquire.path, acquire.create.is_some(), &mut footprint);
            }
            Command::CallRelease { lock } => self.add_end(lock.session, &mut footprint),
            Command::CallChange { change, .. } => {
                // The same as a session would change by it.
                let mutation = change.clone().into_mutation();
                self.add_mutation(SessionId(0), &mutation, &mut footprint);
            }
        }
        footprint
    }

    /// Returns what may change when cell time reaches `time`, were that now: waits, lock-delays and
    /// times to live end, locks are granted, nodes go.
    #[must_use]
    pub fn footprint_of_time(&self, time: CellTime) -> Footprint {
        let mut footprint = Footprint::default();
        let due = |deadline: &&crate::state::Deadline| deadline.at <= time;
        for deadline in self.indexes.deadlines.iter().take_while(due) {
            self.add_disturbance(&deadline.path, &mut footprint);
        }
        footprint
    }

    fn add_mutation(&self, session: SessionId, mutation: &Mutation, footprint: &mut Footprint) {
        match mutation {
            Mutation::Create(Create { path, .. }) => self.add_creation(path, footprint),
            Mutation::Set(set) => {
                footprint.add(Cacheable::Contents(set.path.clone()));
                footprint.add_stat(&set.path);
            }
            Mutation::Delete(delete) if delete.recursive => {
                footprint.add(Cacheable::Subtree(delete.path.clone()));
                footprint.add_child_change(&delete.path);
            }
            Mutation::Delete(delete) => footprint.add_removal(&delete.path),
            Mutation::Unhold { path } | Mutation::Release { path, .. } => {
                self.add_disturbance(path, footprint);
            }
            Mutation::Acquire(acquire) => {
                self.add_acquire(&acquire.path, acquire.create.is_some(), footprint);
            }
            Mutation::Cancel { number } => {
                let key = (session, *number);
                if let Some((path, _)) = self.indexes.holds.get(&key) {
                    self.add_disturbance(path, footprint);
                }
                if let Some(Outcome::Waiting(path, _)) = self.outcomes.get(&key) {
                    self.add_disturbance(path, footprint);
                }
            }
            Mutation::Close => self.add_end(session, footprint),
            Mutation::CreateSequential(create) => {
                // A creation that is refused changes nothing.
                if let Ok((path, _)) = self.next_in_sequence(&create.path) {
                    self.add_creation(&path, footprint);
                }
            }
            Mutation::Transaction(transaction) => self.add_transaction(transaction, footprint),
        }
    }

    /// Adds what changes when a lock is acquired, and created if it is missing and may be.
    fn add_acquire(&self, path: &Path, create: bool, footprint: &mut Footprint) {
        footprint.add(Cacheable::LockFree(path.clone()));
        if create {
            self.add_creation(path, footprint);
        }
    }

    /// Adds what changes when a node and its missing parents are created.
    fn add_creation(&self, path: &Path, footprint: &mut Footprint) {
        let (missing, _) = self.missing(path);
        for at in missing {
            footprint.add_child_change(&at);
            footprint.add(Cacheable::Absence(at));
        }
    }

    /// Adds what changes when a transaction is made. Its operations see what those before them did,
    /// which is not known here; so whatever one of them may find otherwise than it is now counts as
    /// changed.
    fn add_transaction(&self, transaction: &Transaction, footprint: &mut Footprint) {
        let deletes = |it: &NodeOperation| matches!(it, NodeOperation::Delete(_));
        let deletes = transaction.operations.iter().any(deletes);
        for operation in &transaction.operations {
            match operation {
                NodeOperation::Create(create) => {
                    self.add_creation_after(&create.path, deletes, footprint);
                }
                NodeOperation::CreateSequential(create) => {
                    // Which number it gets depends on the operations before it.
                    if let Some(parent) = create.path.parent() {
                        self.add_creation_after(&parent, deletes, footprint);
                        footprint.add_stat(&parent);
                        footprint.add(Cacheable::Subtree(parent));
                    }
                }
                NodeOperation::Set(set) => {
                    footprint.add(Cacheable::Contents(set.path.clone()));
                    footprint.add_stat(&set.path);
                }
                NodeOperation::Delete(delete) => {
                    if delete.recursive {
                        footprint.add(Cacheable::Subtree(delete.path.clone()));
                    }
                    footprint.add_removal(&delete.path);
                }
            }
        }
    }

    /// Adds what changes when a node and its missing parents are created, after `deletes` that may
    /// have removed any of them.
    fn add_creation_after(&self, path: &Path, deletes: bool, footprint: &mut Footprint) {
        if !deletes {
            return self.add_creation(path, footprint);
        }
        let mut next = Some(path.clone());
        while let Some(at) = next {
            next = at.parent();
            footprint.add_child_change(&at);
            footprint.add(Cacheable::Absence(at));
        }
    }

    /// Adds what changes when a session ends.
    fn add_end(&self, session: SessionId, footprint: &mut Footprint) {
        for (_, path, _) in self.holds_of(session) {
            self.add_disturbance(path, footprint);
        }
        for path in self.opens_of(session) {
            self.add_disturbance(path, footprint);
        }
        let all = self.outcomes_of(session, RequestNumber(0), RequestNumber(u64::MAX));
        for (_, outcome) in all {
            if let Outcome::Waiting(path, _) = outcome {
                self.add_disturbance(path, footprint);
            }
        }
    }

    /// Adds what may change when a lock, or who keeps a node that is not permanent, is disturbed.
    /// Whether a time to live has passed is left out of account: time may move first.
    fn add_disturbance(&self, path: &Path, footprint: &mut Footprint) {
        footprint.add(Cacheable::LockFree(path.clone()));
        let node = self.nodes.get(path);
        if node.is_some_and(|node| node.lifetime != Lifetime::Permanent) {
            footprint.add_removal(path);
        }
    }
}
