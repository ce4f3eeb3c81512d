//! What can be asked of a cell, and what it answers.

use crate::{
    Contents, Explanation, Instance, Lifetime, LockMode, LockRow, NodeResult, NodeStat, Path,
    RequestNumber, Revision, Sequencer, SessionId, SessionView, Transaction, Wait,
};
use serde::{Deserialize, Serialize};

/// Creates a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Create {
    /// Where.
    pub path: Path,
    /// Initial contents.
    pub contents: Contents,
    /// How long the node shall live. An ephemeral node is held open by the session.
    pub lifetime: Lifetime,
    /// Create missing parents too, as permanent nodes.
    pub parents: bool,
    /// If the node exists: refuse (true), or leave it as it is and say so (false). An ephemeral node
    /// that exists is then held open by this session too.
    pub exclusive: bool,
}

/// Creates a node whose name ends in a number that its parent has never given before: ten digits,
/// zero-padded, so that names sort as they were numbered. A name that another node has is passed
/// over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateSequential {
    /// Where; the number is appended to the last name.
    pub path: Path,
    /// Initial contents.
    pub contents: Contents,
    /// How long the node shall live. An ephemeral node is held open by the session.
    pub lifetime: Lifetime,
    /// Create missing parents too, as permanent nodes.
    pub parents: bool,
}

/// Replaces a node's contents. A node with a time to live begins it anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Set {
    /// Which node.
    pub path: Path,
    /// The new contents.
    pub contents: Contents,
    /// Only if the content generation is this one (compare-and-set).
    pub if_content_generation: Option<u64>,
    /// Only if the instance is this one.
    pub if_instance: Option<Instance>,
}

/// Deletes a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delete {
    /// Which node.
    pub path: Path,
    /// With everything below it, at most
    /// [`DELETE_NODES_MAX`](crate::limits::DELETE_NODES_MAX) nodes, all or none.
    pub recursive: bool,
    /// Only if the content generation is this one.
    pub if_content_generation: Option<u64>,
    /// Only if the instance is this one.
    pub if_instance: Option<Instance>,
}

/// Acquires a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acquire {
    /// Which lock.
    pub path: Path,
    /// Shared or exclusive.
    pub mode: LockMode,
    /// How long to wait.
    pub wait: Wait,
    /// How long the lock stays unavailable if this holder's session expires, in milliseconds.
    pub lock_delay_ms: u64,
    /// Tell this holder when others wait.
    pub conflict_notice: bool,
    /// Create the node (and missing parents, as permanent nodes) if there is none.
    pub create: Option<Lifetime>,
}

/// A request that changes the cell, sent within a session under a [`RequestNumber`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mutation {
    /// Creates a node. Answered by [`Response::Created`].
    Create(Create),
    /// Replaces contents. Answered by [`Response::Written`].
    Set(Set),
    /// Deletes. Answered by [`Response::Deleted`].
    Delete(Delete),
    /// Stops holding an ephemeral node open. Answered by [`Response::Done`].
    Unhold {
        /// Which node.
        path: Path,
    },
    /// Acquires a lock. Answered by [`Response::Acquired`], perhaps much later.
    Acquire(Acquire),
    /// Releases what the acquire `number` got. Answered by [`Response::Done`].
    Release {
        /// Which lock.
        path: Path,
        /// The number of the acquire.
        number: RequestNumber,
    },
    /// Makes sure that the acquire `number` waits for nothing and holds nothing, whether it has
    /// arrived, waits, or was granted. Answered by [`Response::Done`].
    Cancel {
        /// The number of the acquire.
        number: RequestNumber,
    },
    /// Ends the session. Answered by [`Response::Done`].
    Close,
    /// Creates a node with a number in its name. Answered by [`Response::CreatedAt`].
    CreateSequential(CreateSequential),
    /// Changes several nodes together or not at all. Answered by [`Response::Applied`], or refused
    /// with [`Refusal::TransactionFailed`](crate::Refusal::TransactionFailed).
    Transaction(Transaction),
}

