//! The unary services over a real loopback connection, with a fake owner in place of the replica.

use crate::api::door::door;
use crate::api::serve::{Readiness, serve_for_test};
use cotter_proto::status::{No, Unknown, reason};
use cotter_proto::v1;
use cotter_proto::v1::cell_client::CellClient;
use cotter_proto::v1::locks_client::LocksClient;
use cotter_proto::v1::nodes_client::NodesClient;
use cotter_replica::Input;
use cotter_types::limits::CONTENTS_BYTES_MAX;
use cotter_types::{
    Call, CallAnswer, CallResponse, FencingToken, Instance, LockId, LockMode, NodeChange, Path,
    Query, QueryResponse, Refusal, ReplicaId, RequestId, Sequencer, SessionId, Unavailable, Wait,
};
use std::future::Future;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

const PATIENCE: Duration = Duration::from_secs(20);
/// A deadline that is long enough for a busy machine to answer before it.
const DEADLINE: Duration = Duration::from_secs(2);
const ID: &str = "0123456789abcdef0123456789abcdef";
const LOCK: &str = "l7-0123456789abcdef0123456789abcdef";
const SEQUENCER: &str = "1:x:42:3:5:/ls/main/a";

/// What the fake owner does with every call.
#[derive(Clone)]
enum Does {
    Answers(CallAnswer),
    Nothing,
    Dies,
}

struct Api {
    channel: Channel,
    seen: mpsc::UnboundedReceiver<(String, Call)>,
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap()
}

impl Api {
    async fn start(does: Does) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (door, inbox, mut streams) = door();
        let (sender, seen) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            while let Ok(arrival) = inbox.wait(PATIENCE) {
                let input = arrival.and_then(|arrival| streams.admit(arrival));
                let Some(Input::Call {
                    call,
                    principal,
                    request,
                }) = input
                else {
                    continue;
                };
                let _ = sender.send((principal, request));
                match &does {
                    Does::Answers(answer) => streams.answer(call, answer.clone()),
                    Does::Nothing => {}
                    Does::Dies => return,
                }
            }
        });
        tokio::spawn(serve_for_test(listener, door, Readiness::new()));
        let endpoint = Channel::from_shared(address).unwrap();
        let channel = in_time(endpoint.connect()).await.unwrap();
        Self { channel, seen }
    }

    async fn answering(answer: CallAnswer) -> Self {
        Self::start(Does::Answers(answer)).await
    }

    async fn done(response: CallResponse) -> Self {
        Self::answering(CallAnswer::Done(response)).await
    }

    fn locks(&self) -> LocksClient<Channel> {
        LocksClient::new(self.channel.clone())
    }

    fn nodes(&self) -> NodesClient<Channel> {
        NodesClient::new(self.channel.clone())
    }

    async fn next(&mut self) -> (String, Call) {
        in_time(self.seen.recv()).await.unwrap()
    }

    /// Sets contents, and returns with which status that fails.
    async fn set(&self, request: impl tonic::IntoRequest<v1::SetRequest>) -> Status {
        in_time(self.nodes().set(request)).await.unwrap_err()
    }
}

fn path(text: &str) -> Path {
    Path::parse(text).unwrap()
}

fn lock() -> LockId {
    LOCK.parse().unwrap()
}

fn sequencer() -> Sequencer {
    Sequencer {
        path: path("/ls/main/a"),
        mode: LockMode::Exclusive,
        token: FencingToken(42),
        instance: Instance(3),
        lock_generation: 5,
    }
}

fn acquire() -> v1::AcquireRequest {
    v1::AcquireRequest {
        path: "/ls/main/a".to_owned(),
        request_id: ID.to_owned(),
        ..v1::AcquireRequest::default()
    }
}

fn set(request_id: Option<&str>) -> v1::SetRequest {
    v1::SetRequest {
        path: "/ls/local/a".to_owned(),
        request_id: request_id.map(str::to_owned),
        ..v1::SetRequest::default()
    }
}

fn within<M>(deadline: Duration, message: M) -> Request<M> {
    let mut request = Request::new(message);
    request.set_timeout(deadline);
    request
}

fn queued() -> CallResponse {
    CallResponse::Queued {
        lock: lock(),
        place: 2,
        waiters: 3,
        lease_ms: 9_000,
    }
}

fn push_back(status: &Status) -> Option<&str> {
    let value = status.metadata().get("grpc-retry-pushback-ms")?;
    Some(value.to_str().unwrap())
}

