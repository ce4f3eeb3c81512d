//! The bounded way from the owner thread to the link of one peer.
//!
//! The owner never waits: what does not fit is dropped, and so is everything after it, until the link
//! was made anew. A hole in the middle of a link would break the order that OmniPaxos relies on; a
//! new link makes both sides say `reconnected`, and consensus sends again what is missing.

use super::envelope::{LARGE_BYTES_MIN, weight};
use cotter_replica::PeerMessage;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::sync::{Notify, mpsc};

/// Most messages that wait for one peer.
pub const PEER_QUEUE_MESSAGES_MAX: usize = 16_384;
/// Most bytes that wait for one peer, without one message of synchronisation: that one carries all
/// that the peer missed, and if it took the room of what is behind it, the queue would overflow, the
/// link would be made anew, and the peer would ask for all of it again.
pub const PEER_QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;

#[derive(Debug, Default)]
struct Shared {
    /// Whether a link stands that takes messages.
    open: AtomicBool,
    /// Of all that waits and is counted.
    bytes: AtomicUsize,
    /// Whether a message waits that is not counted.
    exempt: AtomicBool,
    /// Woken when something had to be dropped and the link must be made anew.
    overflown: Notify,
}

/// A message that waits.
#[derive(Debug)]
struct Waiting {
    message: PeerMessage,
    charge: Charge,
}

/// What a message takes of the queue's bound.
#[derive(Clone, Copy, Debug)]
enum Charge {
    Bytes(usize),
    /// Nothing: it is the one that is not counted.
    Exempt,
}

impl Shared {
    /// Takes room for a message; nothing if there is none. Only the owner does.
    fn charge(&self, weight: usize) -> Option<Charge> {
        if weight > LARGE_BYTES_MIN && !self.exempt.swap(true, Ordering::Relaxed) {
            return Some(Charge::Exempt);
        }
        if self.bytes.load(Ordering::Relaxed) + weight > PEER_QUEUE_BYTES_MAX {
            return None;
        }
        self.bytes.fetch_add(weight, Ordering::Relaxed);
        Some(Charge::Bytes(weight))
    }

    /// Gives room back.
    fn discharge(&self, charge: Charge) {
        match charge {
            Charge::Bytes(weight) => {
                self.bytes.fetch_sub(weight, Ordering::Relaxed);
            }
            Charge::Exempt => self.exempt.store(false, Ordering::Relaxed),
        }
    }
}

/// The owner's end.
#[derive(Debug)]
pub struct PeerSender {
    shared: Arc<Shared>,
    messages: mpsc::Sender<Waiting>,
}

/// The link's end.
#[derive(Debug)]
pub(super) struct PeerReceiver {
    shared: Arc<Shared>,
    messages: mpsc::Receiver<Waiting>,
}

/// Builds the queue for one peer. It takes nothing before the link opens it.
pub(super) fn peer_queue(messages_max: usize) -> (PeerSender, PeerReceiver) {
    let shared = Arc::new(Shared::default());
    let (sender, receiver) = mpsc::channel(messages_max);
    let owner = PeerSender {
        shared: Arc::clone(&shared),
        messages: sender,
    };
    let link = PeerReceiver {
        shared,
        messages: receiver,
    };
    (owner, link)
}

impl PeerSender {
    /// Queues a message, or drops it: without a link, or when the queue is full. Never waits.
    pub fn send(&self, message: PeerMessage) {
        if !self.shared.open.load(Ordering::Acquire) {
            return;
        }
        if let Some(charge) = self.shared.charge(weight(&message)) {
            if self.messages.try_send(Waiting { message, charge }).is_ok() {
                return;
            }
            self.shared.discharge(charge);
        }
        self.shared.open.store(false, Ordering::Release);
        self.shared.overflown.notify_one();
        metrics::counter!("cotter_peer_queue_overflows_total").increment(1);
    }

    /// Returns how many messages wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.messages.max_capacity() - self.messages.capacity()
    }
}

impl PeerReceiver {
    /// Throws away what waits and takes messages from here on: a link stands.
    pub(super) fn open(&mut self) {
        self.discard();
        self.shared.open.store(true, Ordering::Release);
    }

    /// Takes no more messages: the link is gone.
    pub(super) fn close(&mut self) {
        self.shared.open.store(false, Ordering::Release);
        self.discard();
    }

    /// Waits for a message; none once the owner is gone.
    pub(super) async fn next(&mut self) -> Option<PeerMessage> {
        let waiting = self.messages.recv().await?;
        self.shared.discharge(waiting.charge);
        Some(waiting.message)
    }

    /// Takes a message if one waits.
    pub(super) fn try_next(&mut self) -> Option<PeerMessage> {
        let waiting = self.messages.try_recv().ok()?;
        self.shared.discharge(waiting.charge);
        Some(waiting.message)
    }

    /// Tells whether something was dropped since the link was opened.
    pub(super) fn is_overflown(&self) -> bool {
        !self.shared.open.load(Ordering::Acquire)
    }

    /// Returns what to wait on for a drop while the receiver itself is in use.
    pub(super) fn overflow_signal(&self) -> OverflowSignal {
        OverflowSignal(Arc::clone(&self.shared))
    }

    fn discard(&mut self) {
        while self.try_next().is_some() {}
    }
}

/// Wakes when a message had to be dropped.
#[derive(Clone, Debug)]
pub(super) struct OverflowSignal(Arc<Shared>);

impl OverflowSignal {
    /// Waits until something is dropped. It may also wake for what was dropped on an earlier link, so
    /// the caller asks [`PeerReceiver::is_overflown`].
    pub(super) async fn wait(&self) {
        self.0.overflown.notified().await;
    }
}
