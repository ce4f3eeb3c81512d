//! The client library of Cotter: connect, keep a session, take a lock, and know when it is lost.
//!
//! ```no_run
//! use cotter_client::{Client, Wait};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::builder().endpoints_from_env().name("crawler").connect().await?;
//! let guard = client.lock("/ls/local/jobs/crawl")?.wait(Wait::Ms(5_000)).acquire().await?;
//! tokio::select! {
//!     lost = guard.lost() => println!("stop working: {lost}"),
//!     () = work(guard.sequencer()?) => guard.release().await?,
//! }
//! client.close().await?;
//! # Ok(())
//! # }
//! # async fn work(_: cotter_client::Sequencer) {}
//! ```
//!
//! A [`Client`] is one session. It is kept by a thread of its own, so that nothing the application
//! does can starve it; the master may change and connections may break, and calls only take longer.
//!
//! What may be believed has an end. The session is [`SessionState::Safe`] while its lease stands by
//! *this machine's* clock, and that ends before the cell's count does. Then it is in
//! [`SessionState::Jeopardy`]: guards give no sequencer, [`Guard::lost`] resolves, calls wait. When
//! the cell proves to know the session still, all is as before; when the grace period has passed, or
//! the cell says so, it is [`SessionState::Expired`], and a new client is needed. The library never
//! panics and never ends the process.
//!
//! Every call ends: answered, refused by the cell, at its deadline ([`ClientBuilder::call_timeout`],
//! [`Client::with_call_timeout`]), or with the session; nothing waits for ever unless asked to. When
//! no replica has been of use for [`ClientBuilder::unreachable_after`], the cell is
//! [`Reachability::Unreachable`]: calls that would only wait fail at once and say so, the session goes
//! on trying by itself, and the first success ends it. An error says which of these is true: nothing
//! was done (`Refused`, `NotSent`, `Unreachable`), or nobody knows (`Unknown`): a change that was sent
//! is never reported as failed. An acquire that is given up is cancelled in the cell.
//!
//! What it cannot promise: if the clocks of two machines differ in rate by more than 1 %, or a
//! hypervisor freezes this machine's time, a holder of the past may not know it. Everything that the
//! lock protects should therefore check the [`Sequencer`] or its token. For tables in SQLite and
//! PostgreSQL the module `fencing` does, with the feature `sqlite` (or `sqlite-bundled`, which builds
//! SQLite too) or `postgres`; none of them is on by default.
//!
//! An [`Observer`] only looks, and needs no session. What can be looked at is in [`Reads`].

mod administration;
mod at_master;
mod backup;
mod builder;
mod client;
mod clock;
mod driver;
mod error;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub mod fencing;
mod history;
mod lock;
mod net;
mod nodes;
mod observer;
mod reads;
mod shared;
mod stream;
mod transaction;

#[cfg(test)]
mod tests;

pub use administration::AdministrationError;
pub use backup::{Backup, BackupError, BackupSummary};
pub use builder::{
    CALL_TIMEOUT_DEFAULT, ClientBuilder, DEFAULT_ENDPOINT, ENDPOINTS_VARIABLE,
    UNREACHABLE_AFTER_DEFAULT,
};
pub use client::Client;
pub use clock::now;
pub use error::{
    AcquireError, ChangeError, CloseError, ConnectError, Cut, Lost, QueryError, ReleaseError,
};
pub use history::HistoryError;
pub use lock::{Guard, LockRequest};
pub use nodes::{CreateRequest, Created, DeleteRequest, SetRequest};
pub use observer::Observer;
pub use reads::{Node, Page, Reads};
pub use shared::{Conflict, Reachability, SessionState};
pub use transaction::TransactionRequest;

pub use cotter_session::{Trouble, Unreachable};
pub use cotter_types::{
    Administered, Administration, CellId, CellStatus, ChangeOfHands, Compare, Condition, Contents,
    Create, CreateSequential, Delete, Doer, Explanation, FencingToken, HistoryCoverage,
    HistoryPage, HistoryPosition, HistoryQuery, HistorySpan, Instance, Lifetime, ListPage,
    LockMode, LockRow, MemberStatus, Moment, NodeOperation, NodeResult, NodeStat, PastChange,
    PastEvent, Path, PathError, Refusal, ReplicaId, RequestNumber, Revision, Sequencer,
    SequencerError, SessionId, SessionView, Set, Transaction, Wait,
};
