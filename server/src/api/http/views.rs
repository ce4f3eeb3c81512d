//! What the cell says, as JSON.
//!
//! Names are those of the protocol files. Numbers are JSON numbers (tokens stay below 2^53 so that they
//! are exact everywhere); ids that are no numbers, and the checksum, are text. What does not exist is
//! `null`, not left out, so that a program can tell it from a name that it misspelt.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cotter_types::{
    CellStatus, ChangeOfHands, Contents, Explanation, HolderView, Lifetime, LockMode, LockRow,
    NodeResult, NodeStat, Path, Revision, SessionView, WaiterView,
};
use serde_json::{Value, json};

/// Returns the entity tag of a node's contents: no two contents of a path have the same, not even
/// across deletion and creation.
pub(super) fn etag(instance: u64, content_generation: u64) -> String {
    format!("\"{instance}.{content_generation}\"")
}

/// Reads an entity tag; nothing if it is none of ours.
pub(super) fn parse_etag(text: &str) -> Option<(u64, u64)> {
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    let (instance, generation) = inner.split_once('.')?;
    let parsed = (instance.parse().ok()?, generation.parse().ok()?);
    // One form only, or two tags could mean the same.
    (etag(parsed.0, parsed.1) == text).then_some(parsed)
}

/// Adds how long a node lives.
fn lifetime(view: &mut Value, lifetime: Lifetime) {
    let (name, ttl_ms) = match lifetime {
        Lifetime::Permanent => ("permanent", None),
        Lifetime::Ephemeral => ("ephemeral", None),
        Lifetime::Ttl { ms } => ("ttl", Some(ms)),
    };
    view["lifetime"] = name.into();
    view["ttl_ms"] = ttl_ms.into();
}

/// A node's stat.
pub(super) fn stat(stat: &NodeStat) -> Value {
    let mut view = json!({
        "instance": stat.instance.0,
        "content_generation": stat.content_generation,
        "etag": etag(stat.instance.0, stat.content_generation),
        "lock_generation": stat.lock_generation,
        "acl_generation": stat.acl_generation,
        "child_generation": stat.child_generation,
        "content_bytes": stat.content_bytes,
        "content_checksum": format!("{:016x}", stat.content_checksum),
        "children": stat.children,
        "sequence": stat.sequence,
        "creator": stat.creator,
    });
    lifetime(&mut view, stat.lifetime);
    view
}

/// A node, with its contents if they were asked for: text if they are UTF-8, else base64.
pub(super) fn node(
    path: &Path,
    contents: Option<&Contents>,
    node: &NodeStat,
    revision: Revision,
) -> Value {
    let mut view = json!({
        "path": path.to_string(),
        "stat": stat(node),
        "revision": revision.0,
    });
    if let Some(contents) = contents {
        let (encoding, text) = match std::str::from_utf8(contents.as_bytes()) {
            Ok(text) => ("utf-8", text.to_owned()),
            Err(_) => ("base64", STANDARD.encode(contents.as_bytes())),
        };
        view["encoding"] = encoding.into();
        view["contents"] = text.into();
    }
    view
}

/// What an operation of a transaction achieved.
pub(super) fn result(result: &NodeResult) -> Value {
    match result {
        NodeResult::Created {
            path,
            created,
            instance,
            content_generation,
        } => json!({
            "path": path.to_string(),
            "created": created,
            "instance": instance.0,
            "content_generation": content_generation,
            "etag": etag(instance.0, *content_generation),
        }),
        NodeResult::Written {
            instance,
            content_generation,
        } => json!({
            "instance": instance.0,
            "content_generation": content_generation,
            "etag": etag(instance.0, *content_generation),
        }),
        NodeResult::Deleted { nodes } => json!({ "deleted": nodes }),
    }
}

fn mode(mode: Option<LockMode>) -> Value {
    mode.map(|mode| mode.to_string()).into()
}

fn holder(holder: &HolderView) -> Value {
    json!({
        "session": holder.session.to_string(),
        "name": holder.name,
        "host": holder.host,
        "pid": holder.pid,
        "program": holder.program,
        "principal": holder.principal,
        "token": holder.token.0,
        "since_ms": holder.since.0,
        "since_wall_ms": holder.since_wall_ms,
        "lock_delay_ms": holder.lock_delay_ms,
        "lease_left_ms": holder.lease_left_ms,
    })
}

