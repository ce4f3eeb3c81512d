//! A replica that says what a test wants, on a thread of its own.

use cotter_proto::v1;
use cotter_proto::v1::cotter_server::{Cotter, CotterServer};
use cotter_types::{
    Answer, CellId, CellStatus, ClientFrame, Epoch, FencingToken, Instance, Lifetime, LockMode,
    Mutation, NodeResult, NodeStat, Notice, Query, QueryResponse, Refusal, ReplicaId, Response,
    Revision, Role, Sequencer, ServerFrame, SessionId, Welcome,
};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{broadcast, mpsc};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response as Reply, Status, Streaming};

/// Longest time that a test waits for anything.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// What the fake replica does, to be changed at any time.
#[derive(Debug)]
pub(super) struct Temper {
    pub(super) is_master: AtomicBool,
    /// Answers nothing at all.
    pub(super) silent: AtomicBool,
    /// Answers keepalives, but no mutation.
    pub(super) stuck: AtomicBool,
    /// Refuses to open sessions.
    pub(super) refuses: AtomicBool,
    pub(super) lease_ms: AtomicU64,
    /// Acquires wait for this; then they are granted when they come again.
    pub(super) grants: AtomicBool,
}

/// A running fake replica.
pub(super) struct Fake {
    pub(super) address: String,
    pub(super) temper: Arc<Temper>,
    pub(super) heard: mpsc::UnboundedReceiver<ClientFrame>,
    /// What is sent here goes to every stream; nothing ends them.
    pub(super) push: broadcast::Sender<Option<ServerFrame>>,
}

struct Service {
    temper: Arc<Temper>,
    heard: Mutex<mpsc::UnboundedSender<ClientFrame>>,
    push: broadcast::Sender<Option<ServerFrame>>,
}

impl Fake {
    pub(super) fn start() -> Self {
        let temper = Arc::new(Temper {
            is_master: AtomicBool::new(true),
            silent: AtomicBool::new(false),
            stuck: AtomicBool::new(false),
            refuses: AtomicBool::new(false),
            lease_ms: AtomicU64::new(12_000),
            grants: AtomicBool::new(true),
        });
        let (sender, heard) = mpsc::unbounded_channel();
        let (push, _) = broadcast::channel(16);
        let service = Service {
            temper: Arc::clone(&temper),
            heard: Mutex::new(sender),
            push: push.clone(),
        };
        let (listening, listens) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let any = SocketAddr::from(([127, 0, 0, 1], 0));
                let listener = tokio::net::TcpListener::bind(any).await.unwrap();
                listening.send(listener.local_addr().unwrap()).unwrap();
                tonic::transport::Server::builder()
                    .add_service(CotterServer::new(service))
                    .serve_with_incoming(TcpListenerStream::new(listener))
                    .await
            })
        });
        Self {
            address: listens.recv().unwrap().to_string(),
            temper,
            heard,
            push,
        }
    }

    /// Waits for a frame from the client that fits.
    pub(super) async fn hears(&mut self, fits: impl Fn(&ClientFrame) -> bool) -> ClientFrame {
        tokio::time::timeout(PATIENCE, async {
            loop {
                let frame = self.heard.recv().await.unwrap();
                if fits(&frame) {
                    return frame;
                }
            }
        })
        .await
        .expect("the client never said it")
    }

    /// Waits for a mutation from the client that fits, and returns its number.
    pub(super) async fn hears_mutation(&mut self, fits: impl Fn(&Mutation) -> bool) -> u64 {
        let frame = self
            .hears(|frame| matches!(frame, ClientFrame::Mutate { mutation, .. } if fits(mutation)))
            .await;
        let ClientFrame::Mutate { number, .. } = frame else {
            unreachable!()
        };
        number.0
    }
}

#[tonic::async_trait]
impl Cotter for Service {
    type AttachStream = ReceiverStream<Result<v1::ServerBatch, Status>>;

    async fn attach(
        &self,
        request: Request<Streaming<v1::ClientBatch>>,
    ) -> Result<Reply<Self::AttachStream>, Status> {
        let mut stream = request.into_inner();
        let (sender, receiver) = mpsc::channel(64);
        let temper = Arc::clone(&self.temper);
        let heard = self.heard.lock().unwrap().clone();
        let mut push = self.push.subscribe();
        tokio::spawn(async move {
            loop {
                let frames = tokio::select! {
                    batch = stream.message() => {
                        let Ok(Some(batch)) = batch else { return };
                        let frames = batch.frames.into_iter();
                        frames.flat_map(|frame| {
                            let frame = ClientFrame::try_from(frame).unwrap();
                            // Decided before the test hears of it, and can change the temper.
                            let answer = temper.answer(frame.clone());
                            let _ = heard.send(frame);
                            answer
                        }).collect()
                    }
                    pushed = push.recv() => match pushed {
                        Ok(Some(frame)) => vec![frame],
                        Ok(None) | Err(_) => return,
                    },
                };
                let frames = frames.into_iter().map(v1::ServerFrame::from).collect();
                if sender.send(Ok(v1::ServerBatch { frames })).await.is_err() {
                    return;
                }
            }
        });
        Ok(Reply::new(ReceiverStream::new(receiver)))
    }
}

