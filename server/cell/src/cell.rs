//! The cell: its tables, and what can be read of it at once.
//!
//! Tables hold the truth and go into the digest and into checkpoints. Indexes are derived from them,
//! so they do neither; `check` compares them with the tables.

use crate::Genesis;
use crate::effect::Recorded;
use crate::memory::Memory;
use crate::state::{
    Chapter, Counts, Deadline, Header, Holder, Ledger, Lock, Mastership, Node, Outcome, Session,
    Waiter,
};
use crate::table::{Table, Tag, item};
use cotter_types::{
    CellId, CellTime, ChangeOfHands, Contents, FencingToken, Instance, Lifetime, LockMode,
    NodeStat, Nonce, Notice, Path, RequestId, RequestNumber, Revision, SessionId, limits,
};
use imbl::{OrdMap, OrdSet};
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

/// The highest feature level that this program knows.
pub const FEATURE_LEVEL_MAX: u32 = 1;

/// The replicated state of a whole cell.
///
/// Cloning it costs the same whatever its size; a clone does not change with the original.
#[derive(Clone, Debug)]
pub struct Cell {
    pub(crate) genesis: Arc<Genesis>,
    pub(crate) header: Header,
    pub(crate) nodes: Table<Path, Node>,
    pub(crate) locks: Table<Path, Lock>,
    pub(crate) holders: Table<(Path, u64), Holder>,
    pub(crate) waiters: Table<(Path, u64), Waiter>,
    pub(crate) hands: Table<(Path, u64), ChangeOfHands>,
    pub(crate) sessions: Table<SessionId, Arc<Session>>,
    pub(crate) ledgers: Table<SessionId, Ledger>,
    pub(crate) outcomes: Table<(SessionId, RequestNumber), Outcome>,
    pub(crate) opens: Table<(Path, SessionId), ()>,
    /// When the time to live of a node passes; apart from the nodes, so that rows written before
    /// there was one stay as they are.
    pub(crate) expiries: Table<Path, CellTime>,
    /// What is remembered of calls of the simple interface.
    pub(crate) calls: Table<RequestId, Memory>,
    pub(crate) indexes: Indexes,
}

/// What is derived from the tables, to find things without walking them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Indexes {
    /// Which session speaks with a nonce.
    pub(crate) nonces: OrdMap<Nonce, SessionId>,
    /// Where the lock is that an acquire got: a session's locks stand side by side.
    pub(crate) holds: OrdMap<(SessionId, RequestNumber), (Path, u64)>,
    /// The ephemeral nodes that a session holds open.
    pub(crate) opens: OrdSet<(SessionId, Path)>,
    /// What time alone will do, earliest first.
    pub(crate) deadlines: OrdSet<Deadline>,
    /// Locks that are held or delayed, by depth and text as paths are ordered. The key can be the
    /// beginning of a path, so that a subtree can be found at each depth.
    pub(crate) active: OrdMap<(usize, Arc<str>), Path>,
    /// When calls are forgotten, earliest first.
    pub(crate) memories: OrdSet<(CellTime, RequestId)>,
}

/// Returns the key of a path in [`Indexes::active`].
pub(crate) fn active_key(path: &Path) -> (usize, Arc<str>) {
    (path.depth(), Arc::from(path.as_str()))
}

impl Cell {
    /// Makes the cell as it is born: a root, no session, no master.
    ///
    /// # Panics
    /// If the token floor leaves no room below [`limits::TOKEN_LIMIT`]: such a genesis is a mistake
    /// in whatever made it.
    #[must_use]
    pub fn born(genesis: &Genesis) -> Self {
        assert!(
            genesis.token_floor < limits::TOKEN_LIMIT / 2,
            "invariant I-CELL-9: the token floor {} leaves no room",
            genesis.token_floor
        );
        let mut cell = Self::empty(genesis);
        cell.header = Header {
            token: FencingToken(genesis.token_floor),
            instance: Instance(1),
            feature_level: 1,
            chapter: Chapter {
                number: 1,
                begins_at: 0,
                voters: genesis.voters.clone().into(),
                addresses: Arc::default(),
            },
            ..Header::default()
        };
        let root = Node {
            instance: Instance(1),
            lifetime: Lifetime::Permanent,
            content_generation: 1,
            acl_generation: 1,
            child_generation: 0,
            content_bytes: 0,
            content_checksum: xxh3_64(&[]),
            children: 0,
            sequence: 0,
            owners: 0,
            creator: Arc::from("cell"),
            contents: Contents::default(),
        };
        cell.nodes.insert(Path::root(), root);
        cell
    }

