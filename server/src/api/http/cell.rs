//! How the cell is, its sessions, and whether clients should come.

use super::asked::Asked;
use super::problem::{Problem, quoted};
use super::views::{cell, session};
use super::{Answer, locks};
use crate::api::edge::Edge;
use cotter_types::{Query, QueryResponse, SessionId};
use serde_json::{Value, json};

/// Tells how the cell is, as this replica sees it. Any replica answers.
pub(super) async fn status(edge: &Edge, asked: &Asked) -> Result<Answer, Problem> {
    match locks::found(edge, asked, Query::Status).await? {
        QueryResponse::Status(status) => Ok(Answer::ok(cell(&status))),
        other => Err(locks::unexpected(&other)),
    }
}

/// Lists sessions, in order of id.
pub(super) async fn sessions(edge: &Edge, asked: &Asked) -> Result<Answer, Problem> {
    let after = match asked.parameter("after") {
        None => SessionId(0),
        Some(text) => session_id(text)?,
    };
    let limit = asked.page()?;
    match locks::found(edge, asked, Query::Sessions { after, limit }).await? {
        QueryResponse::Sessions { rows, more } => {
            let next = rows.last().filter(|_| more).map(|row| row.session);
            let rows: Vec<Value> = rows.iter().map(session).collect();
            Ok(Answer::ok(json!({
                "sessions": rows,
                "next": next.map(|next| next.to_string()),
            })))
        }
        other => Err(locks::unexpected(&other)),
    }
}

/// Tells whether clients should come, without asking the cell.
pub(super) fn health(is_ready: bool) -> Result<Answer, Problem> {
    if !is_ready {
        return Err(Problem::not_ready());
    }
    Ok(Answer::ok(json!({ "status": "serving" })))
}

/// Reads a session id as it is shown: `s5`.
fn session_id(text: &str) -> Result<SessionId, Problem> {
    let digits = text.strip_prefix('s').unwrap_or_default();
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    let id = digits.parse().ok().filter(|_| is_number);
    id.map(SessionId).ok_or_else(|| {
        let text = quoted(text);
        Problem::invalid(format!("after must be a session id like s5, not {text}"))
    })
}
