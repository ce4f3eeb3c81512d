//! A node as a sequential object: absent, or one instance with a content generation and contents.

use super::Sequential;
use cotter_types::{Contents, Instance};

/// A node that is there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    /// Which life of the path this is.
    pub instance: Instance,
    /// The content generation.
    pub generation: u64,
    /// The contents.
    pub contents: Contents,
}

/// The state of one path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct NodeState {
    live: Option<Node>,
    /// The newest instance that was there; 0 before the first.
    newest: Instance,
}

/// What was done to a path, or seen of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeOperation {
    /// It was created, as this.
    Created(Node),
    /// A creation found this instance and content generation.
    Found(Instance, u64),
    /// Its contents were replaced, so that it is this now.
    Written {
        /// What it became.
        node: Node,
        /// The content generation that was asked for, if one was.
        if_generation: Option<u64>,
        /// The instance that was asked for, if one was.
        if_instance: Option<Instance>,
    },
    /// It was deleted.
    Deleted {
        /// The content generation that was asked for, if one was.
        if_generation: Option<u64>,
        /// The instance that was asked for, if one was.
        if_instance: Option<Instance>,
    },
    /// It was read.
    Read(Node),
    /// Its stat was read: instance, content generation, length of the contents.
    Stat(Instance, u64, u64),
    /// It was refused because there is no node.
    Absent,
    /// It was refused because there is a node.
    Present,
    /// A condition did not hold: this instance and content generation were there instead.
    Changed(Instance, u64),
    /// Something that was not asked for at this path changed it: a transaction, the end of a session
    /// or of a time to live, a deletion of what is above, a creation of what is below.
    Became {
        /// What was there.
        before: Option<Node>,
        /// What was there afterwards.
        after: Option<Node>,
    },
}

impl Sequential for NodeState {
    type Operation = NodeOperation;

    fn after(&self, operation: &NodeOperation) -> Option<Self> {
        let live = self.live.as_ref();
        let is = |instance: &Instance, generation: &u64| {
            live.is_some_and(|it| it.instance == *instance && it.generation == *generation)
        };
        let meets = |generation: &Option<u64>, instance: &Option<Instance>| {
            live.filter(|it| {
                generation.is_none_or(|wanted| wanted == it.generation)
                    && instance.is_none_or(|wanted| wanted == it.instance)
            })
        };
        let sees = match operation {
            NodeOperation::Created(node) => {
                let new = node.generation == 1 && node.instance > self.newest;
                return (live.is_none() && new).then(|| self.turned_into(Some(node)));
            }
            NodeOperation::Written {
                node,
                if_generation,
                if_instance,
            } => {
                let old = meets(if_generation, if_instance)?;
                let follows =
                    node.instance == old.instance && node.generation == old.generation + 1;
                return follows.then(|| self.turned_into(Some(node)));
            }
            NodeOperation::Deleted {
                if_generation,
                if_instance,
            } => {
                meets(if_generation, if_instance)?;
                return Some(self.turned_into(None));
            }
            NodeOperation::Became { before, after } => {
                return (self.live == *before).then(|| self.turned_into(after.as_ref()));
            }
            NodeOperation::Found(instance, generation)
            | NodeOperation::Changed(instance, generation) => is(instance, generation),
            NodeOperation::Stat(instance, generation, bytes) => {
                is(instance, generation)
                    && live.is_some_and(|it| it.contents.len() as u64 == *bytes)
            }
            NodeOperation::Read(node) => live == Some(node),
            NodeOperation::Absent => live.is_none(),
            NodeOperation::Present => live.is_some(),
        };
        sees.then(|| self.clone())
    }
}

impl NodeState {
    /// Returns the state in which this is there.
    #[must_use]
    pub fn of(node: &Option<Node>) -> Self {
        Self::default().turned_into(node.as_ref())
    }

    /// Tells whether exactly this is there.
    #[must_use]
    pub fn is(&self, node: &Option<Node>) -> bool {
        self.live == *node
    }

    fn turned_into(&self, node: Option<&Node>) -> Self {
        Self {
            live: node.cloned(),
            newest: node.map_or(self.newest, |it| it.instance.max(self.newest)),
        }
    }
}
