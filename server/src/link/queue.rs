//! The bounded way from the owner thread to the link of one peer.
//!
//! The owner never waits: what does not fit is dropped, and so is everything after it, until the link
//! was made anew. A hole in the middle of a link would break the order that OmniPaxos relies on; a
//! new link makes both sides say `reconnected`, and consensus sends again what is missing.

use super::envelope::weight;
use cotter_replica::PeerMessage;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::sync::{Notify, mpsc};

/// Most messages that wait for one peer.
pub const PEER_QUEUE_MESSAGES_MAX: usize = 16_384;
/// Most bytes that wait for one peer. A message larger than that passes when nothing else waits.
pub const PEER_QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;

#[derive(Debug, Default)]
struct Shared {
    /// Whether a link stands that takes messages.
    open: AtomicBool,
    bytes: AtomicUsize,
    /// Woken when something had to be dropped and the link must be made anew.
    overflown: Notify,
}

/// The owner's end.
#[derive(Debug)]
pub struct PeerSender {
    shared: Arc<Shared>,
    messages: mpsc::Sender<PeerMessage>,
}

/// The link's end.
#[derive(Debug)]
pub(super) struct PeerReceiver {
    shared: Arc<Shared>,
    messages: mpsc::Receiver<PeerMessage>,
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
        let weight = weight(&message);
        let waiting = self.shared.bytes.load(Ordering::Relaxed);
        let fits = waiting == 0 || waiting + weight <= PEER_QUEUE_BYTES_MAX;
        if fits {
            self.shared.bytes.fetch_add(weight, Ordering::Relaxed);
            if self.messages.try_send(message).is_ok() {
                return;
            }
            self.shared.bytes.fetch_sub(weight, Ordering::Relaxed);
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
        let message = self.messages.recv().await?;
        self.taken(&message);
        Some(message)
    }

    /// Takes a message if one waits.
    pub(super) fn try_next(&mut self) -> Option<PeerMessage> {
        let message = self.messages.try_recv().ok()?;
        self.taken(&message);
        Some(message)
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

    fn taken(&self, message: &PeerMessage) {
        self.shared
            .bytes
            .fetch_sub(weight(message), Ordering::Relaxed);
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
