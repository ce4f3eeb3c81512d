//! One replica without its input and output: consensus, mastership, leases, admission, answers.
//!
//! Inputs go in, a turn ends, outputs come out; see [`Input`] for the law. The crate must never read
//! a clock, start a thread, touch a file or a socket, or iterate over a hash map: the driver in
//! `cotter-server` and the simulator in `cotter-tests` drive the very same code.
//!
//! Read it in the order in which a request passes: `door`, `master`, `reign`, `consensus`, `apply`.

mod apply;
mod calls;
mod candidate;
mod catch_up;
mod chapter;
mod consensus;
mod damage;
mod digests;
mod door;
mod io;
mod leases;
mod log;
mod master;
mod membership;
mod past;
mod reign;
mod replica;
mod shared_log;
mod status;
mod streams;
mod timing;
mod watchdog;

pub use chapter::ChapterPolicy;
pub use cotter_cell::FEATURE_LEVEL_MAX;
pub use digests::DIGEST_INTERVAL;
pub use io::{
    CallId, ChapterKey, Damaged, Fault, Happening, Input, Output, Peer, PeerMessage, StreamId,
};
pub use log::{ChapterLog, LogFault, LogRoom, Payload, ReplicaLog};
pub use past::Past;
pub use replica::{Member, Replica, ReplicaConfig};
pub use timing::Timing;
