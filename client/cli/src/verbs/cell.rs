//! `cotter cell status` and `cotter cell members`.

use super::{backup, observer};
use crate::args::{CellVerb, Common};
use crate::failure::Failure;
use crate::output::{Table, show, span};
use cotter_client::{CellStatus, Reads};
use serde_json::{Value, json};

/// Shows what was asked of the cell itself.
pub(crate) async fn run(verb: &CellVerb, common: &Common) -> Result<(), Failure> {
    if let CellVerb::Backup { file } = verb {
        return backup::run(file, common).await;
    }
    let status = observer(common)?.status().await?;
    match verb {
        CellVerb::Status => show(common.output, &status_table(&status), &status_json(&status)),
        CellVerb::Members => show(
            common.output,
            &members_table(&status),
            &members_json(&status),
        ),
        CellVerb::Backup { .. } => Ok(()),
    }
}

fn status_table(status: &CellStatus) -> Table {
    let mut table = Table::new(&["WHAT", "VALUE"]);
    let master = status
        .master
        .map_or_else(|| "none".to_owned(), |master| master.to_string());
    let lease = status.master_lease_left_ms.map_or_else(String::new, span);
    let facts = [
        ("cell", status.cell.clone()),
        ("cell id", status.cell_id.to_string()),
        (
            "answered by",
            format!("replica {} ({})", status.replica, status.role),
        ),
        ("master", master),
        ("epoch", status.epoch.to_string()),
        ("master lease left", lease),
        ("revision", status.revision.to_string()),
        ("entries applied", status.applied.to_string()),
        ("entries decided", status.decided.to_string()),
        ("digest", status.digest.clone()),
        ("nodes", status.nodes.to_string()),
        ("bytes of contents", status.content_bytes.to_string()),
        ("sessions", status.sessions.to_string()),
        ("locks held", status.locks_held.to_string()),
        ("waiters", status.waiters.to_string()),
        ("members", status.members.len().to_string()),
        ("version", status.version.clone()),
        ("feature level", status.feature_level.to_string()),
        ("uptime", span(status.uptime_ms)),
    ];
    for (what, value) in facts {
        table.rows.push(vec![what.to_owned(), value]);
    }
    table
}

fn status_json(status: &CellStatus) -> Value {
    json!({
        "cell": status.cell,
        "cell_id": status.cell_id.to_string(),
        "replica": status.replica.0,
        "role": status.role.to_string(),
        "master": status.master.map(|master| master.0),
        "epoch": status.epoch.0,
        "master_lease_left_ms": status.master_lease_left_ms,
        "revision": status.revision.0,
        "applied": status.applied,
        "decided": status.decided,
        "digest": status.digest,
        "nodes": status.nodes,
        "content_bytes": status.content_bytes,
        "sessions": status.sessions,
        "locks_held": status.locks_held,
        "waiters": status.waiters,
        "members": members_json(status),
        "version": status.version,
        "feature_level": status.feature_level,
        "uptime_ms": status.uptime_ms,
    })
}

fn members_table(status: &CellStatus) -> Table {
    let mut table = Table::new(&["REPLICA", "ROLE", "CLIENTS", "PEERS", "CONNECTED", "HEARD"]);
    for member in &status.members {
        let heard = match member.heard_ms_ago {
            _ if member.replica == status.replica => "itself".to_owned(),
            Some(ms) => format!("{} ago", span(ms)),
            None => "never".to_owned(),
        };
        table.rows.push(vec![
            member.replica.to_string(),
            role(status, member.replica).to_owned(),
            member.client_address.clone(),
            member.peer_address.clone(),
            if member.connected { "yes" } else { "no" }.to_owned(),
            heard,
        ]);
    }
    table
}

fn members_json(status: &CellStatus) -> Value {
    let members = status.members.iter().map(|member| {
        json!({
            "replica": member.replica.0,
            "role": role(status, member.replica),
            "client_address": member.client_address,
            "peer_address": member.peer_address,
            "connected": member.connected,
            "heard_ms_ago": member.heard_ms_ago,
        })
    });
    Value::Array(members.collect())
}

fn role(status: &CellStatus, replica: cotter_types::ReplicaId) -> &'static str {
    if status.master == Some(replica) {
        "master"
    } else {
        "follower"
    }
}
