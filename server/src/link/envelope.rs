//! Puts messages into envelopes, and many envelopes into one frame.
//!
//! A message that is too large for one frame travels in pieces, each in an envelope of its own.

use super::gate::MESSAGE_BYTES_MAX;
use super::identity::Identity;
use crate::worker;
use cotter_proto::peer::v1::{PeerBatch, PeerEnvelope};
use cotter_replica::{Payload, PeerMessage};
use cotter_types::limits::{BATCH_BYTES_MAX, CONTENTS_BYTES_MAX, FRAME_BYTES_MAX};
use omnipaxos::messages::Message;
use omnipaxos::messages::sequence_paxos::PaxosMsg;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use tokio::task::JoinHandle;

/// Largest piece of a message in one envelope, in bytes.
const PIECE_BYTES_MAX: usize = 1024 * 1024;
/// Bodies in one frame, in bytes, beyond which no further envelope is added.
const BATCH_BODY_BYTES_MAX: usize = 1024 * 1024;
/// Most envelopes in one frame.
const BATCH_ENVELOPES_MAX: usize = 1_024;
/// What an envelope adds to its body at most, in bytes.
const ENVELOPE_BYTES_MAX: usize = 96;

/// A message with more bytes than this is large: it brings a peer what it missed. Such a one is
/// encoded and decoded on a thread of its own, so that it holds up neither heartbeats nor other links.
pub(super) const LARGE_BYTES_MIN: usize = FRAME_BYTES_MAX;

// What carries a single batch is never large.
const _: () = assert!(BATCH_BYTES_MAX + CONTENTS_BYTES_MAX < LARGE_BYTES_MIN);

const _: () = assert!(
    PIECE_BYTES_MAX + BATCH_BODY_BYTES_MAX + BATCH_ENVELOPES_MAX * ENVELOPE_BYTES_MAX
        < FRAME_BYTES_MAX
);

/// Returns about how many bytes a message will take, without encoding it.
pub(super) fn weight(message: &PeerMessage) -> usize {
    let entries = |entries: &[Payload]| -> usize {
        entries.iter().map(|entry| entry.as_bytes().len() + 4).sum()
    };
    let message = match message {
        PeerMessage::Paxos { message, .. } => message,
        PeerMessage::Rest { entries: rest, .. } => return entries(rest) + ENVELOPE_BYTES_MAX,
        PeerMessage::State { chunk, .. } => {
            let rows = chunk.as_ref().map_or(0, |chunk| chunk.bytes.len());
            return rows + ENVELOPE_BYTES_MAX;
        }
        PeerMessage::Behind { .. }
        | PeerMessage::Here { .. }
        | PeerMessage::TakeLead
        | PeerMessage::Digest { .. }
        | PeerMessage::SealSoon { .. }
        | PeerMessage::FetchRest { .. }
        | PeerMessage::FetchState { .. } => return ENVELOPE_BYTES_MAX,
    };
    let body = match message {
        Message::BLE(_) => 0,
        Message::SequencePaxos(paxos) => match &paxos.msg {
            PaxosMsg::AcceptDecide(accept) => entries(&accept.entries),
            PaxosMsg::AcceptSync(sync) => entries(&sync.log_sync.suffix),
            PaxosMsg::Promise(promise) => promise
                .log_sync
                .as_ref()
                .map_or(0, |sync| entries(&sync.suffix)),
            PaxosMsg::ProposalForward(forwarded) => entries(forwarded),
            PaxosMsg::PrepareReq(_)
            | PaxosMsg::Prepare(_)
            | PaxosMsg::Accepted(_)
            | PaxosMsg::NotAccepted(_)
            | PaxosMsg::Decide(_)
            | PaxosMsg::Compaction(_)
            | PaxosMsg::AcceptStopSign(_)
            | PaxosMsg::ForwardStopSign(_) => 0,
        },
    };
    body + ENVELOPE_BYTES_MAX
}

/// How a message stands to the largest that a peer takes, [`MESSAGE_BYTES_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    /// Far below it.
    Fits,
    /// It has reached half of it: the log has grown so far that this must be said.
    NearLimit,
    /// No peer takes it.
    TooLarge,
}

impl Size {
    /// Judges a message by its weight.
    pub(super) const fn of(weight: u64) -> Self {
        if weight > MESSAGE_BYTES_MAX {
            Self::TooLarge
        } else if weight >= MESSAGE_BYTES_MAX / 2 {
            Self::NearLimit
        } else {
            Self::Fits
        }
    }
}

