//! A request, read and checked whole.
//!
//! Everything that can be wrong with a request by itself is found here, before anybody is asked
//! anything: parameters and headers that are not known, given twice or out of place, a body that is
//! too large, too slow, of the wrong kind, or where none belongs.
//!
//! This module must never let a part of a request go unread that its sender may have meant.

use super::operation::{Expected, IF_MATCH, IF_NONE_MATCH, Operation, TIMEOUT_MS};
use super::problem::{Problem, quoted};
use super::{ANSWER_MS_DEFAULT, ANSWER_MS_MAX, BODY_MS_MAX, NO_ROOM_RETRY_MS, REQUEST_KIB_MIN};
use crate::api::edge;
use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE, EXPECT};
use cotter_proto::status::No;
use cotter_types::{Path, Unavailable};
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use tokio_stream::StreamExt;
use tonic::transport::server::TcpConnectInfo;

/// What begins the path of a node's resource.
const NODES: &str = "/v1/nodes";
/// How much more than its limit of a body is read and thrown away, in bytes, so that a client which
/// is still sending hears why it was refused.
const OVERFLOW_BYTES_MAX: usize = 1_024 * 1_024;
/// Headers that no operation knows and that a sender could mean something by.
const MEANINGLESS: [&str; 2] = ["if-modified-since", "if-unmodified-since"];

/// A request.
#[derive(Debug)]
pub(super) struct Asked {
    /// Who asks.
    pub(super) principal: String,
    /// When the answer must be there.
    pub(super) deadline: Option<Instant>,
    /// Its body.
    pub(super) body: Vec<u8>,
    /// The part of the URI before the question mark, as it came.
    resource: String,
    parameters: BTreeMap<String, String>,
    headers: HeaderMap,
    // The memory that it takes, given back with it.
    _room: OwnedSemaphorePermit,
}

impl Asked {
    /// Reads a request.
    pub(super) async fn read(
        operation: Operation,
        room: &Arc<Semaphore>,
        request: Request,
    ) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let peer = parts.extensions.get::<TcpConnectInfo>();
        let principal = edge::principal(peer.and_then(|peer| peer.remote_addr));
        check_headers(operation, &parts.headers)?;
        let query = parts.uri.query().unwrap_or_default();
        let parameters = parameters(query, operation.parameters())?;
        let patience = match one_header(&parts.headers, TIMEOUT_MS)? {
            Some(text) => match number(TIMEOUT_MS, text)? {
                ms @ 1..=ANSWER_MS_MAX => ms,
                _ => {
                    let problem = format!("{TIMEOUT_MS} must be 1 to {ANSWER_MS_MAX}");
                    return Err(Problem::invalid(problem));
                }
            },
            None => ANSWER_MS_DEFAULT,
        };
        check_media_type(operation, &parts.headers)?;
        let limit = match operation.body() {
            Expected::Nothing => 0,
            Expected::Json(limit) | Expected::Contents(limit) => limit,
        };
        let room = take_room(room, &body, limit)?;
        let waits_for_leave = parts.headers.contains_key(EXPECT);
        let read = read_body(body, limit, waits_for_leave);
        let body = timeout(Duration::from_millis(BODY_MS_MAX), read).await;
        let body = body.map_err(|_| Problem::slow_body(BODY_MS_MAX))??;
        Ok(Self {
            principal,
            // From here on: how long its own sending takes is known to the caller.
            deadline: Instant::now().checked_add(Duration::from_millis(patience)),
            body,
            resource: parts.uri.path().to_owned(),
            parameters,
            headers: parts.headers,
            _room: room,
        })
    }

    /// Reads the body as JSON.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        serde_json::from_slice(&self.body)
            .map_err(|error| Problem::invalid(format!("the body: {error}")))
    }

    /// Returns a parameter.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }

    /// Returns a parameter that must be there.
    pub(super) fn needed(&self, name: &str) -> Result<&str, Problem> {
        self.parameter(name)
            .ok_or_else(|| Problem::invalid(format!("the parameter {name} is missing")))
    }

    /// Tells whether a switch is on: `?name` or `?name=true`.
    pub(super) fn switch(&self, name: &str) -> Result<bool, Problem> {
        match self.parameter(name) {
            None | Some("false") => Ok(false),
            Some("" | "true") => Ok(true),
            Some(other) => {
                let other = quoted(other);
                let problem = format!("the parameter {name} is true or false, not {other}");
                Err(Problem::invalid(problem))
            }
        }
    }

    /// Returns a parameter that is a number; nothing if it is not there.
    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, Problem> {
        let text = self.parameter(name);
        text.map(|text| number(name, text)).transpose()
    }

    /// Returns how long a page may be: 0 for the default.
    pub(super) fn page(&self) -> Result<u32, Problem> {
        let limit = self.number("limit")?.unwrap_or_default();
        // Whatever is too large is refused by its number, further in.
        Ok(u32::try_from(limit).unwrap_or(u32::MAX))
    }

    /// Returns a header, which is given once at most.
    pub(super) fn header(&self, name: &str) -> Result<Option<&str>, Problem> {
        one_header(&self.headers, name)
    }

    /// Returns all values of a header that may be a list.
    pub(super) fn list(&self, name: &str) -> impl Iterator<Item = &str> {
        let values = self.headers.get_all(name).into_iter();
        values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(str::trim)
    }

    /// Returns the node that the resource is.
    pub(super) fn node(&self) -> Result<Path, Problem> {
        let raw = self.resource.strip_prefix(NODES).unwrap_or_default();
        path("the path after /v1/nodes", &decoded(raw, "the path")?)
    }
}