pub(super) const SESSION: SessionId = SessionId(7);

impl Temper {
    fn answer(&self, frame: ClientFrame) -> Option<ServerFrame> {
        if self.silent.load(Ordering::SeqCst) {
            return None;
        }
        let lease_ms = self.lease_ms.load(Ordering::SeqCst);
        Some(match frame {
            ClientFrame::Hello { .. } => ServerFrame::Welcome(Welcome {
                cell_id: CellId(1),
                cell: "test".to_owned(),
                replica: ReplicaId(1),
                is_master: self.is_master.load(Ordering::SeqCst),
                epoch: Epoch(1),
                master: None,
                addresses: Vec::new(),
            }),
            ClientFrame::Open(open) if self.refuses.load(Ordering::SeqCst) => {
                ServerFrame::OpenRefused {
                    nonce: open.nonce,
                    answer: Answer::Refused(Refusal::Invalid {
                        what: "lease".to_owned(),
                    }),
                }
            }
            ClientFrame::Open(open) => ServerFrame::Opened {
                nonce: open.nonce,
                session: SESSION,
                lease_ms,
            },
            ClientFrame::Attach { session, .. } => ServerFrame::Attached { session, lease_ms },
            ClientFrame::KeepAlive { number } => ServerFrame::KeepAlive { number },
            ClientFrame::Mutate {
                session,
                number,
                mutation,
                ..
            } => {
                if self.stuck.load(Ordering::SeqCst) {
                    return None;
                }
                let response = match mutation {
                    Mutation::Acquire(_) if !self.grants.load(Ordering::SeqCst) => return None,
                    Mutation::Acquire(acquire) => Response::Acquired {
                        sequencer: Sequencer {
                            path: acquire.path.with_cell("test"),
                            mode: LockMode::Exclusive,
                            token: FencingToken(1_000 + number.0),
                            instance: Instance(1),
                            lock_generation: 1,
                        },
                        waited_ms: 5,
                    },
                    Mutation::CreateSequential(create) => Response::CreatedAt {
                        path: create.path.numbered(number.0).unwrap(),
                        stat: Box::new(stat(create.lifetime)),
                    },
                    Mutation::Transaction(transaction) => Response::Applied {
                        results: transaction
                            .operations
                            .iter()
                            .map(|_| NodeResult::Deleted { nodes: 1 })
                            .collect(),
                    },
                    _ => Response::Done,
                };
                ServerFrame::Answer {
                    session,
                    number,
                    answer: Answer::Done(response),
                }
            }
            ClientFrame::Query { id, query } => ServerFrame::QueryAnswer {
                id,
                answer: Ok(match query {
                    Query::Status => QueryResponse::Status(Box::new(self.status())),
                    _ => QueryResponse::Sequencer { current: true },
                }),
            },
        })
    }

    fn status(&self) -> CellStatus {
        let is_master = self.is_master.load(Ordering::SeqCst);
        CellStatus {
            cell: "test".to_owned(),
            cell_id: CellId(1),
            replica: ReplicaId(1),
            role: if is_master {
                Role::Master
            } else {
                Role::Follower
            },
            master: None,
            epoch: Epoch(1),
            revision: Revision(0),
            applied: 0,
            decided: 0,
            digest: String::new(),
            master_lease_left_ms: None,
            nodes: 1,
            sessions: 0,
            locks_held: 0,
            waiters: 0,
            content_bytes: 0,
            members: Vec::new(),
            version: String::new(),
            feature_level: 1,
            uptime_ms: 0,
        }
    }
}

fn stat(lifetime: Lifetime) -> NodeStat {
    NodeStat {
        instance: Instance(2),
        lifetime,
        content_generation: 1,
        lock_generation: 0,
        acl_generation: 1,
        child_generation: 0,
        content_bytes: 0,
        content_checksum: 0,
        children: 0,
        sequence: 0,
        creator: String::new(),
    }
}

pub(super) fn conflict(number: u64, waiters: u64) -> ServerFrame {
    ServerFrame::Notice {
        session: SESSION,
        notice: Notice::Conflict {
            path: cotter_types::Path::parse("/ls/local/lock").unwrap(),
            number: cotter_types::RequestNumber(number),
            waiters,
            first: "other".to_owned(),
        },
    }
}
