//! The replicated state machine: tree, locks, queues, sessions; apply, query, invariants.
//!
//! A [`Cell`] is changed by [`Cell::apply`] alone, one log entry at a time, and is the same on every
//! replica that applied the same entries. It knows no clock: time is what the entries are stamped
//! with. It knows no network, no disk and no lease: who may speak for the cell, and until when, is
//! the replica's to know.
//!
//! A reader can begin with `command.rs` (what comes in), go on to `apply.rs`, `mutate.rs`, `tree.rs`,
//! `transaction.rs`, `lock.rs`, `settle.rs` and `call.rs` (what it does), and end with `invariants.rs` (what must always be true). The
//! scripts in `tests/scripts` say the same by example, and are the specification.

mod apply;
mod call;
mod cell;
mod checkpoint;
mod command;
mod effect;
mod expiry;
mod footprint;
mod invariants;
mod ledger;
mod lock;
mod memory;
mod mutate;
mod query;
mod rebuild;
mod restore;
mod session;
mod settle;
mod state;
mod table;
mod transaction;
mod tree;

pub use cell::{Cell, FEATURE_LEVEL_MAX};
pub use checkpoint::{Chunk, Walk};
pub use command::{Batch, Command, Entry, Genesis, MemberAddress, Stamp, Voter};
pub use effect::{Applied, Effect, Recorded, RememberedCall};
pub use footprint::{Cacheable, Footprint};
pub use rebuild::{ChunkDigest, ChunkSum, RebuildError};
pub use restore::RestoreError;
pub use state::{Chapter, Counts, Mastership, Session};
