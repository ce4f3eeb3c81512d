//! The outgoing link to one peer: dial, greet, send, and begin again when it breaks.

use super::Shared;
use super::envelope::{PackError, Packer};
use super::gate::Target;
use super::queue::PeerReceiver;
use super::standing::{Direction, OtherEnd, PeerStanding};
use cotter_proto::peer::v1::peer_client::PeerClient;
use cotter_proto::peer::v1::{LinkHello, LinkMessage, LinkReply, PeerBatch, link_message};
use cotter_replica::FEATURE_LEVEL_MAX;
use cotter_types::ReplicaId;
use cotter_types::limits::FRAME_BYTES_MAX;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;

/// Longest time for one attempt to connect and to be greeted.
const DIAL_WAIT: Duration = Duration::from_millis(500);
/// Shortest and longest pause between two attempts. The real one is drawn from its upper half.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// Pause before a peer is tried again that misses more than can be sent.
const PAUSE_HOPELESS: Duration = Duration::from_secs(10);
/// A link that has nothing to say says so this often.
const HEARTBEAT: Duration = Duration::from_millis(250);
/// A peer that is silent is noticed by these two together: they make up a second.
const PING_EVERY: Duration = Duration::from_millis(300);
const PING_WAIT: Duration = Duration::from_millis(700);
/// Frames between the packer and the connection. More would only hide from the queue's bound that
/// the peer is slow.
const FRAMES_AHEAD: usize = 2;

/// The dialling end of one pair.
pub(super) struct Dialler {
    pub(super) shared: Arc<Shared>,
    pub(super) peer: ReplicaId,
    /// Whom to dial.
    pub(super) target: watch::Receiver<Option<Target>>,
    pub(super) queue: PeerReceiver,
    pub(super) standing: Arc<PeerStanding>,
}

/// Why a link ended.
#[derive(Debug)]
enum Broken {
    /// The owner is gone: so is the need for a link.
    Stopping,
    /// The peer misses more than can be sent to it.
    Hopeless { why: String },
    /// It broke after it stood, or never stood.
    Link { why: String, stood: bool },
}

impl Dialler {
    /// Keeps a link to whomever it is told to dial, until the replica stops.
    pub(super) async fn run(mut self) {
        let identity = Arc::clone(&self.shared.identity);
        let mut packer = Packer::new(identity);
        let mut targets = self.target.clone();
        loop {
            let target = targets.borrow_and_update().clone();
            let stopping = match target {
                None => targets.changed().await.is_err(),
                Some(target) => tokio::select! {
                    stopping = self.dial(&target, &mut packer) => stopping,
                    changed = targets.changed() => changed.is_err(),
                },
            };
            self.queue.close();
            packer.clear();
            self.standing.down(Direction::Outgoing, || true).await;
            if stopping {
                return;
            }
        }
    }