/// Reads a path of the tree, which `what` names.
pub(super) fn path(what: &str, text: &str) -> Result<Path, Problem> {
    Path::parse(text).map_err(|error| Problem::from(edge::invalid(what, error)))
}

/// Reads a number, written in digits.
fn number(name: &str, text: &str) -> Result<u64, Problem> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or_else(|| {
        let text = quoted(text);
        Problem::invalid(format!("{name} must be a whole number, not {text}"))
    })
}

/// Undoes percent-encoding.
fn decoded(text: &str, what: &str) -> Result<String, Problem> {
    let decoded = percent_decode_str(text).decode_utf8();
    let decoded = decoded.map_err(|_| {
        let text = quoted(text);
        Problem::invalid(format!("{what} {text} is not UTF-8 once decoded"))
    })?;
    Ok(decoded.into_owned())
}

/// Reads the part of the URI after the question mark, as forms are written: `+` is a space.
fn parameters(query: &str, known: &[&str]) -> Result<BTreeMap<String, String>, Problem> {
    let mut parameters = BTreeMap::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decoded(&name.replace('+', " "), "the parameter")?;
        let value = decoded(&value.replace('+', " "), "the value of a parameter")?;
        if !known.contains(&name.as_str()) {
            let known = match known {
                [] => "none are known here".to_owned(),
                known => format!("known here: {}", known.join(", ")),
            };
            let name = quoted(&name);
            let problem = format!("the parameter {name} is not known; {known}");
            return Err(Problem::invalid(problem));
        }
        if parameters.insert(name.clone(), value).is_some() {
            return Err(Problem::invalid(format!(
                "the parameter {name} is given twice"
            )));
        }
    }
    Ok(parameters)
}

/// Refuses headers that their sender may mean something by, and that would be ignored.
fn check_headers(operation: Operation, headers: &HeaderMap) -> Result<(), Problem> {
    let known = operation.headers();
    for name in headers.keys() {
        let name = name.as_str();
        let matters = name.starts_with("cotter-")
            || [IF_MATCH, IF_NONE_MATCH].contains(&name)
            || MEANINGLESS.contains(&name);
        if matters && !known.contains(&name) {
            let known = match known {
                [] => "it knows none".to_owned(),
                known => format!("it knows {}", known.join(", ")),
            };
            let (name, operation) = (quoted(name), operation.name());
            let problem = format!("the header {name} has no meaning for {operation}; {known}");
            return Err(Problem::invalid(problem));
        }
    }
    known
        .iter()
        .try_for_each(|name| one_header(headers, name).map(|_| ()))
}

