//! The guard for SQLite.
//!
//! SQLite has one writer at a time, and a transaction that has read an old state cannot begin to
//! write ([`SQLITE_BUSY_SNAPSHOT`](https://sqlite.org/rescode.html#busy_snapshot)). The check writes,
//! so from the check to its end a transaction is alone, whatever it has read before.
//!
//! Caveats: the fence stands in `main`, and guards what is written in the same file; data in an
//! *attached* file are not committed together with it (in WAL mode), and must have a guard of their
//! own there. Another writer makes a check wait for the connection's busy timeout (5 s with
//! rusqlite), then it is refused as busy.

use super::{FenceError, Shown};
use cotter_types::Sequencer;
use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior, params};

/// The crate, in the version that [`FenceTable`] takes transactions of.
pub use rusqlite;

/// Creates the table, if there is none.
///
/// The constraints keep out what other programs might store by mistake: a token as text, which SQLite
/// would take to be larger than every number; a path as bytes, or with `local`, which would have a
/// row of its own.
pub const CREATE: &str = "\
CREATE TABLE IF NOT EXISTS main.cotter_fences (
    path TEXT NOT NULL PRIMARY KEY
        CHECK (typeof(path) = 'text' AND path GLOB '/ls/?*' AND path NOT GLOB '/ls/local/*'),
    token INTEGER NOT NULL
        CHECK (typeof(token) = 'integer' AND token > 0 AND token < 9007199254740992)
) WITHOUT ROWID";

/// Shows the token `?2` for the path `?1`. It changes one row, or none if the token is of the past.
pub const CHECK: &str = "\
INSERT INTO main.cotter_fences (path, token) VALUES (?1, CAST(?2 AS INTEGER))
ON CONFLICT (path) DO UPDATE SET token = excluded.token WHERE token <= excluded.token";

/// Selects the largest token that was shown for the path `?1`.
pub const SEEN: &str = "SELECT token FROM main.cotter_fences WHERE path = ?1";

/// The table of the largest tokens seen, in the main database of a connection.
#[derive(Clone, Copy, Debug)]
pub struct FenceTable(());

impl FenceTable {
    /// Creates the table, unless it is there.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn create(connection: &Connection) -> rusqlite::Result<Self> {
        connection.execute_batch(CREATE)?;
        Ok(Self(()))
    }

    /// Trusts that somebody else has created the table. If not, every check is an error.
    #[must_use]
    pub const fn existing() -> Self {
        Self(())
    }

    /// Shows the sequencer of an exclusive lock to the store, inside the caller's own transaction.
    ///
    /// After `Ok` everything that the transaction writes until its end comes before anything that a
    /// later holder reads or writes after its own check. An equal token passes, so a holder writes as
    /// often as it likes. After an error the transaction must be rolled back, as dropping it does.
    ///
    /// # Errors
    /// [`FenceError::Stale`] if a larger token was shown; the others as they say.
    pub fn check(
        self,
        transaction: &Transaction<'_>,
        sequencer: &Sequencer,
    ) -> Result<(), FenceError<rusqlite::Error>> {
        self.compare(transaction, sequencer, &Shown::alone(sequencer)?)
    }

    /// As [`Self::check`], and lets a shared lock pass as well.
    ///
    /// That guards against everybody from before the present run of shared holders, and against the
    /// run as a whole once an exclusive holder has followed; not against one of the run whose
    /// session has ended while the others still share the lock.
    ///
    /// # Errors
    /// As for [`Self::check`].
    pub fn check_shared(
        self,
        transaction: &Transaction<'_>,
        sequencer: &Sequencer,
    ) -> Result<(), FenceError<rusqlite::Error>> {
        self.compare(transaction, sequencer, &Shown::of(sequencer)?)
    }

    fn compare(
        self,
        transaction: &Transaction<'_>,
        sequencer: &Sequencer,
        shown: &Shown<'_>,
    ) -> Result<(), FenceError<rusqlite::Error>> {
        // The check would be committed by itself, and guard nothing.
        if transaction.is_autocommit() {
            return Err(FenceError::NoTransaction);
        }
        if transaction.execute(CHECK, params![shown.path, shown.token])? == 1 {
            return Ok(());
        }
        let seen = transaction.query_row(SEEN, [shown.path], |row| row.get(0))?;
        Err(shown.stale(sequencer, seen))
    }

    /// Begins a transaction, checks the sequencer, does the `work`, and commits; or rolls all of it
    /// back.
    ///
    /// # Errors
    /// What the check says, or the work, or the commit. After [`FenceError::Unconfirmed`] alone is it
    /// unknown whether the work was done.
    pub fn write<T, E>(
        self,
        connection: &mut Connection,
        sequencer: &Sequencer,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E>
    where
        E: From<FenceError<rusqlite::Error>>,
    {
        // Immediate: to wait for another writer here, and not in the middle of the work.
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(FenceError::Store)?;
        self.check(&transaction, sequencer)?;
        let done = work(&transaction)?;
        // A failed statement may have rolled the transaction back, whatever the work made of it.
        if transaction.is_autocommit() {
            return Err(FenceError::NoTransaction.into());
        }
        transaction.commit().map_err(|error| {
            match error.sqlite_error_code() {
                // The transaction stands as it was, and has been rolled back since.
                Some(ErrorCode::DatabaseBusy | ErrorCode::ConstraintViolation) => {
                    FenceError::Store(error)
                }
                _ => FenceError::Unconfirmed(error),
            }
        })?;
        Ok(done)
    }
}
