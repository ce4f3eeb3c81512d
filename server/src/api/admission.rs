//! What can be decided about a frame at the door, without asking the cell.
//!
//! Paths are made local to the cell, once, here. What no cell would ever do is refused here, with the
//! same typed refusal that the cell would give, and costs neither a log entry nor the owner's time.
//! Each of these refusals depends on the frame and the cell's fixed name only, so a retry, here or at
//! another replica, is told the same.
//!
//! This module must never refuse what depends on the state of the cell.

use cotter_types::limits::{CONTENTS_BYTES_MAX, LIST_PAGE_MAX, LOCK_DELAY_MS_MAX};
use cotter_types::{
    Answer, ClientFrame, Contents, Create, CreateSequential, Mutation, NodeChange, OpenSession,
    Path, Query, Refusal, Sequencer, ServerFrame, Set, Transaction, check_lease_ms,
};

/// Returns the frame as the owner shall see it, or the frame that refuses it.
pub(super) fn admitted(frame: ClientFrame, cell: &str) -> Result<ClientFrame, Box<ServerFrame>> {
    match frame {
        ClientFrame::Open(open) => match lease(&open) {
            Ok(()) => Ok(ClientFrame::Open(open)),
            Err(refusal) => Err(Box::new(ServerFrame::OpenRefused {
                nonce: open.nonce,
                answer: Answer::Refused(refusal),
            })),
        },
        ClientFrame::Mutate {
            session,
            number,
            acknowledged,
            mutation,
        } => match admitted_mutation(mutation, cell) {
            Ok(mutation) => Ok(ClientFrame::Mutate {
                session,
                number,
                acknowledged,
                mutation,
            }),
            Err(refusal) => Err(Box::new(ServerFrame::Answer {
                session,
                number,
                answer: Answer::Refused(refusal),
            })),
        },
        ClientFrame::Query { id, query } => match admitted_query(query, cell) {
            Ok(query) => Ok(ClientFrame::Query { id, query }),
            Err(refusal) => Err(Box::new(ServerFrame::QueryAnswer {
                id,
                answer: Err(Answer::Refused(refusal)),
            })),
        },
        frame @ (ClientFrame::Hello { .. }
        | ClientFrame::Attach { .. }
        | ClientFrame::KeepAlive { .. }) => Ok(frame),
    }
}

/// Checks the lease that is asked for; 0 leaves it to the cell.
fn lease(open: &OpenSession) -> Result<(), Refusal> {
    match open.lease_ms {
        0 => Ok(()),
        asked => check_lease_ms(asked),
    }
}

/// Returns a path as the owner shall see it.
pub(super) fn admitted_path(path: &Path, cell: &str) -> Result<Path, Refusal> {
    local(path, cell)
}

/// Returns a change of the tree as the owner shall see it.
pub(super) fn admitted_change(change: NodeChange, cell: &str) -> Result<NodeChange, Refusal> {
    Ok(match change {
        NodeChange::Create(create) => NodeChange::Create(admitted_create(create, cell)?),
        NodeChange::CreateSequential(create) => {
            NodeChange::CreateSequential(admitted_sequential(create, cell)?)
        }
        NodeChange::Set(set) => NodeChange::Set(admitted_set(set, cell)?),
        NodeChange::Delete(mut delete) => {
            delete.path = local(&delete.path, cell)?;
            NodeChange::Delete(delete)
        }
        NodeChange::Transaction(transaction) => {
            NodeChange::Transaction(admitted_transaction(transaction, cell)?)
        }
    })
}

fn admitted_create(mut create: Create, cell: &str) -> Result<Create, Refusal> {
    small_enough(&create.contents)?;
    create.path = local(&create.path, cell)?;
    Ok(create)
}

fn admitted_sequential(
    mut create: CreateSequential,
    cell: &str,
) -> Result<CreateSequential, Refusal> {
    small_enough(&create.contents)?;
    create.path = local(&create.path, cell)?;
    Ok(create)
}

