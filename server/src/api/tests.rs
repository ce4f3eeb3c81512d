//! Streams over a real loopback connection, with a fake owner in place of the replica.

mod hostile;

use super::door::{Inbox, door};
use super::serve::{Readiness, serve_for_test};
use super::streams::{OUTGOING_BYTES_MAX, StreamTable};
use cotter_proto::v1::cotter_client::CotterClient;
use cotter_proto::v1::{self, ClientBatch, ServerBatch};
use cotter_replica::{Input, StreamId};
use cotter_types::limits::{CONTENTS_BYTES_MAX, FRAME_BYTES_MAX};
use cotter_types::{
    Acknowledged, Answer, ClientFrame, Contents, Instance, Lifetime, Mutation, NodeStat, Nonce,
    OpenSession, Path, Query, QueryResponse, Refusal, RequestNumber, Revision, ServerFrame,
    SessionId, SessionMetadata, Set,
};
use std::future::Future;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

/// A query of this limit makes the fake owner close the stream.
const CLOSE: u32 = 999;
/// A query of this limit makes the fake owner flood the stream until it overflows.
const FLOOD: u32 = 998;

/// How long anything may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(20);

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap()
}

/// Answers each query with its own id, each keepalive with its own number, and reports every input.
fn own(inbox: &Inbox, mut streams: StreamTable, seen: &mpsc::UnboundedSender<Input>) {
    while let Ok(arrival) = inbox.wait(PATIENCE) {
        let Some(input) = arrival.and_then(|arrival| streams.admit(arrival)) else {
            continue;
        };
        if let Input::Frame { stream, frame } = &input {
            reply(&mut streams, *stream, frame);
        }
        let _ = seen.send(input);
    }
}

fn reply(streams: &mut StreamTable, stream: StreamId, frame: &ClientFrame) {
    match frame {
        ClientFrame::KeepAlive { number } => {
            streams.deliver(stream, ServerFrame::KeepAlive { number: *number });
        }
        ClientFrame::Query {
            query: Query::Sessions { limit: CLOSE, .. },
            ..
        } => streams.close(stream),
        ClientFrame::Query {
            id,
            query: Query::Sessions { limit: FLOOD, .. },
        } => {
            // More than the queue and what HTTP/2 takes ahead of the client together.
            for _ in 0..2 * OUTGOING_BYTES_MAX / CONTENTS_BYTES_MAX {
                streams.deliver(stream, large_answer(*id));
            }
        }
        ClientFrame::Query { id, .. } => streams.deliver(stream, answer(*id)),
        _ => {}
    }
}

fn answer(id: u64) -> ServerFrame {
    ServerFrame::QueryAnswer {
        id,
        answer: Ok(QueryResponse::Sequencer { current: true }),
    }
}

fn large_answer(id: u64) -> ServerFrame {
    let stat = NodeStat {
        instance: Instance(1),
        lifetime: Lifetime::Permanent,
        content_generation: 1,
        lock_generation: 0,
        acl_generation: 1,
        child_generation: 0,
        content_bytes: CONTENTS_BYTES_MAX as u64,
        content_checksum: 0,
        children: 0,
        sequence: 0,
        creator: String::new(),
    };
    ServerFrame::QueryAnswer {
        id,
        answer: Ok(QueryResponse::Node {
            contents: Contents::from(vec![7; CONTENTS_BYTES_MAX]),
            stat,
            revision: Revision(1),
        }),
    }
}

/// A running API and what its owner has seen.
struct Api {
    address: String,
    seen: mpsc::UnboundedReceiver<Input>,
    readiness: Readiness,
}

impl Api {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (door, inbox, streams) = door();
        let (sender, seen) = mpsc::unbounded_channel();
        std::thread::spawn(move || own(&inbox, streams, &sender));
        let readiness = Readiness::new();
        let ready = readiness.clone();
        tokio::spawn(serve_for_test(listener, door, ready));
        Self {
            address,
            seen,
            readiness,
        }
    }

    async fn connect(&self) -> Channel {
        let endpoint = Channel::from_shared(self.address.clone()).unwrap();
        in_time(endpoint.connect()).await.unwrap()
    }

    /// Opens a stream without a word.
    async fn open(&self) -> Client {
        let mut client =
            CotterClient::new(self.connect().await).max_decoding_message_size(FRAME_BYTES_MAX);
        let (frames, outgoing) = mpsc::channel(4);
        let attached = in_time(client.attach(ReceiverStream::new(outgoing))).await;
        Client {
            frames,
            replies: attached.unwrap().into_inner(),
            ready: Vec::new().into_iter(),
        }
    }

    /// Opens a stream and says hello.
    async fn greeted(&self) -> Client {
        let client = self.open().await;
        client.send(vec![hello(1)]).await;
        client
    }

    async fn next_input(&mut self) -> Input {
        in_time(self.seen.recv()).await.unwrap()
    }
}

