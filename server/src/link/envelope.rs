//! Puts messages into envelopes, and many envelopes into one frame.
//!
//! A message that is too large for one frame travels in pieces, each in an envelope of its own.

use super::identity::{CHAPTER, Identity};
use cotter_proto::peer::v1::{PeerBatch, PeerEnvelope};
use cotter_replica::{Payload, PeerMessage};
use cotter_types::limits::FRAME_BYTES_MAX;
use omnipaxos::messages::Message;
use omnipaxos::messages::sequence_paxos::PaxosMsg;
use std::collections::VecDeque;
use std::sync::Arc;

/// Largest piece of a message in one envelope, in bytes.
const PIECE_BYTES_MAX: usize = 1024 * 1024;
/// Bodies in one frame, in bytes, beyond which no further envelope is added.
const BATCH_BODY_BYTES_MAX: usize = 1024 * 1024;
/// Most envelopes in one frame.
const BATCH_ENVELOPES_MAX: usize = 1_024;
/// What an envelope adds to its body at most, in bytes.
const ENVELOPE_BYTES_MAX: usize = 96;

const _: () = assert!(
    PIECE_BYTES_MAX + BATCH_BODY_BYTES_MAX + BATCH_ENVELOPES_MAX * ENVELOPE_BYTES_MAX
        < FRAME_BYTES_MAX
);

/// Returns about how many bytes a message will take, without encoding it.
pub(super) fn weight(message: &PeerMessage) -> usize {
    let entries = |entries: &[Payload]| -> usize {
        entries.iter().map(|entry| entry.as_bytes().len() + 4).sum()
    };
    let PeerMessage::Paxos(message) = message;
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

/// Packs the messages for one peer, in order. Its sequence goes on over all links of this process.
#[derive(Debug)]
pub(super) struct Packer {
    identity: Arc<Identity>,
    receiver_incarnation: u64,
    sequence: u64,
    waiting: VecDeque<PeerEnvelope>,
    waiting_bytes: usize,
}

impl Packer {
    /// Builds the packer for the peer that lives on `receiver_incarnation`.
    pub(super) fn new(identity: Arc<Identity>, receiver_incarnation: u64) -> Self {
        Self {
            identity,
            receiver_incarnation,
            sequence: 0,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
        }
    }

    /// Adds a message.
    ///
    /// # Errors
    /// When it cannot be encoded, which only a bug can cause.
    pub(super) fn push(&mut self, message: &PeerMessage) -> Result<(), postcard::Error> {
        let body = postcard::to_stdvec(message)?;
        if body.len() <= PIECE_BYTES_MAX {
            self.envelope(body, false);
            return Ok(());
        }
        let mut pieces = body.chunks(PIECE_BYTES_MAX).peekable();
        while let Some(piece) = pieces.next() {
            self.envelope(piece.to_vec(), pieces.peek().is_some());
        }
        Ok(())
    }

    /// Forgets what was added and not taken: the link is gone.
    pub(super) fn clear(&mut self) {
        self.waiting.clear();
        self.waiting_bytes = 0;
    }

    /// Tells whether something waits to be taken.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Tells whether a frame's worth of envelopes waits, so that no more should be added first.
    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= BATCH_ENVELOPES_MAX || self.waiting_bytes >= BATCH_BODY_BYTES_MAX
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
            chapter: CHAPTER,
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
