//! Locks: the simple interface, and what can be seen of them.
//!
//! The lease in an answer is counted by the caller, on its own monotonic clock, from *before* it sent
//! the request; `safe_ms` is what is left of it once the clocks' drift is taken off, and what a caller
//! should go by.

use super::Answer;
use super::asked::{Asked, path};
use super::problem::Problem;
use super::views::{explanation, lock};
use crate::api::edge::{self, Edge, safe_ms};
use axum::http::StatusCode;
use cotter_types::{
    Call, CallResponse, LeasedAcquire, Lifetime, LockId, LockMode, Path, Query, QueryResponse,
    Sequencer, SessionMetadata, Wait,
};
use serde::Deserialize;
use serde::de::{Deserializer, Error, Unexpected, Visitor};
use serde_json::{Value, json};
use std::fmt;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AcquireBody {
    path: String,
    request_id: String,
    #[serde(default)]
    mode: Mode,
    #[serde(default)]
    wait_ms: WaitMs,
    #[serde(default)]
    lease_ms: u64,
    #[serde(default)]
    lock_delay_ms: u64,
    create: Option<Creation>,
    #[serde(default)]
    holder: Holder,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mode {
    #[default]
    Exclusive,
    Shared,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Creation {
    Permanent,
    Ephemeral,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Holder {
    name: String,
    host: String,
    pid: u32,
    program: String,
}

/// How long to wait: a number, or `"forever"`.
#[derive(Debug)]
struct WaitMs(Wait);

impl Default for WaitMs {
    fn default() -> Self {
        Self(Wait::No)
    }
}

impl<'de> Deserialize<'de> for WaitMs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = WaitMs;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of milliseconds, or \"forever\"")
            }
            fn visit_u64<E: Error>(self, ms: u64) -> Result<WaitMs, E> {
                Ok(WaitMs(match ms {
                    0 => Wait::No,
                    ms => Wait::Ms(ms),
                }))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<WaitMs, E> {
                match text {
                    "forever" => Ok(WaitMs(Wait::Forever)),
                    other => Err(E::invalid_value(Unexpected::Str(other), &self)),
                }
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RenewBody {
    lock_id: String,
    #[serde(default)]
    extension_ms: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReleaseBody {
    lock_id: String,
}

/// Acquires a lock, or says that the call waits for it.
pub(super) async fn acquire(edge: &Edge, asked: &Asked) -> Result<Answer, Problem> {
    let body: AcquireBody = asked.json()?;
    let request = edge::request_id(&body.request_id, "request_id")?;
    let acquire = LeasedAcquire {
        path: path("path", &body.path)?,
        mode: match body.mode {
            Mode::Exclusive => LockMode::Exclusive,
            Mode::Shared => LockMode::Shared,
        },
        wait: body.wait_ms.0,
        lease_ms: body.lease_ms,
        lock_delay_ms: body.lock_delay_ms,
        create: body.create.map(|creation| match creation {
            Creation::Permanent => Lifetime::Permanent,
            Creation::Ephemeral => Lifetime::Ephemeral,
        }),
        holder: SessionMetadata {
            name: body.holder.name,
            host: body.holder.host,
            pid: body.holder.pid,
            program: body.holder.program,
        },
    };
    let call = Call::Acquire {
        request,
        acquire,
        answer_within_ms: 0,
    };
    match called(edge, asked, call).await? {
        CallResponse::Acquired {
            lock,
            sequencer,
            waited_ms,
            lease_ms,
        } => {
            let mut held = held(lock, &sequencer, lease_ms);
            held["waited_ms"] = waited_ms.into();
            Ok(Answer::ok(held))
        }
        CallResponse::Queued {
            lock,
            place,
            waiters,
            lease_ms,
        } => Ok(Answer::json(
            StatusCode::ACCEPTED,
            json!({
                "queued": true,
                "lock_id": lock.to_string(),
                // Beyond a bound it is not counted.
                "place": (place > 0).then_some(place),
                "waiters": waiters,
                "lease_ms": lease_ms,
                "safe_ms": safe_ms(lease_ms),
            }),
        )),
        other => Err(unexpected(&other)),
    }
}

/// Extends a lock's lease.
pub(super) async fn renew(edge: &Edge, asked: &Asked) -> Result<Answer, Problem> {
    let body: RenewBody = asked.json()?;
    let lock = lock_id(&body.lock_id)?;
    let call = Call::Renew {
        lock,
        extension_ms: body.extension_ms,
    };
    match called(edge, asked, call).await? {
        CallResponse::Renewed {
            sequencer,
            lease_ms,
            waiters,
        } => {
            let mut held = held(lock, &sequencer, lease_ms);
            held["waiters"] = waiters.into();
            Ok(Answer::ok(held))
        }
        other => Err(unexpected(&other)),
    }
}

/// Releases a lock, or leaves its queue.
pub(super) async fn release(edge: &Edge, asked: &Asked) -> Result<Answer, Problem> {
    let body: ReleaseBody = asked.json()?;
    let lock = lock_id(&body.lock_id)?;
    match called(edge, asked, Call::Release { lock }).await? {
        CallResponse::Released => Ok(Answer::ok(json!({ "released": true }))),
        other => Err(unexpected(&other)),
    }
}

/// Tells who holds a lock, who waits, and why.
pub(super) async fn explain(edge: &Edge, asked: &Asked) -> Result<Answer, Problem> {
    let path = path("path", asked.needed("path")?)?;
    match found(edge, asked, Query::Explain { path }).await? {
        QueryResponse::Explain(explained) => Ok(Answer::ok(explanation(&explained))),
        other => Err(unexpected(&other)),
    }
}

/// Lists the locks that are held, waited for or delayed.
pub(super) async fn locks(edge: &Edge, asked: &Asked) -> Result<Answer, Problem> {
    let parameter = |name: &str| {
        asked
            .parameter(name)
            .map(|text| path(name, text))
            .transpose()
    };
    let query = Query::Locks {
        within: parameter("within")?.unwrap_or_else(Path::root),
        after: parameter("after")?,
        limit: asked.page()?,
    };
    match found(edge, asked, query).await? {
        QueryResponse::Locks { rows, more } => {
            let next = rows.last().filter(|_| more).map(|row| row.path.to_string());
            let rows: Vec<Value> = rows.iter().map(lock).collect();
            Ok(Answer::ok(json!({ "locks": rows, "next": next })))
        }
        other => Err(unexpected(&other)),
    }
}

/// Tells whether a sequencer is current.
pub(super) async fn check_sequencer(edge: &Edge, asked: &Asked) -> Result<Answer, Problem> {
    let sequencer = edge::sequencer(asked.needed("sequencer")?, "sequencer")?;
    let (path, token) = (sequencer.path.to_string(), sequencer.token.0);
    match found(edge, asked, Query::CheckSequencer { sequencer }).await? {
        QueryResponse::Sequencer { current: true } => Ok(Answer::ok(
            json!({ "current": true, "path": path, "token": token }),
        )),
        QueryResponse::Sequencer { current: false } => {
            let mut problem = Problem::from(cotter_proto::status::No::Refused(
                cotter_types::Refusal::StaleSequencer { path, token },
            ));
            // Nothing was going to be changed.
            problem.message = format!("the sequencer is stale: token {token} has lost its lock");
            Err(problem)
        }
        other => Err(unexpected(&other)),
    }
}

/// Returns what is said of a lock that is held.
fn held(lock: LockId, sequencer: &Sequencer, lease_ms: u64) -> Value {
    json!({
        "lock_id": lock.to_string(),
        "path": sequencer.path.to_string(),
        "mode": sequencer.mode.to_string(),
        "token": sequencer.token.0,
        "sequencer": sequencer.to_string(),
        "lease_ms": lease_ms,
        "safe_ms": safe_ms(lease_ms),
    })
}

fn lock_id(text: &str) -> Result<LockId, Problem> {
    let parsed = text.parse();
    parsed.map_err(|error| Problem::from(edge::invalid("lock_id", error)))
}

/// Makes a call.
pub(super) async fn called(
    edge: &Edge,
    asked: &Asked,
    call: Call,
) -> Result<CallResponse, Problem> {
    let answered = edge.call(asked.principal.clone(), call, asked.deadline);
    Ok(answered.await?)
}

/// Makes a query.
pub(super) async fn found(
    edge: &Edge,
    asked: &Asked,
    query: Query,
) -> Result<QueryResponse, Problem> {
    match called(edge, asked, Call::Query(query)).await? {
        CallResponse::Found(found) => Ok(found),
        other => Err(unexpected(&other)),
    }
}

/// Returns what is said when the replica answers another question than it was asked. It never does,
/// and if it did, nobody should believe the answer.
pub(super) fn unexpected(answer: &impl fmt::Debug) -> Problem {
    tracing::error!(?answer, "a call was answered with what it did not ask for");
    Problem::from(cotter_proto::status::No::Unknown(
        cotter_proto::status::Unknown {
            repeatable: false,
            late: false,
        },
    ))
}