/// A request that only looks. Answered by the master under its lease, without a log entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Query {
    /// Contents and stat of a node. Answered by [`QueryResponse::Node`].
    Get {
        /// Which node.
        path: Path,
    },
    /// Stat of a node. Answered by [`QueryResponse::Stat`].
    Stat {
        /// Which node.
        path: Path,
    },
    /// Children of a node with their stats, in order of name. Answered by [`QueryResponse::List`].
    List {
        /// Which node.
        path: Path,
        /// Only names after this one; empty for the first page.
        after: String,
        /// At most so many; 0 for the default.
        limit: u32,
    },
    /// Who holds a lock, who waits, and why. Answered by [`QueryResponse::Explain`].
    Explain {
        /// Which lock.
        path: Path,
    },
    /// Locks that are held, waited for or delayed, in order of path. Answered by
    /// [`QueryResponse::Locks`].
    Locks {
        /// Only within this path.
        within: Path,
        /// Only paths after this one.
        after: Option<Path>,
        /// At most so many; 0 for the default.
        limit: u32,
    },
    /// Sessions in order of id. Answered by [`QueryResponse::Sessions`].
    Sessions {
        /// Only ids after this one; 0 for the first page.
        after: SessionId,
        /// At most so many; 0 for the default.
        limit: u32,
    },
    /// Whether a sequencer is current. Answered by [`QueryResponse::Sequencer`].
    CheckSequencer {
        /// The sequencer.
        sequencer: Sequencer,
    },
    /// How the cell is. Answered by any replica, each for itself, with [`QueryResponse::Status`].
    Status,
}

/// What a mutation achieved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// Nothing more to say.
    Done,
    /// The node is there.
    Created {
        /// Whether this request created it.
        created: bool,
        /// Its stat.
        stat: NodeStat,
    },
    /// The contents are replaced.
    Written {
        /// The stat afterwards.
        stat: NodeStat,
    },
    /// So many nodes are gone.
    Deleted {
        /// How many.
        nodes: u64,
    },
    /// The lock is held.
    Acquired {
        /// What to show to others.
        sequencer: Sequencer,
        /// How long it waited in the queue, in milliseconds of cell time.
        waited_ms: u64,
    },
    /// A node was created under a name with a number.
    CreatedAt {
        /// Its path, the number included.
        path: Path,
        /// Its stat.
        stat: Box<NodeStat>,
    },
    /// A transaction was made.
    Applied {
        /// What each operation achieved, in order.
        results: Vec<NodeResult>,
    },
}

/// One page of a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListPage {
    /// Names with stats.
    pub children: Vec<(String, NodeStat)>,
    /// Whether there are more.
    pub more: bool,
}

/// What a query found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum QueryResponse {
    /// A node with its contents.
    Node {
        /// The contents.
        contents: Contents,
        /// The stat.
        stat: NodeStat,
        /// The revision at which this was true.
        revision: Revision,
    },
    /// A node's stat.
    Stat {
        /// The stat.
        stat: NodeStat,
        /// The revision at which this was true.
        revision: Revision,
    },
    /// A page of children.
    List {
        /// The page.
        page: ListPage,
        /// The revision at which this was true.
        revision: Revision,
    },
    /// All about a lock.
    Explain(Box<Explanation>),
    /// A page of locks.
    Locks {
        /// The rows.
        rows: Vec<LockRow>,
        /// Whether there are more.
        more: bool,
    },
    /// A page of sessions.
    Sessions {
        /// The rows.
        rows: Vec<SessionView>,
        /// Whether there are more.
        more: bool,
    },
    /// Whether the sequencer is current.
    Sequencer {
        /// True if the acquisition that it names still holds the lock.
        current: bool,
    },
    /// How the cell is.
    Status(Box<crate::CellStatus>),
}

/// Which outcomes a client has received and will never ask for again: all up to `floor`, and the
/// ranges (first, last) `above` it, ascending and apart from each other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    /// Everything up to here.
    pub floor: RequestNumber,
    /// And these, both ends included.
    pub above: Vec<(RequestNumber, RequestNumber)>,
}
