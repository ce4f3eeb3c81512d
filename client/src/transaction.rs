//! Transactions: several changes of nodes, set up in words and then sent as one.
//!
//! What is too large to be taken by any cell is refused here, before it is sent.

use crate::client::change;
use crate::error::ChangeError;
use crate::shared::Handle;
use cotter_types::{
    Compare, Condition, Contents, Create, Delete, Lifetime, Mutation, NodeOperation, NodeResult,
    NodeStat, Path, PathError, Response, Set, Transaction,
};

/// Changes several nodes together or not at all.
///
/// The compares (`if_…`) are looked at first, all of them against the state before; then the
/// operations are done in the order in which they were added, each seeing what the former did. What
/// has no word of its own here can be added with [`TransactionRequest::compare`] and
/// [`TransactionRequest::operation`].
///
/// ```no_run
/// # async fn example(client: cotter_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// let moved = client
///     .transaction()
///     .if_contents("/ls/local/job/state", "waiting")?
///     .set("/ls/local/job/state", "running")?
///     .create("/ls/local/job/worker", "host-7")?
///     .send()
///     .await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing happens until it is sent"]
pub struct TransactionRequest {
    handle: Handle,
    transaction: Transaction,
}

impl TransactionRequest {
    pub(crate) fn new(handle: Handle) -> Self {
        Self {
            handle,
            transaction: Transaction::default(),
        }
    }

    /// Only if the node exists.
    ///
    /// # Errors
    /// A [`PathError`] if the path breaks a rule.
    pub fn if_exists(self, path: &str) -> Result<Self, PathError> {
        self.when(path, Condition::Exists)
    }

    /// Only if there is no such node.
    ///
    /// # Errors
    /// A [`PathError`] if the path breaks a rule.
    pub fn if_absent(self, path: &str) -> Result<Self, PathError> {
        self.when(path, Condition::Absent)
    }

    /// Only if nobody has changed the node's contents since this stat was read.
    ///
    /// # Errors
    /// A [`PathError`] if the path breaks a rule.
    pub fn if_unchanged(self, path: &str, stat: &NodeStat) -> Result<Self, PathError> {
        let generation = Condition::ContentGeneration(stat.content_generation);
        self.when(path, Condition::Instance(stat.instance))?
            .when(path, generation)
    }

    /// Only if the node's contents are these bytes.
    ///
    /// # Errors
    /// A [`PathError`] if the path breaks a rule.
    pub fn if_contents(self, path: &str, contents: impl Into<Contents>) -> Result<Self, PathError> {
        self.when(path, Condition::Contents(contents.into()))
    }

    fn when(self, path: &str, condition: Condition) -> Result<Self, PathError> {
        let path = Path::parse(path)?;
        Ok(self.compare(Compare { path, condition }))
    }

    /// Adds a compare of any kind; at most 128.
    pub fn compare(mut self, compare: Compare) -> Self {
        self.transaction.compares.push(compare);
        self
    }

    /// Creates a permanent node; refused if it exists.
    ///
    /// # Errors
    /// A [`PathError`] if the path breaks a rule.
    pub fn create(self, path: &str, contents: impl Into<Contents>) -> Result<Self, PathError> {
        let create = Create {
            path: Path::parse(path)?,
            contents: contents.into(),
            lifetime: Lifetime::Permanent,
            parents: false,
            exclusive: true,
        };
        Ok(self.operation(NodeOperation::Create(create)))
    }

    /// Replaces a node's contents.
    ///
    /// # Errors
    /// A [`PathError`] if the path breaks a rule.
    pub fn set(self, path: &str, contents: impl Into<Contents>) -> Result<Self, PathError> {
        let set = Set {
            path: Path::parse(path)?,
            contents: contents.into(),
            if_content_generation: None,
            if_instance: None,
        };
        Ok(self.operation(NodeOperation::Set(set)))
    }

    /// Deletes a node without children.
    ///
    /// # Errors
    /// A [`PathError`] if the path breaks a rule.
    pub fn delete(self, path: &str) -> Result<Self, PathError> {
        let delete = Delete {
            path: Path::parse(path)?,
            recursive: false,
            if_content_generation: None,
            if_instance: None,
        };
        Ok(self.operation(NodeOperation::Delete(delete)))
    }

    /// Adds an operation of any kind; there are 1 to 128. An ephemeral node is held open by this
    /// session.
    pub fn operation(mut self, operation: NodeOperation) -> Self {
        self.transaction.operations.push(operation);
        self
    }

    /// Sends it, and returns what each operation achieved, in order.
    ///
    /// # Errors
    /// A [`ChangeError`]. If a compare does not hold or an operation is refused, that is
    /// `Refused(Refusal::TransactionFailed { .. })`, which tells which, and nothing was changed; if
    /// the whole is empty or too large, it is `Refused` with that reason, and nothing was sent.
    pub async fn send(self) -> Result<Vec<NodeResult>, ChangeError> {
        self.transaction.check().map_err(ChangeError::Refused)?;
        let operations = self.transaction.operations.len();
        match change(&self.handle, Mutation::Transaction(self.transaction)).await? {
            Response::Applied { results } if results.len() == operations => Ok(results),
            _ => Err(ChangeError::Misfit),
        }
    }
}
