//! `cotter cell`: how it is, and changes of the cell itself.

use super::{backup, observer};
use crate::args::{CellVerb, Common};
use crate::failure::Failure;
use crate::output::{Table, show, span};
use cotter_client::{Administered, Administration, CellStatus, MemberStatus, Reads, ReplicaId};
use serde_json::{Value, json};

/// Shows what was asked of the cell itself.
pub(crate) async fn run(verb: &CellVerb, common: &Common) -> Result<(), Failure> {
    let change = match verb {
        CellVerb::Status => {
            let status = observer(common)?.status().await?;
            return show(common.output, &status_table(&status), &status_json(&status));
        }
        CellVerb::Members => {
            let status = observer(common)?.status().await?;
            let (table, json) = (members_table(&status), members_json(&status));
            return show(common.output, &table, &json);
        }
        CellVerb::Backup { file } => return backup::run(file, common).await,
        CellVerb::Add { replica } => Administration::Add {
            replica: ReplicaId(*replica),
        },
        CellVerb::Remove { replica } => Administration::Remove {
            replica: ReplicaId(*replica),
        },
        CellVerb::Replace { replica } => Administration::Replace {
            replica: ReplicaId(*replica),
        },
        CellVerb::Transfer { to } => Administration::Transfer {
            to: to.map(ReplicaId),
        },
    };
    let done = observer(common)?.administer(change).await?;
    let (table, json) = administered(&done);
    show(common.output, &table, &json)
}

fn administered(done: &Administered) -> (Table, Value) {
    match done {
        Administered::Members { chapter, members } => {
            let mut table = Table::new(&["MEMBERS", "CHAPTER"]);
            let ids: Vec<String> = members.iter().map(ToString::to_string).collect();
            table.rows.push(vec![ids.join(" "), chapter.to_string()]);
            let ids: Vec<u64> = members.iter().map(|id| id.0).collect();
            (table, json!({ "members": ids, "chapter": chapter }))
        }
        Administered::Master { replica, epoch } => {
            let mut table = Table::new(&["MASTER", "EPOCH"]);
            table
                .rows
                .push(vec![replica.to_string(), epoch.to_string()]);
            (table, json!({ "master": replica.0, "epoch": epoch.0 }))
        }
    }
}

fn status_table(status: &CellStatus) -> Table {
    let mut table = Table::new(&["WHAT", "VALUE"]);
    let master = status
        .master
        .map_or_else(|| "none".to_owned(), |master| master.to_string());
    let votes = status.members.iter().filter(|member| member.votes).count();
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
        ("members", votes.to_string()),
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
    let head = [
        "REPLICA",
        "ROLE",
        "CLIENTS",
        "PEERS",
        "CONNECTED",
        "HEARD",
        "DISK",
    ];
    let mut table = Table::new(&head);
    for member in &status.members {
        let heard = match member.heard_ms_ago {
            Some(0) if member.replica == status.replica => "itself".to_owned(),
            Some(ms) => format!("{} ago", span(ms)),
            None => "never".to_owned(),
        };
        table.rows.push(vec![
            member.replica.to_string(),
            role(status, member).to_owned(),
            member.client_address.clone(),
            member.peer_address.clone(),
            if member.connected { "yes" } else { "no" }.to_owned(),
            heard,
            format!("{:016x}", member.disk),
        ]);
    }
    table
}

fn members_json(status: &CellStatus) -> Value {
    let members = status.members.iter().map(|member| {
        json!({
            "replica": member.replica.0,
            "role": role(status, member),
            "client_address": member.client_address,
            "peer_address": member.peer_address,
            "connected": member.connected,
            "heard_ms_ago": member.heard_ms_ago,
            "votes": member.votes,
            "disk": format!("{:016x}", member.disk),
        })
    });
    Value::Array(members.collect())
}

fn role(status: &CellStatus, member: &MemberStatus) -> &'static str {
    if !member.votes {
        "no vote"
    } else if status.master == Some(member.replica) {
        "master"
    } else {
        "follower"
    }
}
