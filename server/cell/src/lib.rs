//! The replicated state machine: tree, locks, queues, sessions; apply, query, invariants.

mod apply;
mod cell;
mod command;
mod effect;
mod footprint;
mod invariants;
mod ledger;
mod query;
mod state;
mod table;

pub use cell::{Cell, FEATURE_LEVEL_MAX};
pub use command::{Batch, Command, Entry, Genesis, Stamp};
pub use effect::{Applied, Effect, Recorded};
pub use footprint::{Cacheable, Footprint};
pub use state::{Counts, Mastership, Session};
