//! HTTP/JSON: the door for whoever has `curl` and nothing else.
//!
//! A request is read and checked whole before anything is asked of the cell (`asked`), becomes a call
//! (`locks`, `nodes`, `cell`), and its answer becomes JSON (`views`) or a problem (`problem`). What can
//! be asked is one closed list (`operation`), from which the routes are made and against which the
//! published description, `proto/openapi/cotter.v1.json`, is checked.
//!
//! **Nothing is overheard.** A field, parameter or header that begins with `cotter-` and is not known,
//! or has no meaning for the operation, is refused by its name: a condition that was misspelt must not
//! become no condition.
//!
//! **Statuses mean what to do next.** 4xx is decided, and nothing was changed; 429 and 503 say that
//! nothing was done and when or where to try again; 504 says that it is not known. See `problem`.
//!
//! **Bodies of POST are JSON and must say so.** A page in somebody's browser can send a form to a cell
//! on loopback, but not `application/json` without asking first, and it is not allowed.
//!
//! This module must never decide what the cell decides, and never hold more memory than
//! [`ROOM_KIB_MAX`] for the bodies of all requests together.

mod asked;
mod cell;
mod locks;
mod nodes;
mod operation;
mod problem;
#[cfg(test)]
mod tests;
mod views;

use super::edge::{Edge, count};
use asked::Asked;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, Method, Response, StatusCode, Uri};
use axum::routing::{MethodFilter, on};
use operation::Operation;
use problem::Problem;
use serde_json::Value;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{Semaphore, watch};

/// Most memory for the bodies of requests that are being answered, in KiB. Each request counts as
/// [`REQUEST_KIB_MIN`] at least, so this bounds their number too.
const ROOM_KIB_MAX: usize = 64 * 1_024;
/// What a request without a body takes of that, in KiB.
const REQUEST_KIB_MIN: u32 = 4;
/// Longest time for a body to arrive, in milliseconds.
const BODY_MS_MAX: u64 = 10_000;
/// How long an answer may take when the caller does not say, in milliseconds.
const ANSWER_MS_DEFAULT: u64 = 30_000;
/// How long a caller may let an answer take, in milliseconds: nobody between the two should give up
/// before.
const ANSWER_MS_MAX: u64 = 60_000;
/// When a caller that found no room may try again, in milliseconds.
const NO_ROOM_RETRY_MS: u64 = 1_000;

/// The description of all this, as it is published and served.
const OPENAPI: &str = include_str!("../../../../proto/openapi/cotter.v1.json");

/// What answers a request.
#[derive(Clone, Debug)]
struct Http {
    edge: Edge,
    is_ready: watch::Receiver<bool>,
    room: Arc<Semaphore>,
}

/// Returns what serves HTTP/JSON. `is_ready` says whether clients should come.
pub(super) fn router(edge: Edge, is_ready: watch::Receiver<bool>) -> Router {
    let http = Http {
        edge,
        is_ready,
        room: Arc::new(Semaphore::new(ROOM_KIB_MAX)),
    };
    let mut router = Router::new();
    for operation in Operation::ALL {
        let http = http.clone();
        let handler = move |request: Request| serve(http, operation, request);
        router = router.route(operation.route(), on(filter(operation), handler));
    }
    router
        .method_not_allowed_fallback(|method: Method, uri: Uri| async move {
            written(Err(Problem::method(&method, uri.path())))
        })
        .fallback(|uri: Uri| async move { written(Err(Problem::no_such_resource(uri.path()))) })
}

fn filter(operation: Operation) -> MethodFilter {
    match operation.method() {
        operation::Verb::Get => MethodFilter::GET,
        operation::Verb::Put => MethodFilter::PUT,
        operation::Verb::Post => MethodFilter::POST,
        operation::Verb::Delete => MethodFilter::DELETE,
    }
}

async fn serve(http: Http, operation: Operation, request: Request) -> Response<Body> {
    let begun = Instant::now();
    let response = written(http.answer(operation, request).await);
    let status = response.status();
    count("http", operation.name(), status.as_str(), begun.elapsed());
    response
}

impl Http {
    async fn answer(&self, operation: Operation, request: Request) -> Result<Answer, Problem> {
        let asked = Asked::read(operation, &self.room, request).await?;
        let edge = &self.edge;
        match operation {
            Operation::Acquire => locks::acquire(edge, &asked).await,
            Operation::Renew => locks::renew(edge, &asked).await,
            Operation::Release => locks::release(edge, &asked).await,
            Operation::Explain => locks::explain(edge, &asked).await,
            Operation::Locks => locks::locks(edge, &asked).await,
            Operation::CheckSequencer => locks::check_sequencer(edge, &asked).await,
            Operation::GetNode => nodes::get(edge, &asked).await,
            Operation::PutNode => nodes::put(edge, &asked).await,
            Operation::DeleteNode => nodes::delete(edge, &asked).await,
            Operation::Transaction => nodes::transaction(edge, &asked).await,
            Operation::Cell => cell::status(edge, &asked).await,
            Operation::Sessions => cell::sessions(edge, &asked).await,
            Operation::Health => cell::health(*self.is_ready.borrow()),
            Operation::OpenApi => Ok(Answer {
                status: StatusCode::OK,
                headers: Vec::new(),
                body: Content::Text(OPENAPI),
            }),
        }
    }
}

/// What is answered when nothing is wrong.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    /// Fields beside those that every answer has.
    headers: Vec<(&'static str, String)>,
    body: Content,
}

/// What an answer carries.
#[derive(Debug)]
enum Content {
    Json(Value),
    /// JSON that is written already.
    Text(&'static str),
    /// A node's contents as they are.
    Bytes(cotter_types::Contents),
    Nothing,
}

impl Answer {
    fn json(status: StatusCode, value: Value) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Content::Json(value),
        }
    }

    fn ok(value: Value) -> Self {
        Self::json(StatusCode::OK, value)
    }
}

/// Makes the response of an answer or a problem.
fn written(answer: Result<Answer, Problem>) -> Response<Body> {
    let answer = answer.unwrap_or_else(Answer::from);
    let (kind, body) = match answer.body {
        Content::Json(value) => {
            // The newline is for people at a terminal.
            (Some("application/json"), Body::from(format!("{value}\n")))
        }
        Content::Text(text) => (Some("application/json"), Body::from(text)),
        Content::Bytes(contents) => (
            Some("application/octet-stream"),
            Body::from(contents.as_bytes().to_vec()),
        ),
        Content::Nothing => (None, Body::empty()),
    };
    let mut response = Response::new(body);
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(kind) = kind {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    for (name, value) in answer.headers {
        // All of them are digits, quotes and addresses; one that were not would only be left out.
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    response
}