/// The client's end of a stream.
struct Client {
    frames: mpsc::Sender<ClientBatch>,
    replies: Streaming<ServerBatch>,
    ready: std::vec::IntoIter<v1::ServerFrame>,
}

impl Client {
    async fn send(&self, frames: Vec<ClientFrame>) {
        let frames = frames.into_iter().map(Into::into).collect();
        self.send_raw(ClientBatch { frames }).await;
    }

    async fn send_raw(&self, batch: ClientBatch) {
        in_time(self.frames.send(batch)).await.unwrap();
    }

    /// Returns the next frame; nothing at the end of the stream.
    async fn next(&mut self) -> Result<Option<ServerFrame>, Status> {
        loop {
            if let Some(frame) = self.ready.next() {
                return Ok(Some(frame.try_into().unwrap()));
            }
            match in_time(self.replies.message()).await? {
                Some(batch) => self.ready = batch.frames.into_iter(),
                None => return Ok(None),
            }
        }
    }

    async fn reply(&mut self) -> ServerFrame {
        self.next().await.unwrap().unwrap()
    }

    /// Reads on until the stream ends with a status.
    async fn status(&mut self) -> Status {
        loop {
            match self.next().await {
                Ok(Some(_)) => {}
                Ok(None) => return Status::ok(""),
                Err(status) => return status,
            }
        }
    }
}

fn hello(version: u32) -> ClientFrame {
    ClientFrame::Hello {
        version,
        client: "test".to_owned(),
        cell: None,
    }
}

fn ask(id: u64, query: Query) -> ClientFrame {
    ClientFrame::Query { id, query }
}

fn sessions(id: u64, limit: u32) -> ClientFrame {
    let after = SessionId(0);
    ask(id, Query::Sessions { after, limit })
}

fn set(number: u64, path: &str, bytes: usize) -> ClientFrame {
    ClientFrame::Mutate {
        session: SessionId(1),
        number: RequestNumber(number),
        acknowledged: Acknowledged::default(),
        mutation: Mutation::Set(Set {
            path: Path::parse(path).unwrap(),
            contents: Contents::from(vec![1; bytes]),
            if_content_generation: None,
            if_instance: None,
        }),
    }
}

/// Checks that a stream works that has said hello.
async fn is_served(client: &mut Client) {
    client.send(vec![sessions(77, 1)]).await;
    assert_eq!(client.reply().await, answer(77));
}

#[tokio::test]
async fn stream_that_does_not_begin_with_hello_is_closed() {
    let api = Api::start().await;
    let mut client = api.open().await;
    client.send(vec![sessions(1, 1)]).await;
    let status = client.status().await;
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("hello"), "{status}");
}

#[tokio::test]
async fn hello_of_another_version_is_closed() {
    let api = Api::start().await;
    let mut client = api.open().await;
    client.send(vec![hello(2)]).await;
    let status = client.status().await;
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("version 1"), "{status}");
}

#[tokio::test]
async fn second_hello_ends_the_stream() {
    let api = Api::start().await;
    let mut client = api.greeted().await;
    client.send(vec![hello(1)]).await;
    assert_eq!(client.status().await.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn owner_hears_of_a_stream_in_order_from_opening_to_end() {
    let mut api = Api::start().await;
    let client = api.greeted().await;
    let Input::StreamOpened { stream, principal } = api.next_input().await else {
        panic!("not opened first");
    };
    assert_eq!(principal, "anonymous@127.0.0.1");
    let first = api.next_input().await;
    assert!(matches!(
        first,
        Input::Frame { stream: of, frame: ClientFrame::Hello { .. } } if of == stream
    ));
    drop(client);
    assert!(matches!(
        api.next_input().await,
        Input::StreamClosed { stream: of } if of == stream
    ));
}

#[tokio::test]
async fn frame_of_unknown_kind_ends_its_stream_and_no_other() {
    let api = Api::start().await;
    let mut other = api.greeted().await;
    let mut client = api.greeted().await;
    let frames = vec![v1::ClientFrame { frame: None }];
    client.send_raw(ClientBatch { frames }).await;
    let status = client.status().await;
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("ClientFrame.frame"), "{status}");
    is_served(&mut other).await;
}

#[tokio::test]
async fn message_beyond_the_limit_ends_its_stream_and_no_other() {
    let api = Api::start().await;
    let mut other = api.greeted().await;
    let mut client = api.greeted().await;
    let huge = (1..=20)
        .map(|number| set(number, "/ls/local/a", CONTENTS_BYTES_MAX))
        .collect();
    client.send(huge).await;
    let status = client.status().await;
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("too large"), "{status}");
    is_served(&mut other).await;
}

