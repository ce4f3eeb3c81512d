//! Transactions: compares, then operations, all or none.
//!
//! An operation that is refused has changed nothing, but those before it have. So the state is kept
//! as it was before the first of them, which costs nothing since its tables are persistent, and is
//! put back whole: tables, indexes, counters, what was touched and what was told. Nothing can be
//! forgotten in the way that an undo list forgets.

use crate::apply::Application;
use crate::cell::Cell;
use crate::tree::{check_local, not_found};
use cotter_types::mutation::{self, Mutation as Bug};
use cotter_types::{
    Compare, Condition, NodeOperation, NodeResult, Refusal, Response, SessionId, Transaction,
    limits,
};

impl Cell {
    /// Refuses unless the condition holds.
    fn check_compare(&self, compare: &Compare) -> Result<(), Refusal> {
        let path = &compare.path;
        check_local(self, path)?;
        let node = self.nodes.get(path);
        if compare.condition == Condition::Absent {
            return match node {
                None => Ok(()),
                Some(_) => Err(Refusal::AlreadyExists {
                    path: path.to_string(),
                }),
            };
        }
        let node = node.ok_or_else(|| not_found(path))?;
        let number = |what: &str, wanted: u64, found: u64| {
            let differs = format!("{what} of {path} is {found}, not {wanted}");
            (wanted == found).then_some(()).ok_or(differs)
        };
        let holds = match &compare.condition {
            Condition::Exists | Condition::Absent => Ok(()),
            Condition::Instance(wanted) => number("the instance", wanted.0, node.instance.0),
            Condition::ContentGeneration(wanted) => {
                number("the content generation", *wanted, node.content_generation)
            }
            Condition::ChildGeneration(wanted) => {
                number("the child generation", *wanted, node.child_generation)
            }
            Condition::LockGeneration(wanted) => {
                let lock = self.locks.get(path);
                let found = lock.map_or(0, |lock| lock.generation);
                number("the lock generation", *wanted, found)
            }
            Condition::Contents(wanted) if *wanted == node.contents => Ok(()),
            Condition::Contents(_) => Err(format!("the contents of {path} are others")),
        };
        holds.map_err(|what| Refusal::Invalid { what })
    }
}

impl Application<'_> {
    /// Makes a transaction, or refuses it and leaves everything as it was.
    pub(crate) fn transaction(
        &mut self,
        session: SessionId,
        transaction: &Transaction,
    ) -> Result<Response, Refusal> {
        transaction.check()?;
        for (compare, index) in transaction.compares.iter().zip(0..) {
            self.cell
                .check_compare(compare)
                .map_err(|why| failed(index, true, why))?;
        }
        let before = self.savepoint();
        let mut results = Vec::with_capacity(transaction.operations.len());
        let mut deleted = 0;
        for (operation, index) in transaction.operations.iter().zip(0..) {
            match self.operate(session, operation, &mut deleted) {
                Ok(result) => results.push(result),
                Err(why) if mutation::active(Bug::TransactionNotRolledBack) => {
                    self.keep(before);
                    return Err(failed(index, false, why));
                }
                Err(why) => {
                    self.roll_back(before);
                    return Err(failed(index, false, why));
                }
            }
        }
        self.keep(before);
        Ok(Response::Applied { results })
    }

    /// Does one operation. `deleted` counts the nodes that the transaction has removed so far.
    fn operate(
        &mut self,
        session: SessionId,
        operation: &NodeOperation,
        deleted: &mut u64,
    ) -> Result<NodeResult, Refusal> {
        Ok(match operation {
            NodeOperation::Create(create) => {
                let (created, stat) = self.create_or_find(session, create)?;
                NodeResult::Created {
                    path: create.path.clone(),
                    created,
                    instance: stat.instance,
                    content_generation: stat.content_generation,
                }
            }
            NodeOperation::CreateSequential(create) => {
                let (path, stat) = self.create_numbered(session, create)?;
                NodeResult::Created {
                    path,
                    created: true,
                    instance: stat.instance,
                    content_generation: stat.content_generation,
                }
            }
            NodeOperation::Set(set) => {
                let stat = self.write(set)?;
                NodeResult::Written {
                    instance: stat.instance,
                    content_generation: stat.content_generation,
                }
            }
            NodeOperation::Delete(delete) => {
                let nodes = self.remove(delete)?;
                *deleted += nodes;
                if *deleted > limits::DELETE_NODES_MAX {
                    return Err(Refusal::TooManyNodes {
                        path: delete.path.to_string(),
                        limit: limits::DELETE_NODES_MAX,
                    });
                }
                NodeResult::Deleted { nodes }
            }
        })
    }
}

/// Makes the refusal of the whole from that of a part.
fn failed(index: u32, compare: bool, why: Refusal) -> Refusal {
    let reason = match why {
        // How a compare that does not hold says so; the prefix would mislead.
        Refusal::Invalid { what } => what,
        other => other.to_string(),
    };
    Refusal::TransactionFailed {
        index,
        compare,
        reason,
    }
}
