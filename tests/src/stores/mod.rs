//! Real stores that a lock protects, and holders that write into them.
//!
//! SQLite is a file. PostgreSQL is started by the tests themselves, as Debian's package installs it;
//! without the package its tests say that they were skipped, unless [`POSTGRES_REQUIRED`] is set.
//! [`paused`] is the story for which fencing exists: a holder that stands still between its last look
//! at the lock and its write.

mod ledger;
pub mod paused;
mod postgres;

pub use ledger::{Entry, Ledger, Written};
pub use postgres::{POSTGRES_REQUIRED, Postgres, connect};

use cotter_types::{FencingToken, Instance, LockMode, Path, Sequencer};

/// Makes the sequencer that an exclusive holder of `path` with `token` would have.
///
/// # Panics
/// If `path` breaks a rule.
#[must_use]
pub fn sequencer(path: &str, token: u64) -> Sequencer {
    Sequencer {
        path: Path::parse(path).expect("the path of a test is valid"),
        mode: LockMode::Exclusive,
        token: FencingToken(token),
        instance: Instance(1),
        lock_generation: token,
    }
}