#[tokio::test]
async fn frames_keep_their_order_keepalives_included() {
    let api = Api::start().await;
    let mut client = api.greeted().await;
    let frames = |from: u64| {
        (from..from + 100)
            .map(|n| match n % 3 {
                0 => ClientFrame::KeepAlive { number: n },
                _ => sessions(n, 1),
            })
            .collect()
    };
    for from in (0..2_000).step_by(100) {
        client.send(frames(from)).await;
        for n in from..from + 100 {
            let expected = match n % 3 {
                0 => ServerFrame::KeepAlive { number: n },
                _ => answer(n),
            };
            assert_eq!(client.reply().await, expected);
        }
    }
}

#[tokio::test]
async fn slow_reader_is_ended_while_another_stream_goes_on() {
    let mut api = Api::start().await;
    let mut other = api.greeted().await;
    is_served(&mut other).await;
    let mut slow = api.greeted().await;
    slow.send(vec![sessions(1, FLOOD)]).await;
    // The replica hears of the end although the client has not read a byte.
    loop {
        if matches!(api.next_input().await, Input::StreamClosed { .. }) {
            break;
        }
    }
    is_served(&mut other).await;
    let status = slow.status().await;
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("too slowly"), "{status}");
}

#[tokio::test]
async fn stream_closed_by_the_owner_ends_after_what_was_delivered() {
    let api = Api::start().await;
    let mut client = api.greeted().await;
    client.send(vec![sessions(1, 1), sessions(2, CLOSE)]).await;
    assert_eq!(client.reply().await, answer(1));
    assert_eq!(client.next().await.unwrap(), None);
}

#[tokio::test]
async fn what_no_cell_would_do_is_refused_at_the_door() {
    let mut api = Api::start().await;
    let mut client = api.greeted().await;
    let other = Path::parse("/ls/elsewhere/a").unwrap();
    let open = OpenSession {
        nonce: Nonce(5),
        lease_ms: 1,
        metadata: SessionMetadata::default(),
    };
    client
        .send(vec![
            ask(1, Query::Get { path: other }),
            set(2, "/ls/elsewhere/a", 1),
            set(3, "/ls/main/a", CONTENTS_BYTES_MAX + 1),
            ClientFrame::Open(open),
            set(4, "/ls/main/a", CONTENTS_BYTES_MAX),
        ])
        .await;
    let refused = Answer::Refused(Refusal::OtherCell {
        path: "/ls/elsewhere/a".to_owned(),
        cell: "main".to_owned(),
    });
    let (id, session) = (1, SessionId(1));
    let answer = Err(refused.clone());
    assert_eq!(
        client.reply().await,
        ServerFrame::QueryAnswer { id, answer }
    );
    let number = RequestNumber(2);
    let answer = refused;
    assert_eq!(
        client.reply().await,
        ServerFrame::Answer {
            session,
            number,
            answer
        }
    );
    assert!(matches!(
        client.reply().await,
        ServerFrame::Answer {
            number: RequestNumber(3),
            answer: Answer::Refused(Refusal::Limit { .. }),
            ..
        }
    ));
    assert!(matches!(
        client.reply().await,
        ServerFrame::OpenRefused {
            nonce: Nonce(5),
            answer: Answer::Refused(Refusal::Invalid { .. }),
        }
    ));
    // Only the last one got through, with its path made local.
    let frames = [
        api.next_input().await,
        api.next_input().await,
        api.next_input().await,
    ];
    let Input::Frame { frame, .. } = &frames[2] else {
        panic!("no frame: {frames:?}");
    };
    assert_eq!(*frame, set(4, "/ls/local/a", CONTENTS_BYTES_MAX));
}

#[tokio::test]
async fn health_follows_readiness() {
    let api = Api::start().await;
    let mut health = HealthClient::new(api.connect().await);
    for service in ["", "cotter.v1.Cotter"] {
        api.readiness.set(false);
        let service = service.to_owned();
        let watch = health.watch(HealthCheckRequest { service });
        let mut watch = in_time(watch).await.unwrap().into_inner();
        let mut before = vec![];
        // The first states may be older than the last setting.
        for knows_master in [false, true, false] {
            api.readiness.set(knows_master);
            let wanted = if knows_master { 1 } else { 2 };
            loop {
                let status = in_time(watch.message()).await.unwrap().unwrap().status;
                before.push(status);
                if status == wanted {
                    break;
                }
            }
        }
        assert!(before.ends_with(&[2, 1, 2]), "{before:?}");
    }
}
