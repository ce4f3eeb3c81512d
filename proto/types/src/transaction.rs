//! Transactions: several changes of nodes that are made together or not at all.
//!
//! The compares are looked at first, all of them against the state before; then the operations are
//! done in order, each seeing what the former did. The first compare that does not hold, or the first
//! operation that is refused, refuses the whole, which then has changed nothing.
//!
//! How large a transaction may be is said here once, for the client library, the door and the cell.

use crate::limits::{
    CONTENTS_BYTES_MAX, TRANSACTION_BYTES_MAX, TRANSACTION_COMPARES_MAX, TRANSACTION_ITEM_BYTES,
    TRANSACTION_OPERATIONS_MAX,
};
use crate::{Contents, Create, CreateSequential, Delete, Instance, Path, Refusal, Set};
use serde::{Deserialize, Serialize};

/// What must be true of a node for a transaction to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compare {
    /// Which node.
    pub path: Path,
    /// What must be true of it.
    pub condition: Condition,
}

/// What must be true of a node. Only [`Condition::Absent`] holds for a node that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Condition {
    /// It exists.
    Exists,
    /// It does not exist.
    Absent,
    /// Its instance is this one.
    Instance(Instance),
    /// Its content generation is this one.
    ContentGeneration(u64),
    /// Its child generation is this one.
    ChildGeneration(u64),
    /// Its lock generation is this one.
    LockGeneration(u64),
    /// Its contents are these bytes.
    Contents(Contents),
}

/// One change within a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeOperation {
    /// Creates a node. Its result is [`NodeResult::Created`].
    Create(Create),
    /// Creates a node with a number in its name. Its result is [`NodeResult::Created`].
    CreateSequential(CreateSequential),
    /// Replaces contents. Its result is [`NodeResult::Written`].
    Set(Set),
    /// Deletes. Its result is [`NodeResult::Deleted`]. All deletes of a transaction together remove
    /// at most [`DELETE_NODES_MAX`](crate::limits::DELETE_NODES_MAX) nodes.
    Delete(Delete),
}

/// What one operation of a transaction achieved, as that operation left it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeResult {
    /// The node is there.
    Created {
        /// Its path, with its number if the name is sequential.
        path: Path,
        /// Whether this operation created it.
        created: bool,
        /// Its instance.
        instance: Instance,
        /// Its content generation.
        content_generation: u64,
    },
    /// The contents are replaced.
    Written {
        /// The node's instance.
        instance: Instance,
        /// Its content generation.
        content_generation: u64,
    },
    /// So many nodes are gone.
    Deleted {
        /// How many.
        nodes: u64,
    },
}

/// Changes that are made together or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transaction {
    /// What must be true before, at most [`TRANSACTION_COMPARES_MAX`].
    pub compares: Vec<Compare>,
    /// What to do then, in order: 1 to [`TRANSACTION_OPERATIONS_MAX`].
    pub operations: Vec<NodeOperation>,
}

impl Compare {
    /// Returns the contents that are compared, if any are.
    #[must_use]
    pub fn contents(&self) -> Option<&Contents> {
        match &self.condition {
            Condition::Contents(contents) => Some(contents),
            Condition::Exists
            | Condition::Absent
            | Condition::Instance(_)
            | Condition::ContentGeneration(_)
            | Condition::ChildGeneration(_)
            | Condition::LockGeneration(_) => None,
        }
    }
}

impl NodeOperation {
    /// Returns the path that it is about; of a sequential creation, the path without its number.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Create(create) => &create.path,
            Self::CreateSequential(create) => &create.path,
            Self::Set(set) => &set.path,
            Self::Delete(delete) => &delete.path,
        }
    }

    /// Returns the path that it is about, to be changed.
    pub fn path_mut(&mut self) -> &mut Path {
        match self {
            Self::Create(create) => &mut create.path,
            Self::CreateSequential(create) => &mut create.path,
            Self::Set(set) => &mut set.path,
            Self::Delete(delete) => &mut delete.path,
        }
    }

    /// Returns the contents that it writes, if it writes any.
    #[must_use]
    pub fn contents(&self) -> Option<&Contents> {
        match self {
            Self::Create(create) => Some(&create.contents),
            Self::CreateSequential(create) => Some(&create.contents),
            Self::Set(set) => Some(&set.contents),
            Self::Delete(_) => None,
        }
    }
}