#[tokio::test]
async fn acquire_has_a_lease_of_its_own_and_is_told_what_is_safe_of_it() {
    let mut api = Api::done(CallResponse::Acquired {
        lock: lock(),
        sequencer: sequencer(),
        waited_ms: 4,
        lease_ms: 10_000,
    })
    .await;
    let answer = in_time(api.locks().acquire(acquire())).await.unwrap();
    let acquired = v1::acquire_response::Acquired {
        lock_id: LOCK.to_owned(),
        sequencer: SEQUENCER.to_owned(),
        token: 42,
        waited_ms: 4,
        lease_ms: 10_000,
        safe_ms: 9_900,
    };
    assert_eq!(
        answer.into_inner().result,
        Some(v1::acquire_response::Result::Acquired(acquired))
    );
    let (principal, call) = api.next().await;
    assert_eq!(principal, "anonymous@127.0.0.1");
    let Call::Acquire {
        request,
        acquire,
        answer_within_ms,
    } = call
    else {
        panic!("{call:?}");
    };
    assert_eq!(request.to_string(), ID);
    // What is left out has the meaning that the messages document, and the path is made local.
    assert_eq!(acquire.path, path("/ls/local/a"));
    assert_eq!(acquire.mode, LockMode::Exclusive);
    assert_eq!(acquire.wait, Wait::Forever);
    assert_eq!((acquire.lease_ms, acquire.create), (0, None));
    assert_eq!(answer_within_ms, 0);
    let holder = acquire.holder;
    assert_eq!((&*holder.name, &*holder.host), ("unnamed", "127.0.0.1"));
}

#[tokio::test]
async fn waiting_acquire_must_be_answered_before_the_deadline_of_its_caller() {
    let mut api = Api::done(queued()).await;
    let mut request = acquire();
    request.wait_ms = Some(0);
    let answer = in_time(api.locks().acquire(within(DEADLINE, request)))
        .await
        .unwrap();
    let Some(v1::acquire_response::Result::Queued(queued)) = answer.into_inner().result else {
        panic!("not queued");
    };
    assert_eq!((queued.place, queued.waiters), (2, 3));
    assert_eq!((queued.lease_ms, queued.safe_ms), (9_000, 8_910));
    let (_, call) = api.next().await;
    let Call::Acquire {
        acquire,
        answer_within_ms,
        ..
    } = call
    else {
        panic!("{call:?}");
    };
    assert_eq!(acquire.wait, Wait::No);
    // Two margins of a twentieth are kept.
    assert!(
        (1..=1_800).contains(&answer_within_ms),
        "{answer_within_ms}"
    );
}

#[tokio::test]
async fn deadline_that_passes_says_whether_the_call_may_be_made_again() {
    let api = Api::start(Does::Nothing).await;
    for (request_id, repeatable, pushed_back) in [(Some(ID), true, "100"), (None, false, "-1")] {
        let status = api.set(within(DEADLINE, set(request_id))).await;
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
        let late = true;
        let unknown = No::Unknown(Unknown { repeatable, late });
        assert_eq!(reason(&status), Some(unknown));
        assert_eq!(push_back(&status), Some(pushed_back));
    }
}

#[tokio::test]
async fn deadline_that_has_passed_already_makes_no_call() {
    let mut api = Api::done(CallResponse::Found(QueryResponse::Sequencer {
        current: true,
    }))
    .await;
    let mut request = Request::new(acquire());
    // By hand: a client of tonic would not even send it.
    request
        .metadata_mut()
        .insert("grpc-timeout", "0n".parse().unwrap());
    assert!(in_time(api.locks().acquire(request)).await.is_err());
    let check = v1::CheckSequencerRequest {
        sequencer: SEQUENCER.to_owned(),
    };
    in_time(api.locks().check_sequencer(check)).await.unwrap();
    let (_, first) = api.next().await;
    assert!(matches!(
        first,
        Call::Query(Query::CheckSequencer { sequencer }) if sequencer.path == path("/ls/local/a")
    ));
}

#[tokio::test]
async fn lost_answer_invites_to_repeat_exactly_what_is_done_once() {
    for does in [Does::Answers(CallAnswer::Interrupted), Does::Dies] {
        let named = Api::start(does.clone()).await.set(set(Some(ID))).await;
        assert_eq!(named.code(), Code::Unavailable, "{named}");
        assert_eq!(push_back(&named), Some("100"));
        let nameless = Api::start(does.clone()).await.set(set(None)).await;
        assert_eq!(nameless.code(), Code::Unknown, "{nameless}");
        assert_eq!(push_back(&nameless), Some("-1"));
        let api = Api::start(does).await;
        let acquired = in_time(api.locks().acquire(acquire())).await;
        assert_eq!(acquired.unwrap_err().code(), Code::Unavailable);
    }
}

