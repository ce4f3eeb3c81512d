//! What a request and its answer say of one path, in the words of the sequential models.

use super::linearizability::{LockOperation, Node, NodeOperation};
use cotter_cell::Cell;
use cotter_types::limits::EXPLAIN_ROWS_MAX;
use cotter_types::{
    Explanation, Lifetime, Mutation, NodeStat, Path, Query, QueryResponse, Refusal, RequestNumber,
    Response, SessionId,
};

/// One operation at one path.
#[derive(Clone, Debug)]
pub(super) enum Deed {
    Node(NodeOperation),
    Lock(LockOperation),
}

/// Returns what a mutation that was done is at its own path, if it is anything there. A transaction
/// is nothing at one path.
pub(super) fn deed_of(
    key: (SessionId, RequestNumber),
    mutation: &Mutation,
    response: &Response,
) -> Option<(Path, Deed)> {
    let node = |stat: &NodeStat, contents: &cotter_types::Contents| Node {
        instance: stat.instance,
        generation: stat.content_generation,
        contents: contents.clone(),
    };
    let (path, operation) = match (mutation, response) {
        (Mutation::Create(create), Response::Created { created, stat }) => {
            let operation = match created {
                true => NodeOperation::Created(node(stat, &create.contents)),
                false => NodeOperation::Found(stat.instance, stat.content_generation),
            };
            (&create.path, operation)
        }
        (Mutation::CreateSequential(create), Response::CreatedAt { path, stat }) => {
            (path, NodeOperation::Created(node(stat, &create.contents)))
        }
        (Mutation::Set(set), Response::Written { stat }) => {
            let operation = NodeOperation::Written {
                node: node(stat, &set.contents),
                if_generation: set.if_content_generation,
                if_instance: set.if_instance,
            };
            (&set.path, operation)
        }
        (Mutation::Delete(delete), Response::Deleted { .. }) => {
            let operation = NodeOperation::Deleted {
                if_generation: delete.if_content_generation,
                if_instance: delete.if_instance,
            };
            (&delete.path, operation)
        }
        (Mutation::Acquire(acquire), Response::Acquired { sequencer, .. }) => {
            let operation = LockOperation::Acquired {
                hold: key,
                mode: sequencer.mode,
                token: sequencer.token,
            };
            return Some((acquire.path.clone(), Deed::Lock(operation)));
        }
        (Mutation::Release { path, number }, Response::Done) => {
            let operation = LockOperation::Freed((key.0, *number));
            return Some((path.clone(), Deed::Lock(operation)));
        }
        _ => return None,
    };
    Some((path.clone(), Deed::Node(operation)))
}

/// Tells whether a mutation, done at another path or at several, may have changed the node at `path`.
pub(super) fn is_related(path: &Path, mutation: &Mutation, response: &Response) -> bool {
    match (mutation, response) {
        (Mutation::Create(create), _) => create.path.is_within(path),
        (Mutation::CreateSequential(_), Response::CreatedAt { path: at, .. }) => at.is_within(path),
        (Mutation::Delete(delete), _) => path.is_within(&delete.path),
        (Mutation::Transaction(transaction), _) => transaction.operations.iter().any(|it| {
            let (at, parent) = (it.path(), it.path().parent());
            at.is_within(path)
                || path.is_within(at)
                || parent.is_some_and(|parent| path.is_within(&parent))
        }),
        (Mutation::Unhold { path: at } | Mutation::Release { path: at, .. }, _) => at == path,
        _ => false,
    }
}

/// Returns what a query found at one path, if it looks at one.
pub(super) fn seen_by(query: &Query, response: &QueryResponse) -> Option<(Path, Deed)> {
    Some(match (query, response) {
        (Query::Get { path }, QueryResponse::Node { contents, stat, .. }) => {
            let node = Node {
                instance: stat.instance,
                generation: stat.content_generation,
                contents: contents.clone(),
            };
            (path.clone(), Deed::Node(NodeOperation::Read(node)))
        }
        (Query::Stat { path }, QueryResponse::Stat { stat, .. }) => {
            let (generation, bytes) = (stat.content_generation, stat.content_bytes);
            let operation = NodeOperation::Stat(stat.instance, generation, bytes);
            (path.clone(), Deed::Node(operation))
        }
        (Query::Explain { path }, QueryResponse::Explain(explanation)) => {
            (path.clone(), Deed::Lock(explained(explanation)?))
        }
        (Query::CheckSequencer { sequencer }, QueryResponse::Sequencer { current }) => {
            let operation = LockOperation::Checked {
                mode: sequencer.mode,
                token: sequencer.token,
                current: *current,
            };
            (local(&sequencer.path)?, Deed::Lock(operation))
        }
        _ => return None,
    })
}

fn explained(explanation: &Explanation) -> Option<LockOperation> {
    if explanation.holder_count > EXPLAIN_ROWS_MAX as u64 {
        return None;
    }
    let rows = explanation.holders.iter();
    let mut holders: Vec<_> = rows.map(|it| (it.session, it.number)).collect();
    holders.sort_unstable();
    Some(LockOperation::Explained {
        mode: explanation.mode,
        holders,
        token: explanation.holders.first().map(|it| it.token),
    })
}

/// Returns what a refusal says of the path that was asked about.
pub(super) fn refused_by(path: &Path, refusal: &Refusal) -> Vec<Deed> {
    let about = match refusal {
        Refusal::NotFound { path }
        | Refusal::AlreadyExists { path }
        | Refusal::HasChildren { path, .. }
        | Refusal::Changed { path, .. }
        | Refusal::Held { path, .. }
        | Refusal::LockDelayed { path, .. } => path,
        _ => return Vec::new(),
    };
    if about != path.as_str() {
        return Vec::new();
    }
    match refusal {
        Refusal::NotFound { .. } => vec![
            Deed::Node(NodeOperation::Absent),
            Deed::Lock(LockOperation::NoNode),
        ],
        Refusal::AlreadyExists { .. } | Refusal::HasChildren { .. } => {
            vec![Deed::Node(NodeOperation::Present)]
        }
        Refusal::Changed {
            content_generation,
            instance,
            ..
        } => {
            let instance = cotter_types::Instance(*instance);
            let operation = NodeOperation::Changed(instance, *content_generation);
            vec![Deed::Node(operation)]
        }
        Refusal::Held { session, .. } => vec![Deed::Lock(LockOperation::HeldBy(*session))],
        Refusal::LockDelayed { .. } => vec![Deed::Lock(LockOperation::Delayed)],
        _ => Vec::new(),
    }
}

/// Returns the node at a path, and whether it may go without anybody's asking.
pub(super) fn node_at(cell: &Cell, path: &Path) -> (Option<Node>, bool) {
    let query = Query::Get { path: path.clone() };
    match cell.query(&query, cell.time()) {
        Ok(QueryResponse::Node { contents, stat, .. }) => {
            let node = Node {
                instance: stat.instance,
                generation: stat.content_generation,
                contents,
            };
            (Some(node), stat.lifetime != Lifetime::Permanent)
        }
        _ => (None, false),
    }
}

/// Returns the path as clients write it; a sequencer names the cell.
pub(super) fn local(path: &Path) -> Option<Path> {
    path.localized(path.cell())
}
