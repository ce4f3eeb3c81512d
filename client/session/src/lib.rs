//! What a client may believe: leases, jeopardy, retries, reattachment.
//!
//! One [`Session`] is one session of a cell, over one connection at a time. It finds the master,
//! opens its session there, keeps the lease, and sends every request until it is answered, once.
//!
//! Pure: no input, no output, no clock, no chance but the seed. The driver in `cotter-client` and
//! the simulator feed it; what goes in and what comes out is in the types of this crate, and time is
//! an argument. It must never tell more than it may believe: a lease counts from *before* the frame
//! that was confirmed was sent, less the drift of two clocks, so the client's belief ends before the
//! master's.
//!
//! | module | what it decides |
//! |---|---|
//! | `session` | what happens on each input; the states and who may pass from one to another |
//! | `belief` | until when the lease stands |
//! | `connection` | one connection: greeting, attachment, keepalives, silence |
//! | `search` | where to look for the master, and when |
//! | `ledger` | mutations: numbers, the window, what is answered, what is acknowledged |
//! | `queries` | queries that are not answered yet |
//! | `patience` | how long each call may take |
//! | `circuit` | whether the cell can be reached at all |
//!
//! The numbered invariants stand at the head of `session`.

mod belief;
mod circuit;
mod config;
mod connection;
mod io;
mod ledger;
mod patience;
mod queries;
mod random;
mod search;
mod session;

#[cfg(test)]
mod tests;

pub use circuit::{Circuit, Trouble, Unreachable};
pub use config::SessionConfig;
pub use io::{Call, CallId, ConnectionId, Input, Outcome, Output, State};
pub use patience::Patience;
pub use search::{MasterSearch, Verdict};
pub use session::Session;