#[tokio::test]
async fn change_without_request_id_gets_one_that_nobody_else_has() {
    let mut api = Api::start(Does::Answers(CallAnswer::Interrupted)).await;
    let mut drawn = Vec::new();
    for _ in 0..2 {
        api.set(set(None)).await;
        let (_, call) = api.next().await;
        let Call::Change {
            request,
            repeatable: false,
            sequencer: None,
            change: NodeChange::Set(_),
        } = call
        else {
            panic!("{call:?}");
        };
        drawn.push(request);
    }
    assert_ne!(drawn[0], drawn[1]);
    assert_ne!(drawn[0], RequestId::default());
}

#[tokio::test]
async fn change_is_bound_to_its_sequencer() {
    let stale = Refusal::StaleSequencer {
        path: "/ls/main/a".to_owned(),
        token: 42,
    };
    let mut api = Api::answering(CallAnswer::Refused(stale.clone())).await;
    let mut request = set(Some(ID));
    request.sequencer = Some(SEQUENCER.to_owned());
    let status = api.set(request).await;
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(reason(&status), Some(No::Refused(stale)));
    assert_eq!(push_back(&status), None);
    let (_, call) = api.next().await;
    assert!(matches!(
        call,
        Call::Change {
            repeatable: true,
            sequencer: Some(Sequencer {
                token: FencingToken(42),
                ..
            }),
            ..
        }
    ));
}

#[tokio::test]
async fn replica_that_is_not_the_master_says_who_is() {
    let api = Api::answering(CallAnswer::Unavailable(Unavailable::NotMaster {
        master: Some(ReplicaId(3)),
        address: Some("10.0.0.3:7400".to_owned()),
    }))
    .await;
    let status = api.set(set(None)).await;
    assert_eq!(status.code(), Code::Unavailable);
    let master = status.metadata().get("cotter-master").unwrap();
    assert_eq!(master.to_str().unwrap(), "10.0.0.3:7400");
}

#[tokio::test]
async fn overload_says_when_to_come_back() {
    let retry_after_ms = 350;
    let overloaded = Unavailable::Overloaded { retry_after_ms };
    let api = Api::answering(CallAnswer::Unavailable(overloaded)).await;
    let status = api.set(set(None)).await;
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(push_back(&status), Some("350"));
}

#[tokio::test]
async fn lost_compare_and_set_is_aborted_with_what_is_there_now() {
    let changed = Refusal::Changed {
        path: "/ls/local/a".to_owned(),
        content_generation: 8,
        instance: 2,
    };
    let api = Api::answering(CallAnswer::Refused(changed.clone())).await;
    let status = api.set(set(Some(ID))).await;
    assert_eq!(status.code(), Code::Aborted);
    assert_eq!(reason(&status), Some(No::Refused(changed)));
}

#[tokio::test]
async fn bad_input_is_refused_by_the_name_of_its_field_and_reaches_nobody() {
    let mut api = Api::done(queued()).await;
    let bad_acquires = [
        ("request_id", acquire_with(|it| it.request_id.clear())),
        (
            "request_id",
            acquire_with(|it| it.request_id = "0".repeat(32)),
        ),
        (
            "request_id",
            acquire_with(|it| it.request_id = ID.to_uppercase()),
        ),
        ("request_id", acquire_with(|it| it.request_id.push('0'))),
        ("path", acquire_with(|it| it.path = "a".to_owned())),
        ("path", acquire_with(|it| it.path.clear())),
        ("mode", acquire_with(|it| it.mode = 9)),
        ("create", acquire_with(|it| it.create = 9)),
        ("create", acquire_with(|it| it.create_ttl_ms = 5_000)),
    ];
    for (field, request) in bad_acquires {
        refused_for(in_time(api.locks().acquire(request)).await, field);
    }
    let lock_id = "l7".to_owned();
    let release = v1::ReleaseRequest { lock_id };
    refused_for(in_time(api.locks().release(release)).await, "lock_id");
    let lock_id = format!("l07-{ID}");
    let renew = v1::RenewRequest {
        lock_id,
        extension_ms: 0,
    };
    refused_for(in_time(api.locks().renew(renew)).await, "lock_id");
    refused_for(in_time(api.nodes().set(set(Some("")))).await, "request_id");
    let mut bound = set(None);
    bound.sequencer = Some("2:x:1".to_owned());
    refused_for(in_time(api.nodes().set(bound)).await, "sequencer");
    let empty = v1::TransactionRequest {
        operations: vec![v1::NodeOperation { operation: None }],
        ..v1::TransactionRequest::default()
    };
    refused_for(in_time(api.nodes().transaction(empty)).await, "operation");
    // The first that reaches the owner is a good one.
    in_time(api.locks().acquire(acquire())).await.unwrap();
    assert!(matches!(api.next().await.1, Call::Acquire { .. }));
}

