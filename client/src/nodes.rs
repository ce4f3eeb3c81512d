//! Changes of nodes, each set up in words and then sent.

use crate::client::change;
use crate::error::ChangeError;
use crate::shared::Handle;
use cotter_types::{
    Contents, Create, CreateSequential, Delete, Instance, Lifetime, Mutation, NodeStat, Path,
    Response, Set,
};
use std::time::Duration;

/// What became of a creation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    /// Where the node is, the number included if the name is sequential.
    pub path: Path,
    /// Whether this request created the node; false if it was there.
    pub created: bool,
    /// The node's stat.
    pub stat: NodeStat,
}

/// Creates a node.
#[derive(Debug)]
#[must_use = "nothing happens until it is sent"]
pub struct CreateRequest {
    handle: Handle,
    create: Create,
    sequential: bool,
}

impl CreateRequest {
    pub(crate) fn new(handle: Handle, path: Path) -> Self {
        let create = Create {
            path,
            contents: Contents::default(),
            lifetime: Lifetime::Permanent,
            parents: false,
            exclusive: false,
        };
        Self {
            handle,
            create,
            sequential: false,
        }
    }

    /// Gives it contents, at most 256 KiB.
    pub fn contents(mut self, contents: impl Into<Contents>) -> Self {
        self.create.contents = contents.into();
        self
    }

    /// Lets it live only while a live session holds it open, as this one then does.
    pub fn ephemeral(mut self) -> Self {
        self.create.lifetime = Lifetime::Ephemeral;
        self
    }

    /// Lets it live so long since it was created or last set, and then until its lock is free. From
    /// 1 second to 10 years, in whole milliseconds; takes the place of
    /// [`CreateRequest::ephemeral`], as that does of this.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        let ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        self.create.lifetime = Lifetime::Ttl { ms };
        self
    }

    /// Appends a number to the name that the parent has never given before: ten digits, so that
    /// names sort as they were numbered. [`Created::path`] tells the whole. There is always a new
    /// node, so [`CreateRequest::exclusive`] adds nothing.
    pub fn sequential(mut self) -> Self {
        self.sequential = true;
        self
    }

    /// Creates missing parents too, as permanent nodes.
    pub fn parents(mut self) -> Self {
        self.create.parents = true;
        self
    }

    /// Refuses if the node exists, instead of leaving it as it is.
    pub fn exclusive(mut self) -> Self {
        self.create.exclusive = true;
        self
    }

    /// Sends it.
    ///
    /// # Errors
    /// A [`ChangeError`].
    pub async fn send(self) -> Result<Created, ChangeError> {
        let asked = self.create.path.clone();
        let mutation = if self.sequential {
            Mutation::CreateSequential(sequential(self.create))
        } else {
            Mutation::Create(self.create)
        };
        match (change(&self.handle, mutation).await?, self.sequential) {
            (Response::Created { created, stat }, false) => Ok(Created {
                path: asked,
                created,
                stat,
            }),
            (Response::CreatedAt { path, stat }, true) => Ok(Created {
                path,
                created: true,
                stat: *stat,
            }),
            _ => Err(ChangeError::Misfit),
        }
    }
}

/// Makes a creation sequential.
fn sequential(create: Create) -> CreateSequential {
    let Create {
        path,
        contents,
        lifetime,
        parents,
        exclusive: _,
    } = create;
    CreateSequential {
        path,
        contents,
        lifetime,
        parents,
    }
}

/// Replaces a node's contents.
#[derive(Debug)]
#[must_use = "nothing happens until it is sent"]
pub struct SetRequest {
    handle: Handle,
    set: Set,
}

impl SetRequest {
    pub(crate) fn new(handle: Handle, path: Path, contents: Contents) -> Self {
        let set = Set {
            path,
            contents,
            if_content_generation: None,
            if_instance: None,
        };
        Self { handle, set }
    }

    /// Only if nobody has changed the node since this stat was read (compare-and-set).
    pub fn if_unchanged(mut self, stat: &NodeStat) -> Self {
        self.set.if_content_generation = Some(stat.content_generation);
        self.set.if_instance = Some(stat.instance);
        self
    }

    /// Only if the content generation is this one. Together with [`SetRequest::if_instance`], since
    /// a node that is deleted and created again starts anew.
    pub fn if_content_generation(mut self, generation: u64) -> Self {
        self.set.if_content_generation = Some(generation);
        self
    }

    /// Only if the instance is this one.
    pub fn if_instance(mut self, instance: Instance) -> Self {
        self.set.if_instance = Some(instance);
        self
    }

    /// Sends it, and returns the stat afterwards.
    ///
    /// # Errors
    /// A [`ChangeError`]; a lost compare-and-set is `Refused(Refusal::Changed { .. })`.
    pub async fn send(self) -> Result<NodeStat, ChangeError> {
        match change(&self.handle, Mutation::Set(self.set)).await? {
            Response::Written { stat } => Ok(stat),
            _ => Err(ChangeError::Misfit),
        }
    }
}

/// Deletes a node.
#[derive(Debug)]
#[must_use = "nothing happens until it is sent"]
pub struct DeleteRequest {
    handle: Handle,
    delete: Delete,
}

impl DeleteRequest {
    pub(crate) fn new(handle: Handle, path: Path) -> Self {
        let delete = Delete {
            path,
            recursive: false,
            if_content_generation: None,
            if_instance: None,
        };
        Self { handle, delete }
    }

    /// With everything below it, all or none; at most 1,000 nodes.
    pub fn recursive(mut self) -> Self {
        self.delete.recursive = true;
        self
    }

    /// Only if nobody has changed the node since this stat was read.
    pub fn if_unchanged(mut self, stat: &NodeStat) -> Self {
        self.delete.if_content_generation = Some(stat.content_generation);
        self.delete.if_instance = Some(stat.instance);
        self
    }

    /// Only if the content generation is this one.
    pub fn if_content_generation(mut self, generation: u64) -> Self {
        self.delete.if_content_generation = Some(generation);
        self
    }

    /// Only if the instance is this one.
    pub fn if_instance(mut self, instance: Instance) -> Self {
        self.delete.if_instance = Some(instance);
        self
    }

    /// Sends it, and returns how many nodes are gone.
    ///
    /// # Errors
    /// A [`ChangeError`].
    pub async fn send(self) -> Result<u64, ChangeError> {
        match change(&self.handle, Mutation::Delete(self.delete)).await? {
            Response::Deleted { nodes } => Ok(nodes),
            _ => Err(ChangeError::Misfit),
        }
    }
}
