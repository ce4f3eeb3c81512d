//! Guards of real stores: a late write of a past holder is refused by the store itself.
//!
//! A lock alone cannot keep a process from writing after it has lost the lock: it may be stopped
//! between looking at its [`Guard`](crate::Guard) and writing. The store can, if it remembers the
//! highest fencing token that it has been shown for a lock, and refuses a smaller one. That memory is
//! a table, `cotter_fences`, in the same database as the data, with one row for each lock that guards
//! something there; `FenceTable::check` compares and raises it inside the transaction that writes, so
//! that both are committed or neither is.
//!
//! ```no_run
//! # #[cfg(feature = "sqlite")]
//! # fn example(guard: &cotter_client::Guard) -> Result<(), Box<dyn std::error::Error>> {
//! use cotter_client::fencing::sqlite::{FenceTable, rusqlite};
//!
//! let mut connection = rusqlite::Connection::open("jobs.db")?;
//! let fence = FenceTable::create(&connection)?;
//! fence.write(&mut connection, &guard.sequencer()?, |transaction| {
//!     transaction.execute("UPDATE crawl SET page = page + 1", [])?;
//!     Ok::<_, Box<dyn std::error::Error>>(())
//! })?;
//! # Ok(())
//! # }
//! ```
//!
//! The row's key is the lock's path with the cell's name, and nothing else. Tokens rise for every
//! later acquisition of a path, also when its node was deleted and created again and when the cell
//! was restored from a backup; an instance or the cell's id in the key would give a holder of the
//! past a row of its own, where nobody has been before it.
//!
//! Caveats:
//! - A holder of the past is refused from the moment at which a later holder has shown its token *to
//!   this store*, not from the grant of the lock. So a new holder shows its token before it reads
//!   what it relies on: its first transaction begins with the check.
//! - Between check and commit a transaction holds the row, and a later holder's check waits for its
//!   end. Whatever is committed in between stands before anything that the later holder reads or
//!   writes, so there is nothing to check again at the end. A holder that is stopped at that point
//!   keeps its successor waiting, as long as the store lets it.
//! - Who does not check is not guarded against.
//! - A store that forgets transactions which it has confirmed forgets the tokens with them.
//! - Two cells of one name must not guard one database.
//!
//! `docs/FENCING.md` tells more, with the SQL for programs in other languages.

use cotter_types::{FencingToken, LockMode, Path, Sequencer, limits};

#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "sqlite")]
pub mod sqlite;

/// Why a write was not let through, or is not known to have been; `S` is the store's own error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FenceError<S> {
    /// The store has been shown a larger token: somebody acquired the lock later. Nothing that this
    /// holder still wants to write may be written; the transaction must be rolled back.
    #[error(
        "the holder of {path} with token {shown} is of the past: the store has seen token {seen}"
    )]
    Stale {
        /// The lock.
        path: Path,
        /// The largest token that the store has seen for it.
        seen: FencingToken,
        /// The token that was refused.
        shown: FencingToken,
    },
    /// The sequencer is of a shared lock. Its holders have one token, so that one whose session has
    /// ended cannot be told from those who still share the lock.
    #[error(
        "the lock {path} is shared, and one token stands for all who share it; \
         acquire it exclusively, or use check_shared if that suffices"
    )]
    Shared {
        /// The lock.
        path: Path,
    },
    /// No cell gives such a sequencer: its path must name the cell, and its token must lie between 1
    /// and 2^53 - 1.
    #[error("no cell gives a sequencer with token {shown} for {path}")]
    Invalid {
        /// The lock.
        path: Path,
        /// The token.
        shown: FencingToken,
    },
    /// There is no transaction any more: it was ended behind the guard's back, by a statement or by
    /// the store. What was written after its end is not guarded.
    #[error("the transaction has ended before its commit; begin another one")]
    NoTransaction,
    /// The store says no, for a reason of its own. The transaction is or must be rolled back.
    #[error(transparent)]
    Store(#[from] S),
    /// The store did not confirm the commit: the transaction may have taken place or not.
    #[error("the outcome is unknown: the commit was not confirmed: {0}")]
    Unconfirmed(#[source] S),
}

/// What a check has to compare, in the store's types.
struct Shown<'a> {
    path: &'a str,
    token: i64,
}

impl<'a> Shown<'a> {
    /// Takes from a sequencer what is stored. A token from outside of the range would shut out every
    /// real one for ever, and a path with `local` would have a row that no one else looks at.
    fn of<S>(sequencer: &'a Sequencer) -> Result<Self, FenceError<S>> {
        let (path, shown) = (&sequencer.path, sequencer.token);
        match i64::try_from(shown.0) {
            Ok(token) if (1..limits::TOKEN_LIMIT).contains(&shown.0) && path.cell() != "local" => {
                Ok(Self {
                    path: path.as_str(),
                    token,
                })
            }
            _ => Err(FenceError::Invalid {
                path: path.clone(),
                shown,
            }),
        }
    }

    /// As [`Self::of`], and refuses the sequencer of a shared lock.
    fn alone<S>(sequencer: &'a Sequencer) -> Result<Self, FenceError<S>> {
        match sequencer.mode {
            LockMode::Exclusive => Self::of(sequencer),
            LockMode::Shared => Err(FenceError::Shared {
                path: sequencer.path.clone(),
            }),
        }
    }

    fn stale<S>(&self, sequencer: &Sequencer, seen: i64) -> FenceError<S> {
        FenceError::Stale {
            path: sequencer.path.clone(),
            // The table holds no negative number.
            seen: FencingToken(seen.unsigned_abs()),
            shown: sequencer.token,
        }
    }
}
