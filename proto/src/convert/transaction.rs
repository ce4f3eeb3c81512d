//! The messages of transactions, from `operation.proto`.
//!
//! How many compares and operations there may be is the cell's to refuse, with an answer; here a
//! message is only bounded by its frame.

use super::operation::sequential;
use crate::v1;
use crate::wire::{WireError, contents, contents_bytes, missing, path};
use cotter_types::{Compare, Condition, Instance, NodeOperation, NodeResult, Transaction};

impl From<Compare> for v1::Compare {
    fn from(compare: Compare) -> Self {
        use v1::compare as w;
        let Compare { path, condition } = compare;
        let condition = match condition {
            Condition::Exists => w::Condition::Exists(w::Exists {}),
            Condition::Absent => w::Condition::Absent(w::Absent {}),
            Condition::Instance(instance) => w::Condition::Instance(instance.0),
            Condition::ContentGeneration(number) => w::Condition::ContentGeneration(number),
            Condition::ChildGeneration(number) => w::Condition::ChildGeneration(number),
            Condition::LockGeneration(number) => w::Condition::LockGeneration(number),
            Condition::Contents(contents) => w::Condition::Contents(contents_bytes(contents)),
        };
        Self {
            path: path.as_str().to_owned(),
            condition: Some(condition),
        }
    }
}

impl TryFrom<v1::Compare> for Compare {
    type Error = WireError;

    fn try_from(message: v1::Compare) -> Result<Self, WireError> {
        use v1::compare as w;
        let condition = message
            .condition
            .ok_or_else(|| missing("Compare.condition"))?;
        Ok(Self {
            path: path(&message.path, "Compare.path")?,
            condition: match condition {
                w::Condition::Exists(w::Exists {}) => Condition::Exists,
                w::Condition::Absent(w::Absent {}) => Condition::Absent,
                w::Condition::Instance(number) => Condition::Instance(Instance(number)),
                w::Condition::ContentGeneration(number) => Condition::ContentGeneration(number),
                w::Condition::ChildGeneration(number) => Condition::ChildGeneration(number),
                w::Condition::LockGeneration(number) => Condition::LockGeneration(number),
                w::Condition::Contents(bytes) => Condition::Contents(contents(&bytes)),
            },
        })
    }
}

impl From<NodeOperation> for v1::NodeOperation {
    fn from(operation: NodeOperation) -> Self {
        use v1::node_operation::Operation as Wire;
        let operation = match operation {
            NodeOperation::Create(create) => Wire::Create(create.into()),
            NodeOperation::CreateSequential(create) => Wire::Create(create.into()),
            NodeOperation::Set(set) => Wire::Set(set.into()),
            NodeOperation::Delete(delete) => Wire::Delete(delete.into()),
        };
        Self {
            operation: Some(operation),
        }
    }
}

impl TryFrom<v1::NodeOperation> for NodeOperation {
    type Error = WireError;

    fn try_from(message: v1::NodeOperation) -> Result<Self, WireError> {
        use v1::node_operation::Operation as Wire;
        let operation = message
            .operation
            .ok_or_else(|| missing("NodeOperation.operation"))?;
        Ok(match operation {
            Wire::Create(create) if create.sequential => {
                Self::CreateSequential(sequential(create)?)
            }
            Wire::Create(create) => Self::Create(create.try_into()?),
            Wire::Set(set) => Self::Set(set.try_into()?),
            Wire::Delete(delete) => Self::Delete(delete.try_into()?),
        })
    }
}

impl From<Transaction> for v1::Transaction {
    fn from(transaction: Transaction) -> Self {
        let Transaction {
            compares,
            operations,
        } = transaction;
        Self {
            compares: compares.into_iter().map(Into::into).collect(),
            operations: operations.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<v1::Transaction> for Transaction {
    type Error = WireError;

    fn try_from(message: v1::Transaction) -> Result<Self, WireError> {
        Ok(Self {
            compares: super::all(message.compares)?,
            operations: super::all(message.operations)?,
        })
    }
}

impl From<NodeResult> for v1::NodeResult {
    fn from(result: NodeResult) -> Self {
        use v1::node_result as w;
        let result = match result {
            NodeResult::Created {
                path,
                created,
                instance,
                content_generation,
            } => w::Result::Created(w::Created {
                path: path.as_str().to_owned(),
                created,
                instance: instance.0,
                content_generation,
            }),
            NodeResult::Written {
                instance,
                content_generation,
            } => w::Result::Written(w::Written {
                instance: instance.0,
                content_generation,
            }),
            NodeResult::Deleted { nodes } => w::Result::Deleted(w::Deleted { nodes }),
        };
        Self {
            result: Some(result),
        }
    }
}

impl TryFrom<v1::NodeResult> for NodeResult {
    type Error = WireError;

    fn try_from(message: v1::NodeResult) -> Result<Self, WireError> {
        use v1::node_result as w;
        let result = message.result.ok_or_else(|| missing("NodeResult.result"))?;
        Ok(match result {
            w::Result::Created(created) => Self::Created {
                path: path(&created.path, "NodeResult.Created.path")?,
                created: created.created,
                instance: Instance(created.instance),
                content_generation: created.content_generation,
            },
            w::Result::Written(written) => Self::Written {
                instance: Instance(written.instance),
                content_generation: written.content_generation,
            },
            w::Result::Deleted(w::Deleted { nodes }) => Self::Deleted { nodes },
        })
    }
}