impl Transaction {
    /// Returns its size, as [`TRANSACTION_BYTES_MAX`] bounds it: the paths, the contents, and
    /// [`TRANSACTION_ITEM_BYTES`] for each compare and operation.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let compares = self.compares.iter().map(|it| (&it.path, it.contents()));
        let operations = self.operations.iter().map(|it| (it.path(), it.contents()));
        compares
            .chain(operations)
            .map(|(path, contents)| {
                TRANSACTION_ITEM_BYTES + path.as_str().len() + contents.map_or(0, Contents::len)
            })
            .sum()
    }

    /// Tells whether it only deletes, and is small: then it is taken even where there is no more
    /// room.
    #[must_use]
    pub fn only_frees(&self) -> bool {
        let deletes = |it: &NodeOperation| matches!(it, NodeOperation::Delete(_));
        self.operations.iter().all(deletes)
            && self.compares.iter().all(|it| it.contents().is_none())
    }

    /// Checks that it is not too large, and not empty.
    ///
    /// # Errors
    /// The [`Refusal`] with which the cell would answer it.
    pub fn check(&self) -> Result<(), Refusal> {
        if self.operations.is_empty() {
            return Err(Refusal::Invalid {
                what: format!("a transaction has 1 to {TRANSACTION_OPERATIONS_MAX} operations"),
            });
        }
        at_most(
            "operations in one transaction",
            self.operations.len(),
            TRANSACTION_OPERATIONS_MAX,
        )?;
        at_most(
            "compares in one transaction",
            self.compares.len(),
            TRANSACTION_COMPARES_MAX,
        )?;
        let compared = self.compares.iter().filter_map(Compare::contents);
        let written = self.operations.iter().filter_map(NodeOperation::contents);
        for contents in compared.chain(written) {
            at_most(
                "bytes of contents in one node",
                contents.len(),
                CONTENTS_BYTES_MAX,
            )?;
        }
        at_most(
            "bytes of paths and contents in one transaction",
            self.bytes(),
            TRANSACTION_BYTES_MAX,
        )
    }
}

/// Refuses what is too much.
fn at_most(what: &str, found: usize, limit: usize) -> Result<(), Refusal> {
    if found <= limit {
        return Ok(());
    }
    Err(Refusal::Limit {
        what: what.to_owned(),
        limit: limit as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::{Compare, Condition, NodeOperation, Transaction};
    use crate::limits::{CONTENTS_BYTES_MAX, TRANSACTION_BYTES_MAX, TRANSACTION_OPERATIONS_MAX};
    use crate::{Contents, Delete, Path, Refusal, Set};

    fn set(bytes: usize) -> NodeOperation {
        NodeOperation::Set(Set {
            path: Path::root(),
            contents: Contents::from(vec![0; bytes]),
            if_content_generation: None,
            if_instance: None,
        })
    }

    fn delete() -> NodeOperation {
        NodeOperation::Delete(Delete {
            path: Path::root(),
            recursive: false,
            if_content_generation: None,
            if_instance: None,
        })
    }

    fn of(operations: Vec<NodeOperation>) -> Transaction {
        Transaction {
            compares: Vec::new(),
            operations,
        }
    }

    fn limit(transaction: &Transaction) -> Option<u64> {
        match transaction.check() {
            Err(Refusal::Limit { limit, .. }) => Some(limit),
            _ => None,
        }
    }

    #[test]
    fn transaction_has_one_to_128_operations() {
        assert!(matches!(of(vec![]).check(), Err(Refusal::Invalid { .. })));
        assert_eq!(
            of(vec![delete(); TRANSACTION_OPERATIONS_MAX]).check(),
            Ok(())
        );
        assert_eq!(limit(&of(vec![delete(); 129])), Some(128));
        let mut compares = of(vec![delete()]);
        compares.compares = vec![
            Compare {
                path: Path::root(),
                condition: Condition::Exists,
            };
            129
        ];
        assert_eq!(limit(&compares), Some(128));
    }

    #[test]
    fn transaction_is_bounded_in_all_its_bytes() {
        assert_eq!(of(vec![set(CONTENTS_BYTES_MAX); 3]).check(), Ok(()));
        let four = of(vec![set(CONTENTS_BYTES_MAX); 4]);
        assert_eq!(limit(&four), Some(TRANSACTION_BYTES_MAX as u64));
        let large = of(vec![set(CONTENTS_BYTES_MAX + 1)]);
        assert_eq!(limit(&large), Some(CONTENTS_BYTES_MAX as u64));
    }

    #[test]
    fn only_deletes_without_compared_contents_free_something() {
        let mut transaction = of(vec![delete(), delete()]);
        assert!(transaction.only_frees());
        transaction.compares.push(Compare {
            path: Path::root(),
            condition: Condition::Contents(Contents::default()),
        });
        assert!(!transaction.only_frees());
        assert!(!of(vec![delete(), set(0)]).only_frees());
    }
}
