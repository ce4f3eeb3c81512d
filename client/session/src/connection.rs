//! One connection: greeting, attachment, keepalives, silence.
//!
//! Everything in here dies with the connection, and nothing that outlives it is in here. That is
//! what makes an answer that comes late, on a connection that was left, harmless.

use crate::io::ConnectionId;
use cotter_types::{Epoch, Moment};
use std::collections::BTreeMap;
use std::time::Duration;

/// A connection on which nothing is heard for so long, while something prompt is outstanding, is
/// dead.
pub(crate) const SILENCE: Duration = Duration::from_millis(1_000);
/// Most keepalives that are remembered; a server that answers other things but never a keepalive is
/// not worth more.
const KEEPALIVES_MAX: usize = 64;

/// The present connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) id: ConnectionId,
    pub(crate) address: String,
    pub(crate) stage: Stage,
    /// Since when nothing was heard although something prompt is outstanding.
    pub(crate) silent_since: Option<Moment>,
}

/// How far a connection has come.
#[derive(Debug)]
pub(crate) enum Stage {
    /// The stream does not stand yet.
    Connecting,
    /// Greeted; the replica has not answered yet.
    Greeting,
    /// The replica is not the master. It says so when that changes.
    Listening {
        /// When another is tried.
        until: Moment,
    },
    /// The replica is the master.
    Master(Attachment),
}

/// Whether the session belongs to this stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Not asked yet; to be asked then.
    Detached {
        /// When to ask.
        ask_at: Moment,
    },
    /// `Open` or `Attach` was sent and is not answered.
    Asked {
        /// When it was sent, or an earlier one that may be the one that is answered.
        sent: Moment,
    },
    /// The session is attached.
    Attached,
}

/// The session's place on a stream with the master.
#[derive(Debug)]
pub(crate) struct Attachment {
    /// The master's reign.
    pub(crate) epoch: Epoch,
    pub(crate) standing: Standing,
    /// When the oldest `Open` or `Attach` was sent that is not answered. If the session is detached
    /// meanwhile and asks again, the next answer may still be to the first.
    unanswered: Option<Moment>,
    /// Keepalives not answered yet, with the moment they were sent, if their answer will extend the
    /// lease: the session was attached before, and has not been detached since.
    keepalives: BTreeMap<u64, Option<Moment>>,
    next_keepalive: u64,
    /// When the lease was last asked for.
    last_keepalive: Moment,
}

impl Connection {
    pub(crate) fn new(id: ConnectionId, address: String, now: Moment) -> Self {
        Self {
            id,
            address,
            stage: Stage::Connecting,
            silent_since: Some(now),
        }
    }

    /// Returns the place on the master's stream, if this is one.
    pub(crate) fn attachment(&mut self) -> Option<&mut Attachment> {
        match &mut self.stage {
            Stage::Master(attachment) => Some(attachment),
            Stage::Connecting | Stage::Greeting | Stage::Listening { .. } => None,
        }
    }

    /// Tells whether the session is attached here.
    pub(crate) fn is_attached(&self) -> bool {
        matches!(&self.stage, Stage::Master(attachment) if attachment.standing == Standing::Attached)
    }

    /// Returns since when `Open` or `Attach` waits for its answer.
    pub(crate) fn asked_since(&self) -> Option<Moment> {
        match &self.stage {
            Stage::Master(Attachment {
                standing: Standing::Asked { sent },
                ..
            }) => Some(*sent),
            _ => None,
        }
    }

    /// Takes note that something was sent that the master answers promptly.
    pub(crate) fn sent_prompt(&mut self, now: Moment) {
        self.silent_since.get_or_insert(now);
    }

    /// Takes note that the replica said something.
    pub(crate) fn heard(&mut self, now: Moment) {
        let expects = match &self.stage {
            Stage::Connecting | Stage::Greeting => true,
            Stage::Listening { .. } => false,
            Stage::Master(attachment) => {
                matches!(attachment.standing, Standing::Asked { .. })
                    || !attachment.keepalives.is_empty()
            }
        };
        self.silent_since = expects.then_some(now);
    }

    /// Gives the replica another chance: it was the client itself that stood still.
    pub(crate) fn forgive(&mut self, now: Moment) {
        if let Some(since) = &mut self.silent_since {
            *since = now;
        }
    }
}

impl Attachment {
    pub(crate) fn new(epoch: Epoch, now: Moment) -> Self {
        Self {
            epoch,
            standing: Standing::Detached { ask_at: now },
            unanswered: None,
            keepalives: BTreeMap::new(),
            next_keepalive: 1,
            last_keepalive: now,
        }
    }

    /// `Open` or `Attach` is sent now.
    pub(crate) fn ask(&mut self, now: Moment) {
        let sent = *self.unanswered.get_or_insert(now);
        self.standing = Standing::Asked { sent };
    }

    /// `Open` or `Attach` was answered.
    pub(crate) fn asking_ended(&mut self) {
        self.unanswered = None;
    }

    /// The session is attached by a frame that was sent at `sent`.
    pub(crate) fn attached(&mut self, sent: Moment) {
        self.standing = Standing::Attached;
        self.asking_ended();
        self.last_keepalive = sent;
    }

    /// The session is detached; what is on its way extends nothing.
    pub(crate) fn detached(&mut self, ask_at: Moment) {
        self.standing = Standing::Detached { ask_at };
        for sent in self.keepalives.values_mut() {
            *sent = None;
        }
    }

    /// Returns when the next keepalive is due.
    pub(crate) fn keepalive_due(&self, interval: Duration) -> Moment {
        self.last_keepalive.after(interval)
    }

    /// Takes note of a keepalive that is sent now, and returns its number.
    pub(crate) fn keepalive(&mut self, now: Moment) -> u64 {
        let number = self.next_keepalive;
        self.next_keepalive += 1;
        self.last_keepalive = now;
        if self.keepalives.len() >= KEEPALIVES_MAX {
            self.keepalives.pop_first();
        }
        let attached = self.standing == Standing::Attached;
        self.keepalives.insert(number, attached.then_some(now));
        number
    }

    /// Returns when the keepalive that is now answered was sent, if its answer extends the lease.
    pub(crate) fn keepalive_answered(&mut self, number: u64) -> Option<Moment> {
        // Answers come in order, so what is older will not be answered any more.
        let newer = self.keepalives.split_off(&(number.saturating_add(1)));
        let answered = std::mem::replace(&mut self.keepalives, newer);
        answered.get(&number).copied().flatten()
    }
}
