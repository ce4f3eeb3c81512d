//! One replica without its input and output: consensus, mastership, leases, admission, answers.

mod io;
mod log;

pub use io::{Fault, Happening, Input, Output, PeerMessage, StreamId};
pub use log::{LogFault, LogRoom, Payload, ReplicaLog};