/// Returns the value of a header that is given once at most.
fn one_header<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).into_iter();
    let first = values.next();
    if values.next().is_some() {
        let problem = format!("the header {name} is given more than once");
        return Err(Problem::invalid(problem));
    }
    let Some(value) = first else {
        return Ok(None);
    };
    // Paths in sequencers may be any UTF-8.
    let text = std::str::from_utf8(value.as_bytes())
        .map_err(|_| Problem::invalid(format!("the header {name} is not UTF-8")))?;
    Ok(Some(text))
}

/// Checks that the body says it is what is expected.
fn check_media_type(operation: Operation, headers: &HeaderMap) -> Result<(), Problem> {
    if operation.body() == Expected::Nothing {
        return Ok(());
    }
    let text = |name| -> Result<Option<String>, Problem> {
        let value = one_header(headers, name)?;
        Ok(value.map(|value| value.trim().to_ascii_lowercase()))
    };
    if let Some(encoding) = text(CONTENT_ENCODING.as_str())?
        && encoding != "identity"
    {
        let encoding = quoted(&encoding);
        let problem = format!("the body is encoded as {encoding}; send it as it is");
        return Err(Problem::media_type(problem));
    }
    if !matches!(operation.body(), Expected::Json(_)) {
        return Ok(());
    }
    let found = text(CONTENT_TYPE.as_str())?;
    let essence = found.as_deref().map(|found| {
        let (essence, _parameters) = found.split_once(';').unwrap_or((found, ""));
        essence.trim()
    });
    if essence == Some("application/json") {
        return Ok(());
    }
    let found = found.map_or("nothing".to_owned(), |found| quoted(&found));
    let problem = format!(
        "the content type is {found}; send application/json \
         (curl --json BODY, or -H 'content-type: application/json' -d BODY)"
    );
    Err(Problem::media_type(problem))
}

/// Takes the memory that a request needs.
fn take_room(
    room: &Arc<Semaphore>,
    body: &Body,
    limit: usize,
) -> Result<OwnedSemaphorePermit, Problem> {
    let most = body.size_hint().upper();
    let bytes = most.map_or(limit, |most| {
        usize::try_from(most).unwrap_or(limit).min(limit)
    });
    let kib = u32::try_from(bytes.div_ceil(1_024)).unwrap_or(u32::MAX);
    let room = Arc::clone(room).try_acquire_many_owned(kib.max(REQUEST_KIB_MIN));
    room.map_err(|_| {
        metrics::counter!("cotter_api_http_crowded_total").increment(1);
        Problem::from(No::Unavailable(Unavailable::Overloaded {
            retry_after_ms: NO_ROOM_RETRY_MS,
        }))
    })
}

/// Reads a body of at most `limit` bytes.
async fn read_body(body: Body, limit: usize, waits_for_leave: bool) -> Result<Vec<u8>, Problem> {
    let refused = || match limit {
        0 => Problem::invalid("this takes no body"),
        limit => Problem::too_large(limit),
    };
    let declared = body.size_hint().lower();
    let hopeless = declared > (limit + OVERFLOW_BYTES_MAX) as u64;
    if hopeless || (waits_for_leave && declared > limit as u64) {
        return Err(refused());
    }
    let mut read = Vec::new();
    let mut overflow = 0;
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| Problem::invalid("the body broke off"))?;
        if overflow > 0 || read.len() + chunk.len() > limit {
            overflow += read.len() + chunk.len();
            read = Vec::new();
        } else {
            read.extend_from_slice(&chunk);
        }
        if overflow > limit + OVERFLOW_BYTES_MAX {
            break;
        }
    }
    if overflow > 0 {
        return Err(refused());
    }
    Ok(read)
}
