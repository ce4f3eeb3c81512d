//! The words that every part of Cotter shares.
//!
//! Paths, ids, operations, their responses and refusals, the frames of the `Attach` stream, limits.
//! Both sides of the wire are written in these types; `cotter-proto` turns them into bytes.
//!
//! This crate must never do anything: no clock, no input, no output, no thread, no hash map.

mod administration;
mod call;
mod frame;
mod history;
mod id;
pub mod limits;
mod lock;
pub mod mutation;
mod node;
mod operation;
mod path;
mod refusal;
mod sequencer;
mod session;
mod time;
mod transaction;
mod transaction_json;

pub use administration::{Administered, Administration};
pub use call::{
    Call, CallAnswer, CallIdError, CallResponse, LeasedAcquire, LockId, NodeChange, RequestId,
};
pub use frame::{Answer, ClientFrame, Notice, ServerFrame, Welcome};
pub use history::{
    Doer, HistoryCoverage, HistoryPage, HistoryPosition, HistoryQuery, HistorySpan, PastChange,
    PastEvent,
};
pub use id::{
    CellId, Epoch, FencingToken, Instance, Nonce, ReplicaId, RequestNumber, Revision, SessionId,
};
pub use lock::{
    ChangeOfHands, Explanation, HandEnd, HolderView, LockMode, LockRow, Wait, WaiterView,
};
pub use node::{Contents, Lifetime, NodeStat};
pub use operation::{
    Acknowledged, Acquire, Create, CreateSequential, Delete, ListPage, Mutation, Query,
    QueryResponse, Response, Set,
};
pub use path::{Path, PathError};
pub use refusal::{Refusal, Unavailable};
pub use sequencer::{Sequencer, SequencerError};
pub use session::{EndReason, OpenSession, SessionMetadata, SessionView, check_lease_ms};
pub use time::{CellTime, Moment};
pub use transaction::{Compare, Condition, NodeOperation, NodeResult, Transaction};
pub use transaction_json::{TransactionJson, TransactionJsonError};

mod status;
pub use status::{CellStatus, MemberStatus, Role};
