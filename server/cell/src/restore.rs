//! A cell restored from a backup: the same tree under a new id, in which nobody holds anything yet.
//!
//! What was acknowledged after the backup is lost, and whoever got an answer then may still act on
//! it. So whatever the restored cell gives out must be above everything that the old one can have
//! given out, and nothing may be granted while somebody may still believe that he holds it:
//!
//! - every counter (tokens, revisions, instances, sessions) goes on from the new genesis' token
//!   floor, the present time in microseconds, which no counter that began at a birth can have passed;
//! - every node is another instance, and its generations go on far above those of the backup, so that
//!   what was read after the backup matches nothing;
//! - all sessions end the ordinary way;
//! - no lock is granted for [`limits::RESTORE_CLOSED_MS`] of cell time: the longest lease that the old
//!   cell can have promised, the longest lock-delay behind it, and the drift of clocks. Cell time
//!   stands still until the new cell has a master, so that span begins no earlier than the restore.
//!   It covers all locks, those that nobody had heard of at the time of the backup too.
//!
//! What it cannot know: sequential names that were given out after the backup, and the outcomes of
//! requests made after it. Both can come again. A backup leaves out what is remembered of calls of the
//! simple interface too, because their request ids prove who may renew a lock.

use crate::apply::Application;
use crate::cell::Cell;
use crate::command::Genesis;
use crate::state::{Chapter, Header, Lock, Mastership};
use crate::table::{Table, Tag};
use cotter_types::{EndReason, FencingToken, Instance, Nonce, Path, Revision, SessionId, limits};
use imbl::{OrdMap, OrdSet};
use std::sync::Arc;

/// How far the generations of nodes and locks are raised: more than any can rise between a backup
/// and the end of the cell that it was taken of.
const GENERATIONS_SKIPPED: u64 = 1 << 32;

/// Why a cell is not restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// Tokens would be given out again.
    #[error(
        "the token floor {floor} is below the backup's last token {last}: the clock of this machine \
         is behind; set it, or name a token floor above every token that was ever given out"
    )]
    FloorBehind {
        /// The floor of the new genesis.
        floor: u64,
        /// The last token of the backup.
        last: FencingToken,
    },
    /// There would be no room for tokens.
    #[error("the token floor {floor} is too large: it must stay below {limit}")]
    FloorTooLarge {
        /// The floor of the new genesis.
        floor: u64,
        /// What it must stay below.
        limit: u64,
    },
    /// The new cell would be taken for the old one.
    #[error("a restored cell needs an id of its own")]
    SameCell,
}

impl Cell {
    /// Makes the cell that a restore begins with, of one that was read from a backup or from what a
    /// survivor had. Depends on nothing else, so all members of the new cell make the same; `wall_ms`,
    /// the time at which its sessions are said to have ended, in milliseconds since 1970, is therefore
    /// the one that the backup names.
    ///
    /// # Errors
    /// [`RestoreError`] if the new genesis does not stand above the backup.
    pub fn restored(&self, genesis: &Genesis, wall_ms: u64) -> Result<Self, RestoreError> {
        let floor = genesis.token_floor;
        if genesis.cell_id == self.cell_id() {
            return Err(RestoreError::SameCell);
        }
        if floor < self.header.token.0 {
            let last = self.header.token;
            return Err(RestoreError::FloorBehind { floor, last });
        }
        if floor >= limits::TOKEN_LIMIT / 2 {
            let limit = limits::TOKEN_LIMIT / 2;
            return Err(RestoreError::FloorTooLarge { floor, limit });
        }
        let mut cell = self.snapshot();
        cell.genesis = Arc::new(genesis.clone());
        cell.header = self.header_raised(genesis);
        end_all(&mut cell, wall_ms);
        cell.raise_generations();
        Ok(cell)
    }

    /// Returns the last fencing token that was given out, or what the first one is above.
    #[must_use]
    pub fn last_token(&self) -> FencingToken {
        self.header.token
    }

