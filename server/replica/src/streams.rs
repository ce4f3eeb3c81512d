//! The client streams of one replica, whatever its role.

use crate::io::StreamId;
use cotter_types::{Moment, SessionId};
use std::collections::{BTreeMap, BTreeSet};

/// One client stream.
#[derive(Debug)]
pub(crate) struct Stream {
    /// Who is at the other end, as the door established it.
    pub(crate) principal: String,
    /// Whether its hello has come.
    pub(crate) greeted: bool,
    /// When the master last handled a keepalive of it: extends every attached session at once.
    pub(crate) renewed: Moment,
    /// Sessions attached to it.
    pub(crate) attached: BTreeSet<SessionId>,
    /// Mutations admitted on it and not applied yet.
    pub(crate) in_flight: usize,
}

/// All client streams.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    streams: BTreeMap<StreamId, Stream>,
}

impl Streams {
    pub(crate) fn open(&mut self, id: StreamId, principal: String) {
        let stream = Stream {
            principal,
            greeted: false,
            renewed: Moment::default(),
            attached: BTreeSet::new(),
            in_flight: 0,
        };
        self.streams.insert(id, stream);
    }

    pub(crate) fn close(&mut self, id: StreamId) -> Option<Stream> {
        self.streams.remove(&id)
    }

    pub(crate) fn get(&self, id: StreamId) -> Option<&Stream> {
        self.streams.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: StreamId) -> Option<&mut Stream> {
        self.streams.get_mut(&id)
    }

    /// Returns the streams whose hello has come.
    pub(crate) fn greeted(&self) -> impl Iterator<Item = StreamId> {
        self.streams
            .iter()
            .filter(|(_, stream)| stream.greeted)
            .map(|(id, _)| *id)
    }

    /// Counts one more mutation in flight on a stream, or moves it there from the one on which it
    /// came before.
    pub(crate) fn count_in_flight(&mut self, stream: StreamId, before: Option<StreamId>) {
        if before == Some(stream) {
            return;
        }
        if let Some(left) = before.and_then(|before| self.streams.get_mut(&before)) {
            left.in_flight = left.in_flight.saturating_sub(1);
        }
        if let Some(stream) = self.streams.get_mut(&stream) {
            stream.in_flight += 1;
        }
    }

    /// Forgets what belongs to a master's reign: attachments, renewals, what is in flight.
    pub(crate) fn end_reign(&mut self) {
        for stream in self.streams.values_mut() {
            stream.attached.clear();
            stream.renewed = Moment::default();
            stream.in_flight = 0;
        }
    }
}
