//! What can be asked over HTTP: one closed list.
//!
//! The routes are made from it, and the published description is compared with it, so neither can
//! have what the other has not.

use cotter_types::limits::CONTENTS_BYTES_MAX;

/// Largest JSON body of what is about one lock, in bytes: a path, ids, and who it is.
const SMALL_BODY_BYTES_MAX: usize = 32 * 1_024;
/// Largest JSON body of a transaction, in bytes: twice what a transaction may hold, because JSON
/// escapes.
const TRANSACTION_BODY_BYTES_MAX: usize = 2 * cotter_types::limits::TRANSACTION_BYTES_MAX;

/// A method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verb {
    /// Looks, and `HEAD` with it.
    Get,
    /// Writes contents.
    Put,
    /// Acts.
    Post,
    /// Deletes.
    Delete,
}

/// What the body of a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// Nothing.
    Nothing,
    /// JSON of at most so many bytes.
    Json(usize),
    /// A node's contents, as they are, of at most so many bytes.
    Contents(usize),
}

/// One thing that can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    /// Acquires a lock that has a lease of its own.
    Acquire,
    /// Extends its lease.
    Renew,
    /// Releases it.
    Release,
    /// Tells who holds a lock and who waits.
    Explain,
    /// Lists the locks that are in use.
    Locks,
    /// Tells whether a sequencer is current.
    CheckSequencer,
    /// Reads or lists a node.
    GetNode,
    /// Writes a node.
    PutNode,
    /// Deletes a node.
    DeleteNode,
    /// Changes several nodes together or not at all.
    Transaction,
    /// Tells how the cell is, as this replica sees it.
    Cell,
    /// Lists sessions.
    Sessions,
    /// Tells whether clients should come.
    Health,
    /// Describes all this.
    OpenApi,
}

/// Header that names a change, so that it can be repeated.
pub(super) const REQUEST_ID: &str = "cotter-request-id";
/// Header that binds a change to an acquisition.
pub(super) const SEQUENCER: &str = "cotter-sequencer";
/// Header that says how long the answer may take.
pub(super) const TIMEOUT_MS: &str = "cotter-timeout-ms";
/// Conditions of RFC 9110.
pub(super) const IF_MATCH: &str = "if-match";
/// The other condition.
pub(super) const IF_NONE_MATCH: &str = "if-none-match";

impl Operation {
    /// Everything that can be asked.
    pub(super) const ALL: [Self; 14] = [
        Self::Acquire,
        Self::Renew,
        Self::Release,
        Self::Explain,
        Self::Locks,
        Self::CheckSequencer,
        Self::GetNode,
        Self::PutNode,
        Self::DeleteNode,
        Self::Transaction,
        Self::Cell,
        Self::Sessions,
        Self::Health,
        Self::OpenApi,
    ];

    /// Returns its name, for metrics and as the operation's id in the description.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Acquire => "acquire",
            Self::Renew => "renew",
            Self::Release => "release",
            Self::Explain => "explain",
            Self::Locks => "locks",
            Self::CheckSequencer => "check_sequencer",
            Self::GetNode => "get_node",
            Self::PutNode => "put_node",
            Self::DeleteNode => "delete_node",
            Self::Transaction => "transaction",
            Self::Cell => "cell",
            Self::Sessions => "sessions",
            Self::Health => "health",
            Self::OpenApi => "openapi",
        }
    }

    /// Returns its method.
    pub(super) fn method(self) -> Verb {
        match self {
            Self::Acquire | Self::Renew | Self::Release | Self::Transaction => Verb::Post,
            Self::PutNode => Verb::Put,
            Self::DeleteNode => Verb::Delete,
            Self::Explain
            | Self::Locks
            | Self::CheckSequencer
            | Self::GetNode
            | Self::Cell
            | Self::Sessions
            | Self::Health
            | Self::OpenApi => Verb::Get,
        }
    }

    /// Returns its route.
    pub(super) fn route(self) -> &'static str {
        match self {
            Self::Acquire => "/v1/acquire",
            Self::Renew => "/v1/renew",
            Self::Release => "/v1/release",
            Self::Explain => "/v1/explain",
            Self::Locks => "/v1/locks",
            Self::CheckSequencer => "/v1/sequencers/check",
            Self::GetNode | Self::PutNode | Self::DeleteNode => "/v1/nodes/{*path}",
            Self::Transaction => "/v1/transactions",
            Self::Cell => "/v1/cell",
            Self::Sessions => "/v1/sessions",
            Self::Health => "/healthz",
            Self::OpenApi => "/v1/openapi.json",
        }
    }

    /// Returns what its body is.
    pub(super) fn body(self) -> Expected {
        match self {
            Self::Acquire | Self::Renew | Self::Release => Expected::Json(SMALL_BODY_BYTES_MAX),
            Self::Transaction => Expected::Json(TRANSACTION_BODY_BYTES_MAX),
            Self::PutNode => Expected::Contents(CONTENTS_BYTES_MAX),
            Self::Explain
            | Self::Locks
            | Self::CheckSequencer
            | Self::GetNode
            | Self::DeleteNode
            | Self::Cell
            | Self::Sessions
            | Self::Health
            | Self::OpenApi => Expected::Nothing,
        }
    }

    /// Returns the parameters that it knows.
    pub(super) fn parameters(self) -> &'static [&'static str] {
        match self {
            Self::Explain => &["path"],
            Self::Locks => &["within", "after", "limit"],
            Self::CheckSequencer => &["sequencer"],
            Self::GetNode => &["raw", "stat", "list", "after", "limit"],
            Self::PutNode => &["parents", "ttl_ms"],
            Self::DeleteNode => &["recursive"],
            Self::Sessions => &["after", "limit"],
            Self::Acquire
            | Self::Renew
            | Self::Release
            | Self::Transaction
            | Self::Cell
            | Self::Health
            | Self::OpenApi => &[],
        }
    }

    /// Returns the headers that change what it does.
    pub(super) fn headers(self) -> &'static [&'static str] {
        match self {
            Self::PutNode => &[IF_MATCH, IF_NONE_MATCH, REQUEST_ID, SEQUENCER, TIMEOUT_MS],
            Self::DeleteNode => &[IF_MATCH, REQUEST_ID, SEQUENCER, TIMEOUT_MS],
            Self::Transaction => &[REQUEST_ID, SEQUENCER, TIMEOUT_MS],
            Self::GetNode => &[IF_NONE_MATCH, TIMEOUT_MS],
            Self::Acquire
            | Self::Renew
            | Self::Release
            | Self::Explain
            | Self::Locks
            | Self::CheckSequencer
            | Self::Cell
            | Self::Sessions => &[TIMEOUT_MS],
            Self::Health | Self::OpenApi => &[],
        }
    }
}