fn acquire_with(change: impl Fn(&mut v1::AcquireRequest)) -> v1::AcquireRequest {
    let mut request = acquire();
    change(&mut request);
    request
}

#[track_caller]
fn refused_for<T: std::fmt::Debug>(answer: Result<T, Status>, field: &str) {
    let status = answer.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert!(status.message().contains(field), "{field}: {status}");
}

#[tokio::test]
async fn what_is_too_large_is_refused_at_the_door() {
    let mut api = Api::done(queued()).await;
    let mut request = set(Some(ID));
    request.contents = vec![0; CONTENTS_BYTES_MAX + 1].into();
    let status = api.set(request.clone()).await;
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(push_back(&status), None);
    assert!(status.message().contains("at most 262144"), "{status}");
    request.contents = vec![0; 8 * CONTENTS_BYTES_MAX].into();
    let status = api.set(request).await;
    assert_eq!(status.code(), Code::OutOfRange);
    assert!(status.message().contains("too large"), "{status}");
    let long = acquire_with(|it| it.path = "a".repeat(100_000));
    let status = in_time(api.locks().acquire(long)).await.unwrap_err();
    assert!(status.message().contains("too large"), "{status}");
    in_time(api.locks().acquire(acquire())).await.unwrap();
    assert!(matches!(api.next().await.1, Call::Acquire { .. }));
}

#[tokio::test]
async fn path_of_another_cell_is_refused() {
    let api = Api::done(queued()).await;
    let elsewhere = acquire_with(|it| it.path = "/ls/elsewhere/a".to_owned());
    let status = in_time(api.locks().acquire(elsewhere)).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(matches!(
        reason(&status),
        Some(No::Refused(Refusal::OtherCell { cell, .. })) if cell == "main"
    ));
}

#[tokio::test]
async fn every_service_has_its_health_and_is_described_by_both_reflections() {
    use tonic_reflection::pb::{v1 as reflection, v1alpha as alpha};
    let api = Api::start(Does::Nothing).await;
    let mut health = tonic_health::pb::health_client::HealthClient::new(api.channel.clone());
    for service in ["Cotter", "Locks", "Nodes", "Cell"] {
        let name = format!("cotter.v1.{service}");
        let check = tonic_health::pb::HealthCheckRequest {
            service: name.clone(),
        };
        in_time(health.check(check)).await.unwrap();

        let mut client =
            reflection::server_reflection_client::ServerReflectionClient::new(api.channel.clone());
        let request = reflection::ServerReflectionRequest {
            host: String::new(),
            message_request: Some(
                reflection::server_reflection_request::MessageRequest::FileContainingSymbol(
                    name.clone(),
                ),
            ),
        };
        let answers = in_time(client.server_reflection_info(tokio_stream::once(request))).await;
        let answer = in_time(answers.unwrap().into_inner().message()).await;
        assert!(matches!(
            answer.unwrap().unwrap().message_response,
            Some(
                reflection::server_reflection_response::MessageResponse::FileDescriptorResponse(_)
            )
        ));

        let mut client =
            alpha::server_reflection_client::ServerReflectionClient::new(api.channel.clone());
        let request = alpha::ServerReflectionRequest {
            host: String::new(),
            message_request: Some(
                alpha::server_reflection_request::MessageRequest::FileContainingSymbol(name),
            ),
        };
        let answers = in_time(client.server_reflection_info(tokio_stream::once(request))).await;
        let answer = in_time(answers.unwrap().into_inner().message()).await;
        assert!(matches!(
            answer.unwrap().unwrap().message_response,
            Some(alpha::server_reflection_response::MessageResponse::FileDescriptorResponse(_))
        ));
    }
}

#[tokio::test]
async fn page_of_sessions_is_handed_through() {
    let rows = Vec::new();
    let more = true;
    let found = CallResponse::Found(QueryResponse::Sessions { rows, more });
    let mut api = Api::done(found).await;
    let mut client = CellClient::new(api.channel.clone());
    let request = v1::ListSessionsRequest {
        after: 9,
        limit: 10,
    };
    let answer = in_time(client.list_sessions(request)).await.unwrap();
    assert!(answer.into_inner().more);
    let (after, limit) = (SessionId(9), 10);
    let asked = Call::Query(Query::Sessions { after, limit });
    assert_eq!(api.next().await.1, asked);
}