    /// Makes a cell without anything, to be filled.
    pub(crate) fn empty(genesis: &Genesis) -> Self {
        Self {
            genesis: Arc::new(genesis.clone()),
            header: Header::default(),
            nodes: Table::new(Tag::Nodes),
            locks: Table::new(Tag::Locks),
            holders: Table::new(Tag::Holders),
            waiters: Table::new(Tag::Waiters),
            hands: Table::new(Tag::Hands),
            sessions: Table::new(Tag::Sessions),
            ledgers: Table::new(Tag::Ledgers),
            outcomes: Table::new(Tag::Outcomes),
            opens: Table::new(Tag::Opens),
            expiries: Table::new(Tag::Expiries),
            calls: Table::new(Tag::Calls),
            indexes: Indexes::default(),
        }
    }

    /// Returns the cell's id.
    #[must_use]
    pub fn cell_id(&self) -> CellId {
        self.genesis.cell_id
    }

    /// Returns the cell's name.
    #[must_use]
    pub fn cell_name(&self) -> &str {
        &self.genesis.cell
    }

    /// Returns what the cell was born with.
    #[must_use]
    pub fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    /// Returns the feature level; commands above it are not proposed.
    #[must_use]
    pub fn feature_level(&self) -> u32 {
        self.header.feature_level
    }

    /// Returns who reigns.
    #[must_use]
    pub fn mastership(&self) -> &Mastership {
        &self.header.mastership
    }

    /// Returns cell time as of the last batch, in milliseconds.
    #[must_use]
    pub fn time(&self) -> CellTime {
        self.header.time
    }

    /// Returns when time alone will do something next: end a wait, a lock-delay or a node's time to
    /// live.
    #[must_use]
    pub fn next_deadline(&self) -> Option<CellTime> {
        self.indexes.deadlines.get_min().map(|deadline| deadline.at)
    }