    /// Keeps a link to one target. It may be dropped at any point where it waits; returns, with true,
    /// only when the replica stops.
    async fn dial(&mut self, target: &Target, packer: &mut Packer) -> bool {
        let address = &target.address;
        let endpoint = match Endpoint::from_shared(format!("http://{address}")) {
            Ok(endpoint) => endpoint
                .connect_timeout(DIAL_WAIT)
                .tcp_nodelay(true)
                .http2_keep_alive_interval(PING_EVERY)
                .keep_alive_timeout(PING_WAIT)
                .keep_alive_while_idle(true),
            Err(error) => {
                let peer = self.peer.0;
                tracing::error!(peer, address, %error, "cannot dial this address, ever");
                return std::future::pending().await;
            }
        };
        let (replica, peer) = (self.shared.identity.replica.0, self.peer.0);
        let mut pause = PAUSE_MIN;
        let mut told = String::new();
        loop {
            let ended = self.one_link(&endpoint, target, packer).await;
            self.queue.close();
            packer.clear();
            match ended {
                Broken::Stopping => return true,
                Broken::Hopeless { why } => {
                    self.standing.down(Direction::Outgoing, || true).await;
                    tracing::error!(replica, peer, why, "PEER CANNOT CATCH UP");
                    pause = PAUSE_HOPELESS;
                }
                Broken::Link { why, stood: true } => {
                    pause = PAUSE_MIN;
                    told.clear();
                    let lost = self.standing.down(Direction::Outgoing, || true).await;
                    self.log_loss(lost, &why);
                }
                Broken::Link { why, stood: false } => {
                    // One line for each new reason, not one for each attempt.
                    if why != told && why.starts_with("FailedPrecondition") {
                        tracing::error!(replica, peer, address, why, "PEER REFUSES US");
                    } else if why != told {
                        tracing::info!(replica, peer, address, why, "peer not reached; trying on");
                    }
                    told = why;
                }
            }
            tokio::time::sleep(jittered(pause)).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    fn log_loss(&self, lost: bool, why: &str) {
        let (replica, peer) = (self.shared.identity.replica.0, self.peer.0);
        if lost {
            tracing::warn!(replica, peer, why, "peer lost");
        } else {
            tracing::info!(replica, peer, why, "link to peer broken; making another");
        }
    }

    async fn one_link(
        &mut self,
        endpoint: &Endpoint,
        target: &Target,
        packer: &mut Packer,
    ) -> Broken {
        let not_standing = |why: String| Broken::Link { why, stood: false };
        let (frames, receiver) = mpsc::channel(FRAMES_AHEAD);
        let greeting =
            tokio::time::timeout(DIAL_WAIT, self.greet(endpoint, target, &frames, receiver));
        let (reply, mut replies) = match greeting.await {
            Ok(Ok(greeted)) => greeted,
            Ok(Err(why)) => return not_standing(why),
            Err(_) => return not_standing("no answer in time".to_owned()),
        };
        let checked = self.shared.gate().answered(self.peer, target, &reply);
        if let Err(rejection) = checked {
            return not_standing(rejection.to_string());
        }
        packer.address(reply.incarnation);
        self.queue.open();
        let end = OtherEnd {
            disk: reply.incarnation,
            feature_level_max: reply.feature_level_max,
            client_address: reply.client_address,
            peer_address: reply.peer_address,
        };
        self.standing
            .connected(Direction::Outgoing, end, || true)
            .await;
        let overflow = self.queue.overflow_signal();
        let stood = |why: String| Broken::Link { why, stood: true };
        loop {
            let sent = tokio::select! {
                // What ends the link comes first: sending could go on for ever.
                biased;
                reply = replies.message() => {
                    return stood(match reply {
                        Ok(Some(_)) => "the peer answered twice".to_owned(),
                        Ok(None) => "the peer closed it".to_owned(),
                        Err(status) => status_line(&status),
                    });
                }
                () = overflow.wait() => {
                    if self.queue.is_overflown() {
                        return stood("the peer is too slow: its queue is full".to_owned());
                    }
                    continue;
                }
                sent = send_next(&mut self.queue, packer, &frames) => sent,
            };
            match sent {
                Ok(()) => {}
                Err(SendError::OwnerGone) => return Broken::Stopping,
                Err(SendError::LinkGone) => {
                    let why = replies.message().await.err();
                    return stood(why.map_or("the peer closed it".to_owned(), |s| status_line(&s)));
                }
                Err(SendError::Packing(error @ PackError::TooLarge { .. })) => {
                    let why = error.to_string();
                    return Broken::Hopeless { why };
                }
                Err(SendError::Packing(error)) => return stood(error.to_string()),
            }
        }
    }

    async fn greet(
        &self,
        endpoint: &Endpoint,
        target: &Target,
        frames: &mpsc::Sender<LinkMessage>,
        receiver: mpsc::Receiver<LinkMessage>,
    ) -> Result<(LinkReply, tonic::Streaming<LinkReply>), String> {
        let channel = crate::net::connect(endpoint)
            .await
            .map_err(|error| crate::failure::chain(&error))?;
        let mut client = PeerClient::new(channel).max_encoding_message_size(FRAME_BYTES_MAX);
        let hello = LinkMessage {
            message: Some(link_message::Message::Hello(self.hello(target))),
        };
        frames
            .try_send(hello)
            .map_err(|_| "the link closed before it began".to_owned())?;
        let answer = client
            .link(ReceiverStream::new(receiver))
            .await
            .map_err(|status| status_line(&status))?;
        let mut replies = answer.into_inner();
        match replies.message().await {
            Ok(Some(reply)) => Ok((reply, replies)),
            Ok(None) => Err("the peer closed the link without an answer".to_owned()),
            Err(status) => Err(status_line(&status)),
        }
    }

    fn hello(&self, target: &Target) -> LinkHello {
        let identity = &self.shared.identity;
        LinkHello {
            cell_id: identity.cell_id.0,
            sender: identity.replica.0,
            sender_incarnation: identity.incarnation,
            receiver: self.peer.0,
            receiver_incarnation: target.incarnation.unwrap_or(0),
            boot: identity.boot,
            feature_level_max: FEATURE_LEVEL_MAX,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            life: identity.life,
            client_address: identity.client_address.clone(),
            peer_address: identity.peer_address.clone(),
        }
    }
}

enum SendError {
    OwnerGone,
    LinkGone,
    Packing(PackError),
}

/// Sends one frame: of what is left over, of the next messages, or an empty one when there are none.
///
/// It may be dropped at any point where it waits. Room for the frame is reserved before a message is
/// taken, so that nothing is lost by that: a hole in a link would be a broken promise.
async fn send_next(
    queue: &mut PeerReceiver,
    packer: &mut Packer,
    frames: &mpsc::Sender<LinkMessage>,
) -> Result<(), SendError> {
    let room = frames.reserve().await.map_err(|_| SendError::LinkGone)?;
    if !packer.is_waiting() {
        // A heartbeat is due after a while also when the time goes into encoding.
        tokio::time::timeout(HEARTBEAT, add_next(queue, packer))
            .await
            .unwrap_or(Ok(()))?;
    }
    while !packer.is_full() {
        let Some(message) = queue.try_next() else {
            break;
        };
        packer.add(message).map_err(SendError::Packing)?;
    }
    let batch = packer.take().unwrap_or(PeerBatch {
        envelopes: Vec::new(),
    });
    room.send(LinkMessage {
        message: Some(link_message::Message::Batch(batch)),
    });
    Ok(())
}

/// Waits until the next message is packed. It may be dropped at any point where it waits.
async fn add_next(queue: &mut PeerReceiver, packer: &mut Packer) -> Result<(), SendError> {
    if !packer.is_encoding() {
        let message = queue.next().await.ok_or(SendError::OwnerGone)?;
        packer.add(message).map_err(SendError::Packing)?;
    }
    packer.encoded().await.map_err(SendError::Packing)
}

/// Returns a status in one line, with its code.
fn status_line(status: &tonic::Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}

/// Draws a pause from the upper half of `pause`, so that replicas that started together do not go on
/// knocking together. Without randomness from the system the whole pause is taken.
fn jittered(pause: Duration) -> Duration {
    let half = pause / 2;
    let thousandths = getrandom::u32().map_or(1_000, |drawn| drawn % 1_001);
    half + half * thousandths / 1_000
}