fn waiter(waiter: &WaiterView) -> Value {
    json!({
        "session": waiter.session.to_string(),
        "name": waiter.name,
        "host": waiter.host,
        "pid": waiter.pid,
        "program": waiter.program,
        "principal": waiter.principal,
        "mode": waiter.mode.to_string(),
        "place": waiter.place,
        "since_ms": waiter.since.0,
        "deadline_ms": waiter.deadline.map(|deadline| deadline.0),
    })
}

fn change(change: &ChangeOfHands) -> Value {
    json!({
        "session": change.session.to_string(),
        "name": change.name,
        "host": change.host,
        "pid": change.pid,
        "mode": change.mode.to_string(),
        "token": change.token.0,
        "from_ms": change.from.0,
        "until_ms": change.until.0,
        "until_wall_ms": change.until_wall_ms,
        "end": change.end.to_string(),
    })
}

/// All about a lock.
pub(super) fn explanation(explained: &Explanation) -> Value {
    let holders: Vec<Value> = explained.holders.iter().map(holder).collect();
    let waiters: Vec<Value> = explained.waiters.iter().map(waiter).collect();
    let history: Vec<Value> = explained.history.iter().map(change).collect();
    json!({
        "path": explained.path.to_string(),
        "instance": explained.instance.0,
        "lock_generation": explained.lock_generation,
        "mode": mode(explained.mode),
        "holders": holders,
        "holder_count": explained.holder_count,
        "waiters": waiters,
        "waiter_count": explained.waiter_count,
        "lock_delay_left_ms": explained.lock_delay_left_ms,
        "history": history,
        "now_ms": explained.now.0,
        "worst_case_free_ms": explained.worst_case_free_ms,
    })
}

/// A row of the list of locks.
pub(super) fn lock(row: &LockRow) -> Value {
    json!({
        "path": row.path.to_string(),
        "mode": mode(row.mode),
        "holder_count": row.holder_count,
        "waiter_count": row.waiter_count,
        "holder": row.holder.as_ref().map(holder),
        "lock_delay_left_ms": row.lock_delay_left_ms,
    })
}

/// A row of the list of sessions.
pub(super) fn session(row: &SessionView) -> Value {
    json!({
        "session": row.session.to_string(),
        "name": row.metadata.name,
        "host": row.metadata.host,
        "pid": row.metadata.pid,
        "program": row.metadata.program,
        "principal": row.principal,
        "lease_ms": row.lease_ms,
        "lease_left_ms": row.lease_left_ms,
        "opened_ms": row.opened.0,
        "opened_wall_ms": row.opened_wall_ms,
        "locks": row.locks,
        "waits": row.waits,
    })
}

/// How the cell is.
pub(super) fn cell(status: &CellStatus) -> Value {
    let master = status.master;
    let members: Vec<Value> = status
        .members
        .iter()
        .map(|member| {
            json!({
                "replica": member.replica.0,
                "client_address": member.client_address,
                "peer_address": member.peer_address,
                "connected": member.connected,
                "heard_ms_ago": member.heard_ms_ago,
                "votes": member.votes,
                "disk": format!("{:016x}", member.disk),
            })
        })
        .collect();
    let at = |it: &&cotter_types::MemberStatus| Some(it.replica) == master;
    let master_address = status.members.iter().find(at).map(|it| &it.client_address);
    json!({
        "cell": status.cell,
        "cell_id": status.cell_id.to_string(),
        "replica": status.replica.0,
        "role": status.role.to_string(),
        "master": master.map(|master| master.0),
        "master_address": master_address,
        "epoch": status.epoch.0,
        "revision": status.revision.0,
        "applied": status.applied,
        "decided": status.decided,
        "digest": status.digest,
        "master_lease_left_ms": status.master_lease_left_ms,
        "nodes": status.nodes,
        "sessions": status.sessions,
        "locks_held": status.locks_held,
        "waiters": status.waiters,
        "content_bytes": status.content_bytes,
        "members": members,
        "version": status.version,
        "feature_level": status.feature_level,
        "uptime_ms": status.uptime_ms,
    })
}
