//! What a client may believe: leases, jeopardy, retries, reattachment.
//!
//! No input, no output, no clock: the driver in `cotter-client` and the simulator feed it.

mod io;

pub use io::{Call, CallId, ConnectionId, Input, Outcome, Output, State};
