//! Answers to queries: reads of the applied state.
//!
//! The master answers them under its lease; it fills in what only it knows, such as what is left of
//! a session's lease. No query walks what it does not show.

use crate::cell::active_key;
use crate::state::{Holder, Waiter};
use crate::tree::{check_local, first_child, not_found};
use crate::{Cell, Session};
use cotter_types::{
    CellTime, Explanation, HolderView, ListPage, LockRow, Path, Query, QueryResponse, Refusal,
    Sequencer, SessionId, SessionView, WaiterView, limits,
};
use std::ops::Bound;
use std::sync::Arc;

impl Cell {
    /// Answers every query but [`Query::Status`]. `now` is cell time by the master's own count.
    ///
    /// # Errors
    /// A refusal that says why there is no answer; [`Refusal::Invalid`] for [`Query::Status`], which
    /// the replica answers itself.
    pub fn query(&self, query: &Query, now: CellTime) -> Result<QueryResponse, Refusal> {
        let now = now.max(self.header.time);
        match query {
            Query::Get { path } => self.get(path),
            Query::Stat { path } => self.stat(path),
            Query::List { path, after, limit } => self.list(path, after, *limit),
            Query::Explain { path } => self.explain(path, now),
            Query::Locks {
                within,
                after,
                limit,
            } => self.list_locks(within, after.as_ref(), *limit, now),
            Query::Sessions { after, limit } => Ok(self.list_sessions(*after, *limit)),
            Query::CheckSequencer { sequencer } => self.check_sequencer(sequencer),
            Query::Status => Err(Refusal::Invalid {
                what: "each replica answers for its own status".to_owned(),
            }),
        }
    }

    fn get(&self, path: &Path) -> Result<QueryResponse, Refusal> {
        check_local(self, path)?;
        let node = self.nodes.get(path).ok_or_else(|| not_found(path))?;
        Ok(QueryResponse::Node {
            contents: node.contents.clone(),
            stat: self.stat_of(path, node),
            revision: self.header.revision,
        })
    }

    fn stat(&self, path: &Path) -> Result<QueryResponse, Refusal> {
        check_local(self, path)?;
        let node = self.nodes.get(path).ok_or_else(|| not_found(path))?;
        Ok(QueryResponse::Stat {
            stat: self.stat_of(path, node),
            revision: self.header.revision,
        })
    }

    fn list(&self, path: &Path, after: &str, limit: u32) -> Result<QueryResponse, Refusal> {
        check_local(self, path)?;
        if !self.nodes.contains(path) {
            return Err(not_found(path));
        }
        let first = if after.is_empty() {
            first_child(path).map(Bound::Included)
        } else {
            let child = path.child(after).ok();
            let after = child.filter(|child| child.depth() == path.depth() + 1);
            let after = after.ok_or_else(|| Refusal::Invalid {
                what: "a listing goes on after the name of a child".to_owned(),
            })?;
            Some(Bound::Excluded(after))
        };
        let wanted = page_size(limit);
        let mut children = Vec::new();
        let rows = first.map(|first| self.children_of(path, first));
        for (child, node) in rows.into_iter().flatten().take(wanted + 1) {
            children.push((child.name().to_owned(), self.stat_of(child, node)));
        }
        let more = children.len() > wanted;
        children.truncate(wanted);
        Ok(QueryResponse::List {
            page: ListPage { children, more },
            revision: self.header.revision,
        })
    }

    fn explain(&self, path: &Path, now: CellTime) -> Result<QueryResponse, Refusal> {
        check_local(self, path)?;
        let node = self.nodes.get(path).ok_or_else(|| not_found(path))?;
        let lock = self.lock_or_unused(path);
        let holders = self.holders_of(path).take(limits::EXPLAIN_ROWS_MAX);
        let waiters = self.waiters_of(path).take(limits::EXPLAIN_ROWS_MAX);
        let hands = (path.clone(), 0)..=(path.clone(), u64::MAX);
        let mut history: Vec<_> = self
            .hands
            .range(hands)
            .map(|(_, hand)| hand.clone())
            .collect();
        history.reverse();
        Ok(QueryResponse::Explain(Box::new(Explanation {
            path: path.clone(),
            instance: node.instance,
            lock_generation: lock.generation,
            mode: lock.mode,
            holders: holders
                .map(|(_, holder)| self.holder_view(holder, lock.token))
                .collect(),
            holder_count: lock.holders,
            waiters: waiters
                .zip(1..)
                .map(|((_, waiter), place)| self.waiter_view(waiter, place))
                .collect(),
            waiter_count: lock.waiters,
            lock_delay_left_ms: lock.delay_until.map_or(0, |until| until.since_ms(now)),
            history,
            now,
            worst_case_free_ms: None,
        })))
    }