fn admitted_set(mut set: Set, cell: &str) -> Result<Set, Refusal> {
    small_enough(&set.contents)?;
    set.path = local(&set.path, cell)?;
    Ok(set)
}

fn admitted_transaction(mut transaction: Transaction, cell: &str) -> Result<Transaction, Refusal> {
    transaction.check()?;
    let compared = transaction.compares.iter_mut().map(|it| &mut it.path);
    let changed = transaction.operations.iter_mut().map(|it| it.path_mut());
    for path in compared.chain(changed) {
        *path = local(path, cell)?;
    }
    Ok(transaction)
}

fn local(path: &Path, cell: &str) -> Result<Path, Refusal> {
    path.localized(cell).ok_or_else(|| Refusal::OtherCell {
        path: path.to_string(),
        cell: cell.to_owned(),
    })
}

fn small_enough(contents: &Contents) -> Result<(), Refusal> {
    if contents.len() <= CONTENTS_BYTES_MAX {
        return Ok(());
    }
    Err(Refusal::Limit {
        what: format!("contents of {} bytes", contents.len()),
        limit: CONTENTS_BYTES_MAX as u64,
    })
}

fn page(limit: u32) -> Result<(), Refusal> {
    if limit <= LIST_PAGE_MAX {
        return Ok(());
    }
    Err(Refusal::Limit {
        what: format!("a page of {limit} entries"),
        limit: u64::from(LIST_PAGE_MAX),
    })
}

fn admitted_mutation(mutation: Mutation, cell: &str) -> Result<Mutation, Refusal> {
    Ok(match mutation {
        Mutation::Create(create) => Mutation::Create(admitted_create(create, cell)?),
        Mutation::Set(set) => Mutation::Set(admitted_set(set, cell)?),
        Mutation::Delete(mut delete) => {
            delete.path = local(&delete.path, cell)?;
            Mutation::Delete(delete)
        }
        Mutation::Unhold { path } => Mutation::Unhold {
            path: local(&path, cell)?,
        },
        Mutation::Acquire(mut acquire) => {
            if acquire.lock_delay_ms > LOCK_DELAY_MS_MAX {
                return Err(Refusal::Limit {
                    what: format!("a lock-delay of {} ms", acquire.lock_delay_ms),
                    limit: LOCK_DELAY_MS_MAX,
                });
            }
            acquire.path = local(&acquire.path, cell)?;
            Mutation::Acquire(acquire)
        }
        Mutation::Release { path, number } => Mutation::Release {
            path: local(&path, cell)?,
            number,
        },
        mutation @ (Mutation::Cancel { .. } | Mutation::Close) => mutation,
        Mutation::CreateSequential(create) => {
            Mutation::CreateSequential(admitted_sequential(create, cell)?)
        }
        Mutation::Transaction(transaction) => {
            Mutation::Transaction(admitted_transaction(transaction, cell)?)
        }
    })
}

pub(super) fn admitted_query(query: Query, cell: &str) -> Result<Query, Refusal> {
    Ok(match query {
        Query::Get { path } => Query::Get {
            path: local(&path, cell)?,
        },
        Query::Stat { path } => Query::Stat {
            path: local(&path, cell)?,
        },
        Query::List { path, after, limit } => {
            page(limit)?;
            let path = local(&path, cell)?;
            Query::List { path, after, limit }
        }
        Query::Explain { path } => Query::Explain {
            path: local(&path, cell)?,
        },
        Query::Locks {
            within,
            after,
            limit,
        } => {
            page(limit)?;
            Query::Locks {
                within: local(&within, cell)?,
                after: after.map(|path| local(&path, cell)).transpose()?,
                limit,
            }
        }
        Query::Sessions { after, limit } => {
            page(limit)?;
            Query::Sessions { after, limit }
        }
        Query::CheckSequencer { sequencer } => Query::CheckSequencer {
            sequencer: Sequencer {
                path: local(&sequencer.path, cell)?,
                ..sequencer
            },
        },
        Query::Status => Query::Status,
    })
}
