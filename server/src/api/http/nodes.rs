//! Nodes: the tree as resources below `/v1/nodes`, and transactions.
//!
//! `PUT` without a condition creates the node or replaces its contents, in one log entry: it is a
//! transaction of "create unless it is there" and "set". So a node that it creates begins with content
//! generation 2. With `If-Match` it only replaces, with `If-None-Match: *` it only creates.
//!
//! Entity tags name instance and content generation, so a node that was deleted and created again does
//! not match what somebody read before.

use super::asked::Asked;
use super::locks::{found, unexpected};
use super::operation::{IF_MATCH, IF_NONE_MATCH, REQUEST_ID, SEQUENCER};
use super::problem::{Problem, quoted};
use super::views::{self, etag, parse_etag};
use super::{Answer, Content};
use crate::api::edge::{self, Edge};
use axum::http::StatusCode;
use cotter_proto::status::No;
use cotter_types::{
    Call, CallResponse, Contents, Create, Delete, Instance, Lifetime, NodeChange, NodeOperation,
    NodeResult, NodeStat, Path, Query, QueryResponse, Refusal, Response, Revision, Set,
    Transaction, TransactionJson,
};
use serde_json::{Value, json};

/// Which node a change is meant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    /// Whatever is there, or nothing.
    Any,
    /// One that is there.
    Exists,
    /// One that is as it was read.
    Is {
        instance: u64,
        content_generation: u64,
    },
    /// None.
    Absent,
}

impl Condition {
    fn read(asked: &Asked) -> Result<Self, Problem> {
        let (matches, none_matches) = (asked.header(IF_MATCH)?, asked.header(IF_NONE_MATCH)?);
        match (matches, none_matches) {
            (None, None) => Ok(Self::Any),
            (Some(_), Some(_)) => Err(Problem::invalid(
                "if-match and if-none-match together mean nothing; send one of them",
            )),
            (Some("*"), None) => Ok(Self::Exists),
            (Some(tag), None) => match parse_etag(tag) {
                Some((instance, content_generation)) => Ok(Self::Is {
                    instance,
                    content_generation,
                }),
                None => Err(Problem::invalid(format!(
                    "if-match: {} is neither * nor one entity tag as GET returns it, like \"7.3\"",
                    quoted(tag)
                ))),
            },
            (None, Some("*")) => Ok(Self::Absent),
            (None, Some(tag)) => Err(Problem::invalid(format!(
                "if-none-match: a change knows only *, not {}",
                quoted(tag)
            ))),
        }
    }

    /// Returns what a compare-and-set expects.
    fn expected(self) -> (Option<u64>, Option<Instance>) {
        match self {
            Self::Is {
                instance,
                content_generation,
            } => (Some(content_generation), Some(Instance(instance))),
            Self::Any | Self::Exists | Self::Absent => (None, None),
        }
    }
}

/// Reads a node, its stat, or its children.
pub(super) async fn get(edge: &Edge, asked: &Asked) -> Result<Answer, Problem> {
    let path = asked.node()?;
    let (list, stat) = (asked.switch("list")?, asked.switch("stat")?);
    let raw = asked.switch("raw")? || asked.list("accept").any(is_octets);
    if list && (stat || asked.switch("raw")?) || stat && asked.switch("raw")? {
        return Err(Problem::invalid("list, stat and raw exclude each other"));
    }
    if !list && (asked.parameter("after").is_some() || asked.parameter("limit").is_some()) {
        return Err(Problem::invalid("after and limit belong to list"));
    }
    if list {
        return children(edge, asked, path).await;
    }
    let query = if stat {
        Query::Stat { path: path.clone() }
    } else {
        Query::Get { path: path.clone() }
    };
    let (contents, stat, revision) = match found(edge, asked, query).await? {
        QueryResponse::Node {
            contents,
            stat,
            revision,
        } => (Some(contents), stat, revision),
        QueryResponse::Stat { stat, revision } => (None, stat, revision),
        other => return Err(unexpected(&other)),
    };
    Ok(node(asked, &path, raw, contents, &stat, revision))
}

fn is_octets(media_range: &str) -> bool {
    let essence = media_range.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/octet-stream")
}

fn node(
    asked: &Asked,
    path: &Path,
    raw: bool,
    contents: Option<Contents>,
    stat: &NodeStat,
    revision: Revision,
) -> Answer {
    let tag = etag(stat.instance.0, stat.content_generation);
    let headers = vec![
        ("etag", tag.clone()),
        ("cotter-revision", revision.0.to_string()),
    ];
    let unchanged = asked
        .list(IF_NONE_MATCH)
        .any(|it| it == "*" || it.strip_prefix("W/").unwrap_or(it) == tag);
    let (status, body) = match contents {
        _ if unchanged => (StatusCode::NOT_MODIFIED, Content::Nothing),
        Some(contents) if raw => (StatusCode::OK, Content::Bytes(contents)),
        contents => {
            let view = views::node(path, contents.as_ref(), stat, revision);
            (StatusCode::OK, Content::Json(view))
        }
    };
    Answer {
        status,
        headers,
        body,
    }
}

async fn children(edge: &Edge, asked: &Asked, path: Path) -> Result<Answer, Problem> {
    let query = Query::List {
        path,
        after: asked.parameter("after").unwrap_or_default().to_owned(),
        limit: asked.page()?,
    };
    match found(edge, asked, query).await? {
        QueryResponse::List { page, revision } => {
            let last = page.children.last().filter(|_| page.more);
            let next = last.map(|(name, _)| name.clone());
            let rows: Vec<Value> = page
                .children
                .iter()
                .map(|(name, stat)| json!({ "name": name, "stat": views::stat(stat) }))
                .collect();
            Ok(Answer::ok(json!({
                "children": rows,
                "next": next,
                "revision": revision.0,
            })))
        }
        other => Err(unexpected(&other)),
    }
}

