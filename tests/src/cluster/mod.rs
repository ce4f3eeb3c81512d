//! Cells of real processes: the daemon and the command line as users run them, ended, killed and
//! frozen by real signals.
//!
//! The simulator proves the rules; this proves that what is installed keeps them: files, sockets,
//! process groups, exit statuses. Nothing here looks inside a process. A test says what happened in
//! files that its processes wrote and in what they answered, and times come from `CLOCK_BOOTTIME`,
//! the clock that leases are counted with.
//!
//! It must never end a process that it did not start, use a fixed port, or wait without a bound;
//! everything that it started is ended when its value is dropped, and its log is shown when the test
//! has failed.

mod binaries;
mod cell;
mod disk;
mod http2;
mod injection;
mod journal;
mod ledger;
mod needs;
mod ports;
mod process;
mod replica;
mod system;
mod turns;
mod waiting;

pub use binaries::{built, cotter, cotterd, example};
pub use cell::{Cell, DevCell, cotter_at};
pub use disk::{POWER_DISK_NEEDS, PowerDisk, SmallDisk, flip_bit};
pub use http2::{HTTP2_OPENING, data_frame, headers_frame};
pub use injection::{INJECTION_NEEDS, Injection};
pub use journal::{Journal, Turn};
pub use ledger::{Acknowledged, Ledger};
pub use needs::{FAULTS_REQUIRED, fault_count, root_with};
pub use ports::free_ports;
pub use process::{Finished, Process, finish, finish_within};
pub use replica::{Happened, Replica};
pub use system::{children_of, lives, name_of, now_ms, state_of};
pub use turns::{Contenders, Track};
pub use waiting::{PATIENCE, alone, eventually, eventually_some, fault_time};
