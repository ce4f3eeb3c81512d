//! The incoming links: greet, check every envelope at the gate, hand messages to the owner.

use super::Shared;
use super::envelope::LARGE_BYTES_MIN;
use super::gate::{LinkNumber, Rejection};
use super::standing::{Direction, OtherEnd, PeerStanding};
use crate::birth::BirthDesk;
use crate::worker;
use cotter_proto::peer::v1::peer_server::{Peer, PeerServer};
use cotter_proto::peer::v1::{
    BirthReply, BirthRequest, LinkHello, LinkMessage, LinkReply, PeerEnvelope, link_message,
};
use cotter_replica::{FEATURE_LEVEL_MAX, Input, PeerMessage};
use cotter_types::ReplicaId;
use cotter_types::limits::FRAME_BYTES_MAX;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// Longest time for the first message of a link.
const HELLO_WAIT: Duration = Duration::from_secs(1);
/// A link on which nothing came for so long is dead: the other end would have sent heartbeats.
const SILENCE_MAX: Duration = Duration::from_secs(1);

/// A refusal that is repeated is said this often.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);

/// Serves `cotter.peer.v1.Peer` for one replica.
#[derive(Clone)]
pub(super) struct PeerDoor {
    pub(super) shared: Arc<Shared>,
    pub(super) standings: Arc<BTreeMap<ReplicaId, Arc<PeerStanding>>>,
    pub(super) birth: Arc<BirthDesk>,
}

impl PeerDoor {
    /// Wraps the door into a service with the size limits of the protocol.
    pub(super) fn into_service(self) -> PeerServer<Self> {
        PeerServer::new(self).max_decoding_message_size(FRAME_BYTES_MAX)
    }

    fn admit(&self, hello: &LinkHello) -> Result<Incoming, Status> {
        let admitted = self.shared.gate().admit(hello);
        match admitted {
            Ok((peer, link)) => {
                let standing = self.standings.get(&peer).map(Arc::clone).ok_or_else(|| {
                    Status::internal("a peer that the gate knows has no standing")
                })?;
                Ok(Incoming {
                    shared: Arc::clone(&self.shared),
                    standing,
                    peer,
                    link,
                })
            }
            Err(rejection) => {
                metrics::counter!("cotter_links_refused_total").increment(1);
                self.complain(hello, &rejection);
                Err(Status::failed_precondition(rejection.to_string()))
            }
        }
    }
}

impl PeerDoor {
    /// Says why a link was refused, at once and then from time to time: its caller tries on for ever.
    fn complain(&self, hello: &LinkHello, rejection: &Rejection) {
        let (replica, peer) = (self.shared.identity.replica, ReplicaId(hello.sender));
        // All strangers share one entry, so that they cannot make it grow.
        let possible = self.standings.contains_key(&peer);
        let whose = if possible { peer } else { replica };
        let said = {
            let mut complaints = self.shared.complaints();
            let now = Instant::now();
            let said = complaints.get(&whose).is_some_and(|(what, when)| {
                what == rejection && now.duration_since(*when) < COMPLAIN_EVERY
            });
            if !said {
                complaints.insert(whose, (rejection.clone(), now));
            }
            said
        };
        if said {
            return;
        }
        let (replica, peer, boot) = (replica.0, peer.0, hello.boot);
        match rejection {
            Rejection::Forgot { .. } => {
                tracing::error!(replica, peer, boot, %rejection, "LINK REFUSED");
            }
            _ => tracing::warn!(replica, peer, boot, %rejection, "link refused"),
        }
    }
}

/// One incoming link.
pub(super) struct Incoming {
    pub(super) shared: Arc<Shared>,
    pub(super) standing: Arc<PeerStanding>,
    pub(super) peer: ReplicaId,
    pub(super) link: LinkNumber,
}

/// A message that has passed the gate and is decoded.
pub(super) struct Passed {
    /// The boot that its sender was in.
    boot: u64,
    message: PeerMessage,
}

impl Incoming {
    /// Hands messages on until the link ends, and says why it did.
    async fn receive(&self, messages: &mut Streaming<LinkMessage>) -> Status {
        loop {
            let message = match tokio::time::timeout(SILENCE_MAX, messages.message()).await {
                Ok(Ok(Some(message))) => message,
                Ok(Ok(None)) => return Status::ok("the peer closed it"),
                Ok(Err(status)) => return status,
                Err(_) => return Status::deadline_exceeded("silent for a second"),
            };
            let Some(link_message::Message::Batch(batch)) = message.message else {
                return Status::invalid_argument("only batches may follow the hello");
            };
            for envelope in batch.envelopes {
                let handed_over = match self.pass(envelope).await {
                    Ok(Some(passed)) => self.hand_over(passed).await,
                    Ok(None) => Ok(()),
                    Err(ended) => Err(ended),
                };
                if let Err(ended) = handed_over {
                    return ended;
                }
            }
        }
    }

    /// Says that the link stands, unless a newer one of the peer does. Returns whether it was said.
    pub(super) async fn connected(&self, hello: LinkHello) -> bool {
        let newest = || self.shared.gate().is_newest(self.peer, self.link);
        let end = OtherEnd {
            disk: hello.sender_incarnation,
            feature_level_max: hello.feature_level_max,
            client_address: hello.client_address,
            peer_address: hello.peer_address,
        };
        self.standing
            .connected(Direction::Incoming, end, newest)
            .await
    }