/// Creates a node, or replaces its contents.
pub(super) async fn put(edge: &Edge, asked: &Asked) -> Result<Answer, Problem> {
    let path = asked.node()?;
    let condition = Condition::read(asked)?;
    let parents = asked.switch("parents")?;
    let ttl_ms = asked.number("ttl_ms")?;
    let contents = Contents::from(asked.body.as_slice());
    let lifetime = match ttl_ms {
        Some(ms) => Lifetime::Ttl { ms },
        None => Lifetime::Permanent,
    };
    let create = |contents, exclusive| Create {
        path: path.clone(),
        contents,
        lifetime,
        parents,
        exclusive,
    };
    let (if_content_generation, if_instance) = condition.expected();
    let set = Set {
        path: path.clone(),
        contents: contents.clone(),
        if_content_generation,
        if_instance,
    };
    let change = match condition {
        Condition::Any => NodeChange::Transaction(Transaction {
            compares: Vec::new(),
            operations: vec![
                NodeOperation::Create(create(Contents::default(), false)),
                NodeOperation::Set(set),
            ],
        }),
        Condition::Absent => NodeChange::Create(create(contents, true)),
        Condition::Exists | Condition::Is { .. } if parents || ttl_ms.is_some() => {
            return Err(Problem::invalid(
                "parents and ttl_ms are for a node that is created, which if-match excludes",
            ));
        }
        Condition::Exists | Condition::Is { .. } => NodeChange::Set(set),
    };
    match changed(edge, asked, change).await.map_err(plain)? {
        Response::Created { created, stat } => {
            Ok(written(created, stat.instance.0, stat.content_generation))
        }
        Response::Written { stat } => Ok(written(false, stat.instance.0, stat.content_generation)),
        Response::Applied { results } => match results.as_slice() {
            [
                NodeResult::Created { created, .. },
                NodeResult::Written {
                    instance,
                    content_generation,
                },
            ] => Ok(written(*created, instance.0, *content_generation)),
            other => Err(unexpected(&other)),
        },
        other => Err(unexpected(&other)),
    }
}

/// Says of a `PUT` without a condition why it was refused, in words that do not speak of the
/// transaction which it is.
fn plain(no: No) -> Problem {
    let No::Refused(Refusal::TransactionFailed { reason, .. }) = &no else {
        return Problem::from(no);
    };
    let message = format!("{reason}; nothing was changed (?parents=true creates missing parents)");
    let mut problem = Problem::from(no);
    problem.message = message;
    problem
}

fn written(created: bool, instance: u64, content_generation: u64) -> Answer {
    let tag = etag(instance, content_generation);
    let status = match created {
        true => StatusCode::CREATED,
        false => StatusCode::OK,
    };
    let mut answer = Answer::json(
        status,
        json!({
            "created": created,
            "instance": instance,
            "content_generation": content_generation,
            "etag": tag,
        }),
    );
    answer.headers.push(("etag", tag));
    answer
}

/// Deletes a node.
pub(super) async fn delete(edge: &Edge, asked: &Asked) -> Result<Answer, Problem> {
    let (if_content_generation, if_instance) = Condition::read(asked)?.expected();
    let change = NodeChange::Delete(Delete {
        path: asked.node()?,
        recursive: asked.switch("recursive")?,
        if_content_generation,
        if_instance,
    });
    match changed(edge, asked, change).await? {
        Response::Deleted { nodes } => Ok(Answer::ok(json!({ "deleted": nodes }))),
        other => Err(unexpected(&other)),
    }
}

/// Changes several nodes together or not at all.
pub(super) async fn transaction(edge: &Edge, asked: &Asked) -> Result<Answer, Problem> {
    let body: TransactionJson = asked.json()?;
    let transaction = Transaction::try_from(body)
        .map_err(|error| Problem::invalid(format!("the body: {error}")))?;
    match changed(edge, asked, NodeChange::Transaction(transaction)).await? {
        Response::Applied { results } => {
            let results: Vec<Value> = results.iter().map(views::result).collect();
            Ok(Answer::ok(json!({ "results": results })))
        }
        other => Err(unexpected(&other)),
    }
}

/// Makes a change, under the request id and bound to the sequencer that the headers name.
async fn changed(edge: &Edge, asked: &Asked, change: NodeChange) -> Result<Response, No> {
    let header = |name| {
        let read = asked.header(name);
        read.map_err(|problem| edge::invalid(name, problem.message))
    };
    let (request, repeatable) = edge::change_id(header(REQUEST_ID)?, REQUEST_ID)?;
    let sequencer = header(SEQUENCER)?;
    let sequencer = sequencer.map(|text| edge::sequencer(text, SEQUENCER));
    let call = Call::Change {
        request,
        repeatable,
        sequencer: sequencer.transpose()?,
        change,
    };
    let answered = edge.call(asked.principal.clone(), call, asked.deadline);
    match answered.await? {
        CallResponse::Changed(response) => Ok(response),
        other => {
            // Said as every answer that does not fit.
            let _ = unexpected(&other);
            Err(No::Unknown(cotter_proto::status::Unknown {
                repeatable,
                late: false,
            }))
        }
    }
}