    /// Returns the count of applied commands.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.header.revision
    }

    /// Returns the count of applied log entries, the refused ones included.
    #[must_use]
    pub fn applied(&self) -> u64 {
        self.header.applied
    }

    /// Returns the chapter of the log that the next entry stands in.
    #[must_use]
    pub fn chapter(&self) -> &Chapter {
        &self.header.chapter
    }

    /// Returns the digest of the whole state: equal on all replicas that applied as many entries.
    #[must_use]
    pub fn digest(&self) -> u128 {
        item(Tag::Header, &(), &self.header)
            .wrapping_add(self.nodes.digest())
            .wrapping_add(self.locks.digest())
            .wrapping_add(self.holders.digest())
            .wrapping_add(self.waiters.digest())
            .wrapping_add(self.hands.digest())
            .wrapping_add(self.sessions.digest())
            .wrapping_add(self.ledgers.digest())
            .wrapping_add(self.outcomes.digest())
            .wrapping_add(self.opens.digest())
            .wrapping_add(self.expiries.digest())
            .wrapping_add(self.calls.digest())
    }

    /// Returns how much there is of everything.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            nodes: self.nodes.len(),
            sessions: self.sessions.len(),
            locks_held: self.header.locks_held,
            waiters: self.waiters.len(),
            content_bytes: self.header.content_bytes,
        }
    }

    /// Returns a session.
    #[must_use]
    pub fn session(&self, session: SessionId) -> Option<&Session> {
        self.sessions.get(&session).map(|row| &**row)
    }

    /// Returns the session that was opened with a nonce, while it lives.
    #[must_use]
    pub fn session_by_nonce(&self, nonce: Nonce) -> Option<SessionId> {
        self.indexes.nonces.get(&nonce).copied()
    }

    /// Returns all sessions with their leases in milliseconds, in order of id.
    pub fn sessions(&self) -> impl Iterator<Item = (SessionId, u64)> + '_ {
        self.sessions.iter().map(|(id, row)| (*id, row.lease_ms))
    }

    /// Returns what the cell remembers of a numbered request.
    #[must_use]
    pub fn outcome(&self, session: SessionId, number: RequestNumber) -> Recorded {
        let Some(ledger) = self.ledgers.get(&session) else {
            return Recorded::NoSession;
        };
        match self.outcomes.get(&(session, number)) {
            Some(Outcome::Waiting(..)) => Recorded::Waiting,
            Some(Outcome::Done(result)) => Recorded::Done(result.clone()),
            None if ledger.has_acknowledged(number) => Recorded::Acknowledged,
            None => Recorded::Unseen,
        }
    }

    /// Returns the conflict notices that a session should be told when it attaches again: one for
    /// each lock that it holds with a conflict notice and that others wait for. Costs what the
    /// session holds.
    #[must_use]
    pub fn conflicts_of(&self, session: SessionId) -> Vec<Notice> {
        self.holds_of(session)
            .filter_map(|(number, path, place)| {
                let holder = self.holders.get(&(path.clone(), place))?;
                let lock = self.locks.get(path)?;
                (holder.conflict_notice && lock.waiters > 0)
                    .then(|| self.conflict(path, number, lock.waiters))
            })
            .collect()
    }

    /// Makes an unchanging copy, in the same time whatever the cell's size.
    #[must_use]
    pub fn snapshot(&self) -> Self {
        self.clone()
    }

    /// Returns what a session holds, in order of number: number, path and place.
    pub(crate) fn holds_of(
        &self,
        session: SessionId,
    ) -> impl Iterator<Item = (RequestNumber, &Path, u64)> {
        let all = (session, RequestNumber(0))..=(session, RequestNumber(u64::MAX));
        self.indexes
            .holds
            .range(all)
            .map(|((_, number), (path, place))| (*number, path, *place))
    }

    /// Returns the outcomes kept for a session within a range of numbers.
    pub(crate) fn outcomes_of(
        &self,
        session: SessionId,
        first: RequestNumber,
        last: RequestNumber,
    ) -> impl Iterator<Item = (RequestNumber, &Outcome)> {
        // The start is capped rather than trusted, because an inverted range would be a panic.
        self.outcomes
            .range((session, first.min(last))..=(session, last))
            .map(|((_, number), outcome)| (*number, outcome))
    }

    /// Returns the ephemeral nodes that a session holds open.
    pub(crate) fn opens_of(&self, session: SessionId) -> impl Iterator<Item = &Path> {
        self.indexes
            .opens
            .range((session, Path::root())..)
            .take_while(move |(owner, _)| *owner == session)
            .map(|(_, path)| path)
    }

    /// Returns the holders of a lock in the order in which they were granted.
    pub(crate) fn holders_of(&self, path: &Path) -> impl Iterator<Item = (u64, &Holder)> {
        self.holders
            .range((path.clone(), 0)..=(path.clone(), u64::MAX))
            .map(|((_, place), holder)| (*place, holder))
    }

    /// Returns the queue of a lock.
    pub(crate) fn waiters_of(&self, path: &Path) -> impl Iterator<Item = (u64, &Waiter)> {
        self.waiters
            .range((path.clone(), 0)..=(path.clone(), u64::MAX))
            .map(|((_, place), waiter)| (*place, waiter))
    }

    /// Returns the children of a node, in order of name, from `first` on.
    pub(crate) fn children_of<'a>(
        &'a self,
        path: &'a Path,
        first: std::ops::Bound<Path>,
    ) -> impl Iterator<Item = (&'a Path, &'a Node)> {
        self.nodes
            .range((first, std::ops::Bound::Unbounded))
            .take_while(move |(child, _)| {
                child.depth() == path.depth() + 1 && child.is_within(path)
            })
    }

    /// Returns a node's metadata as clients see it.
    pub(crate) fn stat_of(&self, path: &Path, node: &Node) -> NodeStat {
        NodeStat {
            instance: node.instance,
            lifetime: node.lifetime,
            content_generation: node.content_generation,
            lock_generation: self.locks.get(path).map_or(0, |lock| lock.generation),
            acl_generation: node.acl_generation,
            child_generation: node.child_generation,
            content_bytes: node.content_bytes,
            content_checksum: node.content_checksum,
            children: node.children,
            sequence: node.sequence,
            creator: node.creator.to_string(),
        }
    }

    /// Makes the notice that tells the holder `number` of `path` who waits.
    pub(crate) fn conflict(&self, path: &Path, number: RequestNumber, waiters: u64) -> Notice {
        let first = self.waiters_of(path).next();
        Notice::Conflict {
            path: path.clone(),
            number,
            waiters,
            first: first.map_or_else(String::new, |(_, waiter)| self.label_of(waiter.session)),
        }
    }

    /// Returns a session's name and host, for people to read.
    pub(crate) fn label_of(&self, session: SessionId) -> String {
        self.session(session).map_or_else(String::new, |known| {
            format!("{} on {}", known.metadata.name, known.metadata.host)
        })
    }

    /// Tells whether a lock with this state could be granted in `mode` to one more, were it next.
    pub(crate) fn grantable(lock: &Lock, mode: LockMode) -> bool {
        if lock.delay_until.is_some() {
            return false;
        }
        match lock.mode {
            None => true,
            Some(LockMode::Exclusive) => false,
            Some(LockMode::Shared) => {
                mode == LockMode::Shared && lock.holders < limits::SHARED_HOLDERS_PER_LOCK_MAX
            }
        }
    }
}