    /// Lets an envelope through the gate, and returns the message if it is whole now.
    pub(super) async fn pass(&self, envelope: PeerEnvelope) -> Result<Option<Passed>, Status> {
        let boot = envelope.boot;
        let passed = self.shared.gate().receive(self.peer, self.link, envelope);
        let body = passed.map_err(|rejection| refused(&rejection))?;
        let Some(body) = body else {
            return Ok(None);
        };
        let (from, to) = (self.peer, self.shared.identity.replica);
        let message = if body.len() > LARGE_BYTES_MIN {
            let decoding = worker::away(move || decoded(from, to, &body));
            decoding.await.ok().flatten()
        } else {
            decoded(from, to, &body)
        };
        let message =
            message.ok_or_else(|| Status::invalid_argument("a message cannot be decoded"))?;
        Ok(Some(Passed { boot, message }))
    }

    /// Hands a message to the owner, unless a newer link or start of the peer was heard of meanwhile:
    /// decoding takes long, and so does waiting for room.
    ///
    /// The gate stays locked from that question until the message is in the inbox. A newer link must
    /// pass the gate before anything of it can be said, so nothing of this one can come after that.
    pub(super) async fn hand_over(&self, passed: Passed) -> Result<(), Status> {
        let stopping = |_| Status::unavailable("the replica is stopping");
        let input = Input::Peer {
            from: self.peer,
            message: passed.message,
        };
        let room = self.shared.door.reserve().await.map_err(stopping)?;
        let gate = self.shared.gate();
        gate.still_stands(self.peer, self.link, passed.boot)
            .map_err(|rejection| refused(&rejection))?;
        room.send(input).map_err(stopping)
    }

    /// Serves the link to its end.
    async fn run(
        self,
        hello: LinkHello,
        mut messages: Streaming<LinkMessage>,
        replies: mpsc::Sender<Result<LinkReply, Status>>,
    ) {
        let replica = self.shared.identity.replica.0;
        let (peer, boot) = (self.peer.0, hello.boot);
        let version = hello.version.chars().take(32).collect::<String>();
        tracing::info!(replica, peer, boot, version, "peer connected");
        if !self.connected(hello).await {
            tracing::debug!(replica, peer, "incoming link was replaced before it began");
            return;
        }
        let ended = tokio::select! {
            ended = self.receive(&mut messages) => ended,
            // The caller gave the stream up.
            () = replies.closed() => Status::cancelled("the peer gave it up"),
        };
        let newest = || self.shared.gate().is_newest(self.peer, self.link);
        if self.standing.down(Direction::Incoming, newest).await {
            tracing::warn!(replica, peer, why = ended.message(), "peer lost");
        } else {
            tracing::debug!(replica, peer, why = ended.message(), "incoming link ended");
        }
        // The caller may be gone already, and then nobody needs to know.
        let _ = replies.try_send(Err(ended));
    }
}

fn refused(rejection: &Rejection) -> Status {
    Status::failed_precondition(rejection.to_string())
}

/// Decodes a message and checks that it says the same sender and receiver as its envelope:
/// OmniPaxos panics for an id that it does not know.
fn decoded(from: ReplicaId, to: ReplicaId, body: &[u8]) -> Option<PeerMessage> {
    let message: PeerMessage = postcard::from_bytes(body).ok()?;
    let fits = match &message {
        PeerMessage::Paxos { message, .. } => {
            message.get_sender() == from.0 && message.get_receiver() == to.0
        }
        PeerMessage::Behind { .. }
        | PeerMessage::Here { .. }
        | PeerMessage::TakeLead
        | PeerMessage::Digest { .. }
        | PeerMessage::SealSoon { .. }
        | PeerMessage::FetchRest { .. }
        | PeerMessage::Rest { .. }
        | PeerMessage::FetchState { .. }
        | PeerMessage::State { .. } => true,
    };
    fits.then_some(message)
}

#[tonic::async_trait]
impl Peer for PeerDoor {
    type LinkStream = ReceiverStream<Result<LinkReply, Status>>;

    async fn link(
        &self,
        request: Request<Streaming<LinkMessage>>,
    ) -> Result<Response<Self::LinkStream>, Status> {
        let mut messages = request.into_inner();
        let first = tokio::time::timeout(HELLO_WAIT, messages.message())
            .await
            .map_err(|_| Status::deadline_exceeded("no hello came"))??;
        let Some(link_message::Message::Hello(hello)) = first.and_then(|first| first.message)
        else {
            return Err(Status::invalid_argument("a link begins with a hello"));
        };
        let incoming = self.admit(&hello)?;
        let (replies, answer) = mpsc::channel(2);
        let accepted = LinkReply {
            incarnation: self.shared.identity.incarnation,
            boot: self.shared.identity.boot,
            feature_level_max: FEATURE_LEVEL_MAX,
            client_address: self.shared.identity.client_address.clone(),
            peer_address: self.shared.identity.peer_address.clone(),
        };
        replies
            .try_send(Ok(accepted))
            .map_err(|_| Status::internal("a new channel has room"))?;
        tokio::spawn(incoming.run(hello, messages, replies));
        Ok(Response::new(ReceiverStream::new(answer)))
    }

    async fn birth(&self, request: Request<BirthRequest>) -> Result<Response<BirthReply>, Status> {
        self.birth.answer(request.into_inner()).map(Response::new)
    }
}