/// Why a message cannot be packed.
#[derive(Debug, thiserror::Error)]
pub(super) enum PackError {
    /// No peer would take it.
    #[error(
        "it misses more of the log than can be sent at once: {bytes} bytes, at most \
         {MESSAGE_BYTES_MAX}; see docs/OPERATIONS.md, \"A replica that is far behind\""
    )]
    TooLarge {
        /// Its weight.
        bytes: u64,
    },
    /// It cannot be encoded, which only a bug can cause.
    #[error(transparent)]
    Encoding(#[from] postcard::Error),
    /// The thread that encoded it is gone.
    #[error("a message was not encoded: {0}")]
    Interrupted(#[from] tokio::task::JoinError),
}

/// An encoded message, cut into pieces while it is written.
type Pieces = Vec<Vec<u8>>;

/// Cuts what is written into pieces.
#[derive(Default)]
struct Cutter(Pieces);

impl io::Write for Cutter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self
            .0
            .last()
            .is_none_or(|last| last.len() >= PIECE_BYTES_MAX)
        {
            self.0.push(Vec::with_capacity(PIECE_BYTES_MAX));
        }
        let Some(last) = self.0.last_mut() else {
            return Ok(0);
        };
        let taken = bytes.len().min(PIECE_BYTES_MAX - last.len());
        last.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn encoded_in_pieces(message: &PeerMessage) -> Result<Pieces, postcard::Error> {
    postcard::to_io(message, Cutter::default()).map(|cutter| cutter.0)
}

/// Packs the messages for one peer, in order. Its sequence goes on over all links of this process.
#[derive(Debug)]
pub(super) struct Packer {
    identity: Arc<Identity>,
    receiver_incarnation: u64,
    sequence: u64,
    waiting: VecDeque<PeerEnvelope>,
    waiting_bytes: usize,
    /// A large message that is being encoded. It comes after all that waits, and nothing is added
    /// before it is done.
    encoding: Option<JoinHandle<Result<Pieces, postcard::Error>>>,
}

impl Packer {
    /// Builds the packer for a peer; nothing may be added before it is [addressed](Packer::address).
    pub(super) fn new(identity: Arc<Identity>) -> Self {
        Self {
            identity,
            receiver_incarnation: 0,
            sequence: 0,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            encoding: None,
        }
    }

    /// Addresses what is added from here on to the disk that answered. The sequence goes on: it need
    /// only rise for each.
    pub(super) fn address(&mut self, receiver_incarnation: u64) {
        self.receiver_incarnation = receiver_incarnation;
    }

    /// Adds a message; while the packer is full, none may be. A large one is only begun here, and
    /// [`Packer::encoded`] completes it.
    ///
    /// # Errors
    /// [`PackError`].
    pub(super) fn add(&mut self, message: PeerMessage) -> Result<(), PackError> {
        let weight = weight(&message);
        if weight > LARGE_BYTES_MIN {
            return self.begin(message, weight as u64);
        }
        if weight > PIECE_BYTES_MAX {
            let pieces = encoded_in_pieces(&message)?;
            self.put(pieces);
        } else {
            self.envelope(postcard::to_stdvec(&message)?, false);
        }
        Ok(())
    }

    fn begin(&mut self, message: PeerMessage, bytes: u64) -> Result<(), PackError> {
        match Size::of(bytes) {
            Size::Fits => {}
            Size::NearLimit => {
                tracing::warn!(
                    replica = self.identity.replica.0,
                    disk = self.receiver_incarnation,
                    bytes,
                    at_most = MESSAGE_BYTES_MAX,
                    "THE PEER MISSES SO MUCH OF THE LOG that it can soon not catch up any more"
                );
            }
            Size::TooLarge => return Err(PackError::TooLarge { bytes }),
        }
        let encoding = worker::away(move || encoded_in_pieces(&message));
        self.encoding = Some(encoding);
        Ok(())
    }

    /// Waits until a large message that was added is encoded, if there is one. It may be dropped
    /// while it waits, and called again.
    ///
    /// # Errors
    /// [`PackError`].
    pub(super) async fn encoded(&mut self) -> Result<(), PackError> {
        let Some(encoding) = &mut self.encoding else {
            return Ok(());
        };
        let encoded = encoding.await;
        self.encoding = None;
        self.put(encoded??);
        Ok(())
    }

    fn put(&mut self, pieces: Pieces) {
        let mut pieces = pieces.into_iter().peekable();
        while let Some(piece) = pieces.next() {
            self.envelope(piece, pieces.peek().is_some());
        }
    }

    /// Forgets what was added and not taken: the link is gone.
    pub(super) fn clear(&mut self) {
        self.waiting.clear();
        self.waiting_bytes = 0;
        // The thread ends by itself, and nobody looks at what it made.
        self.encoding = None;
    }

    /// Tells whether a large message is being encoded.
    pub(super) fn is_encoding(&self) -> bool {
        self.encoding.is_some()
    }

    /// Tells whether something waits to be taken.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Tells whether a frame's worth of envelopes waits, or a large message is on its way, so that no
    /// more may be added first.
    pub(super) fn is_full(&self) -> bool {
        self.is_encoding()
            || self.waiting.len() >= BATCH_ENVELOPES_MAX
            || self.waiting_bytes >= BATCH_BODY_BYTES_MAX
    }

    /// Takes the next frame; none if nothing waits.
    pub(super) fn take(&mut self) -> Option<PeerBatch> {
        let mut envelopes = Vec::new();
        let mut bytes = 0;
        while envelopes.len() < BATCH_ENVELOPES_MAX && bytes < BATCH_BODY_BYTES_MAX {
            let Some(envelope) = self.waiting.pop_front() else {
                break;
            };
            bytes += envelope.body.len();
            self.waiting_bytes -= envelope.body.len();
            envelopes.push(envelope);
        }
        (!envelopes.is_empty()).then_some(PeerBatch { envelopes })
    }

    fn envelope(&mut self, body: Vec<u8>, continues: bool) {
        self.sequence += 1;
        self.waiting_bytes += body.len();
        self.waiting.push_back(PeerEnvelope {
            cell_id: self.identity.cell_id.0,
            sender: self.identity.replica.0,
            sender_incarnation: self.identity.incarnation,
            receiver_incarnation: self.receiver_incarnation,
            boot: self.identity.boot,
            sequence: self.sequence,
            body: body.into(),
            continues,
        });
    }
}