    /// Returns the state without what proves who may speak for a session or a lock, as it goes into a
    /// backup: whoever may read one must not be able to take over what living clients hold. A restore
    /// ends all sessions, so nothing that it needs is missing. Costs what there is of sessions.
    #[must_use]
    pub fn without_secrets(&self) -> Self {
        let mut cell = self.snapshot();
        // Calls are known by their request ids, which are such proofs.
        cell.calls = Table::new(Tag::Calls);
        cell.header.calls_bytes = 0;
        cell.indexes.memories = OrdSet::new();
        cell.indexes.nonces = OrdMap::new();
        let sessions: Vec<SessionId> = cell.sessions.iter().map(|(id, _)| *id).collect();
        for id in sessions {
            let nonce = Nonce(u128::from(id.0));
            cell.sessions
                .update(&id, |session| Arc::make_mut(session).nonce = nonce);
            cell.indexes.nonces.insert(nonce, id);
        }
        cell
    }

    /// Returns the header of the restored cell. A new field must be thought about here.
    fn header_raised(&self, genesis: &Genesis) -> Header {
        let Header {
            applied: _,
            revision,
            time,
            mastership,
            batch: _,
            token: _,
            instance,
            session,
            place,
            feature_level,
            locks_held,
            content_bytes,
            calls_bytes,
            closed_until: _,
            chapter: _,
        } = self.header.clone();
        let floor = genesis.token_floor;
        Header {
            // The log of the new cell begins with its first entry.
            applied: 0,
            chapter: Chapter {
                number: 1,
                begins_at: 0,
                voters: genesis.voters.clone().into(),
                addresses: Arc::default(),
            },
            revision: Revision(revision.0.max(floor)),
            time,
            mastership: Mastership {
                epoch: mastership.epoch,
                master: None,
                sequence: mastership.sequence + 1,
                attempt: 0,
                take_over: (0, 0),
            },
            batch: 0,
            token: FencingToken(floor),
            instance: Instance(instance.0.max(floor)),
            session: SessionId(session.0.max(floor)),
            place,
            feature_level,
            locks_held,
            content_bytes,
            calls_bytes,
            closed_until: time.after_ms(limits::RESTORE_CLOSED_MS),
        }
    }

    /// Makes every node another instance, with generations that the old one cannot have reached.
    fn raise_generations(&mut self) {
        let nodes: Vec<Path> = self.nodes.iter().map(|(path, _)| path.clone()).collect();
        for path in &nodes {
            self.header.instance = self.header.instance.next();
            let instance = self.header.instance;
            self.nodes.update(path, |node| {
                node.instance = instance;
                for generation in [
                    &mut node.content_generation,
                    &mut node.acl_generation,
                    &mut node.child_generation,
                ] {
                    *generation = generation.saturating_add(GENERATIONS_SKIPPED);
                }
            });
            self.locks.update(path, |lock| {
                lock.generation = lock.generation.saturating_add(GENERATIONS_SKIPPED);
            });
        }
    }

    /// Returns a lock's row, or what it would be if it were used now for the first time.
    pub(crate) fn lock_or_unused(&self, path: &Path) -> Lock {
        let unused = || Lock {
            delay_until: self.is_closed().then_some(self.header.closed_until),
            ..Lock::default()
        };
        self.locks.get(path).cloned().unwrap_or_else(unused)
    }

    /// Tells whether the cell grants nothing yet, because it was restored a short while ago.
    pub(crate) fn is_closed(&self) -> bool {
        self.header.closed_until > self.header.time
    }
}

/// Delays every lock, and then ends every session: in this order, so that nothing that one session
/// leaves is granted to another.
fn end_all(cell: &mut Cell, wall_ms: u64) {
    let locks: Vec<Path> = cell.locks.iter().map(|(path, _)| path.clone()).collect();
    let sessions: Vec<SessionId> = cell.sessions.iter().map(|(id, _)| *id).collect();
    let mut application = Application::new(cell, wall_ms);
    for path in &locks {
        application.delay_while_closed(path);
    }
    for session in sessions {
        application.end_session(session, EndReason::Expired);
        application.settle();
    }
    application.finish();
}