    fn holder_view(&self, holder: &Holder, token: cotter_types::FencingToken) -> HolderView {
        let who = self.describe(holder.session);
        HolderView {
            session: holder.session,
            number: holder.number,
            name: who.metadata.name,
            host: who.metadata.host,
            pid: who.metadata.pid,
            program: who.metadata.program,
            principal: who.principal,
            token,
            since: holder.since,
            since_wall_ms: holder.since_wall_ms,
            lock_delay_ms: holder.lock_delay_ms,
            lease_left_ms: None,
        }
    }

    fn waiter_view(&self, waiter: &Waiter, place: u64) -> WaiterView {
        let who = self.describe(waiter.session);
        WaiterView {
            session: waiter.session,
            number: waiter.number,
            name: who.metadata.name,
            host: who.metadata.host,
            pid: who.metadata.pid,
            program: who.metadata.program,
            principal: who.principal,
            mode: waiter.mode,
            place,
            since: waiter.since,
            deadline: waiter.deadline,
        }
    }

    fn describe(&self, session: SessionId) -> Session {
        let known = self.session(session);
        known
            .cloned()
            .expect("invariant I-CELL-3: who holds or waits lives")
    }

    /// Lists active locks. Paths are ordered by depth, so a subtree is one range at each depth.
    fn list_locks(
        &self,
        within: &Path,
        after: Option<&Path>,
        limit: u32,
        now: CellTime,
    ) -> Result<QueryResponse, Refusal> {
        check_local(self, within)?;
        let wanted = page_size(limit);
        let below: Arc<str> = Arc::from(format!("{within}/"));
        let after = after.map(active_key);
        let mut rows = Vec::new();
        for depth in within.depth()..=limits::PATH_DEPTH_MAX {
            let first = if depth == within.depth() {
                active_key(within)
            } else {
                (depth, Arc::clone(&below))
            };
            let start = match &after {
                Some(after) if *after >= first => Bound::Excluded(after.clone()),
                _ => Bound::Included(first),
            };
            let found = self
                .indexes
                .active
                .range::<_, (usize, Arc<str>)>((start, Bound::Unbounded))
                .take_while(|((at, _), path)| *at == depth && path.is_within(within))
                .take(wanted + 1 - rows.len());
            rows.extend(found.map(|(_, path)| self.lock_row(path, now)));
        }
        let more = rows.len() > wanted;
        rows.truncate(wanted);
        Ok(QueryResponse::Locks { rows, more })
    }

    fn lock_row(&self, path: &Path, now: CellTime) -> LockRow {
        let lock = self.locks.get(path).cloned().unwrap_or_default();
        let first = self.holders_of(path).next();
        LockRow {
            path: path.clone(),
            mode: lock.mode,
            holder_count: lock.holders,
            waiter_count: lock.waiters,
            holder: first.map(|(_, holder)| self.holder_view(holder, lock.token)),
            lock_delay_left_ms: lock.delay_until.map_or(0, |until| until.since_ms(now)),
        }
    }

    fn list_sessions(&self, after: SessionId, limit: u32) -> QueryResponse {
        let wanted = page_size(limit);
        let mut rows: Vec<_> = self
            .sessions
            .range((Bound::Excluded(after), Bound::Unbounded))
            .take(wanted + 1)
            .map(|(id, session)| self.session_view(*id, session))
            .collect();
        let more = rows.len() > wanted;
        rows.truncate(wanted);
        QueryResponse::Sessions { rows, more }
    }

    fn session_view(&self, id: SessionId, session: &Session) -> SessionView {
        let ledger = self.ledgers.get(&id);
        SessionView {
            session: id,
            metadata: session.metadata.clone(),
            principal: session.principal.clone(),
            lease_ms: session.lease_ms,
            opened: session.opened,
            opened_wall_ms: session.opened_wall_ms,
            locks: ledger.map_or(0, |row| row.holds),
            waits: ledger.map_or(0, |row| row.waits),
            lease_left_ms: None,
        }
    }

    fn check_sequencer(&self, sequencer: &Sequencer) -> Result<QueryResponse, Refusal> {
        let other = || Refusal::OtherCell {
            path: sequencer.path.to_string(),
            cell: self.cell_name().to_owned(),
        };
        let path = sequencer
            .path
            .localized(self.cell_name())
            .ok_or_else(other)?;
        let current = self.is_current(&Sequencer {
            path,
            ..sequencer.clone()
        });
        Ok(QueryResponse::Sequencer { current })
    }

    /// Tells whether an acquisition still holds its lock. The path must be local.
    pub(crate) fn is_current(&self, sequencer: &Sequencer) -> bool {
        let path = &sequencer.path;
        let node = self.nodes.get(path).map(|node| node.instance);
        self.locks.get(path).is_some_and(|lock| {
            lock.mode == Some(sequencer.mode)
                && lock.token == sequencer.token
                && lock.generation == sequencer.lock_generation
                && node == Some(sequencer.instance)
        })
    }
}

/// Returns how many rows a page shall have.
fn page_size(limit: u32) -> usize {
    let wanted = match limit {
        0 => limits::LIST_PAGE_DEFAULT,
        some => some.min(limits::LIST_PAGE_MAX),
    };
    usize::try_from(wanted).unwrap_or(usize::MAX)
}
