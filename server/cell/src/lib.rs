//! The replicated state machine: tree, locks, queues, sessions; apply, query, invariants.

mod command;

pub use command::{Batch, Command, Entry, Genesis, Stamp};
