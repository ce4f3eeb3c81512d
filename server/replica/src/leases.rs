//! Until when the master owes each session its lease.
//!
//! Soft state of the master: born with its reign, gone with it. A keepalive of a stream extends all
//! sessions attached to it in constant time, because a session's lease is looked at only when its
//! last known end is reached.

use crate::io::StreamId;
use crate::streams::Streams;
use cotter_types::{Moment, SessionId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What the master knows of one session.
#[derive(Debug)]
struct Lease {
    length: Duration,
    /// When the lease was last extended for this session by itself.
    granted: Moment,
    /// The stream that it is attached to, and when it was attached.
    stream: Option<StreamId>,
    /// The moment under which it stands in the queue of ends.
    queued: Moment,
    /// Its end is on its way through the log: nothing is promised to it any more.
    condemned: bool,
}

/// The leases of all sessions.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    leases: BTreeMap<SessionId, Lease>,
    ends: BTreeSet<(Moment, SessionId)>,
}

impl Leases {
    /// Begins to count a session's lease at `now`.
    pub(crate) fn begin(&mut self, session: SessionId, length: Duration, now: Moment) {
        let queued = now.after(length);
        let lease = Lease {
            length,
            granted: now,
            stream: None,
            queued,
            condemned: false,
        };
        if let Some(old) = self.leases.insert(session, lease) {
            self.ends.remove(&(old.queued, session));
        }
        self.ends.insert((queued, session));
    }

    /// Forgets a session and returns the stream that it was attached to.
    pub(crate) fn end(&mut self, session: SessionId) -> Option<StreamId> {
        let lease = self.leases.remove(&session)?;
        self.ends.remove(&(lease.queued, session));
        lease.stream
    }

    /// Tells whether a session's end is being decided.
    pub(crate) fn is_condemned(&self, session: SessionId) -> bool {
        self.leases
            .get(&session)
            .is_some_and(|lease| lease.condemned)
    }

    /// Returns the stream that a session is attached to.
    pub(crate) fn stream_of(&self, session: SessionId) -> Option<StreamId> {
        self.leases.get(&session).and_then(|lease| lease.stream)
    }

    /// Extends a session's lease and moves it to a stream; returns the stream that it leaves.
    pub(crate) fn attach(
        &mut self,
        session: SessionId,
        stream: StreamId,
        now: Moment,
    ) -> Option<StreamId> {
        let lease = self.leases.get_mut(&session)?;
        lease.granted = now;
        lease.stream.replace(stream).filter(|old| *old != stream)
    }

    /// Extends a session's lease to `by` from now, at most to the whole lease, which is meant by
    /// nothing. Never shortens it, and does nothing for a condemned session.
    pub(crate) fn extend(&mut self, session: SessionId, now: Moment, by: Option<Duration>) {
        let Some(lease) = self.leases.get_mut(&session).filter(|it| !it.condemned) else {
            return;
        };
        let by = by.map_or(lease.length, |by| by.min(lease.length));
        lease.granted = lease.granted.max(now.after(by).before(lease.length));
    }

    /// Takes a session off its stream, keeping what the stream's keepalives had earned it.
    pub(crate) fn detach(&mut self, session: SessionId, renewed: Moment) {
        if let Some(lease) = self.leases.get_mut(&session) {
            lease.granted = lease.granted.max(renewed);
            lease.stream = None;
        }
    }

    /// Returns the moment at which a session's lease ends, if nothing extends it further.
    pub(crate) fn end_of(&self, session: SessionId, streams: &Streams) -> Option<Moment> {
        self.leases
            .get(&session)
            .map(|lease| actual_end(lease, streams))
    }

    /// Returns the moment at which [`Leases::condemn_overdue`] may find something.
    pub(crate) fn next_end(&self) -> Moment {
        self.ends.first().map_or(Moment::NEVER, |(end, _)| *end)
    }

    /// Condemns the sessions whose lease has run out, and returns them with their streams.
    pub(crate) fn condemn_overdue(
        &mut self,
        now: Moment,
        streams: &Streams,
    ) -> Vec<(SessionId, Option<StreamId>)> {
        let mut condemned = Vec::new();
        while let Some((queued, session)) = self.ends.first().copied().filter(|end| end.0 <= now) {
            self.ends.remove(&(queued, session));
            let Some(lease) = self.leases.get_mut(&session) else {
                continue;
            };
            let end = actual_end(lease, streams);
            if end > now {
                lease.queued = end;
                self.ends.insert((end, session));
            } else {
                lease.condemned = true;
                condemned.push((session, lease.stream.take()));
            }
        }
        condemned
    }
}

fn actual_end(lease: &Lease, streams: &Streams) -> Moment {
    let renewed = lease
        .stream
        .and_then(|stream| streams.get(stream))
        .map_or(Moment::default(), |stream| stream.renewed);
    lease.granted.max(renewed).after(lease.length)
}
