//! The guard for PostgreSQL, 13 and later.
//!
//! The check is one statement, which locks the row of the path, compares, and *always* writes a new
//! version of the row when it passes, an equal token included. The lock orders transactions from
//! their checks to their ends. The new version is what makes it right under `REPEATABLE READ` and
//! `SERIALIZABLE` too: a transaction whose snapshot is older than the last checked write cannot pass,
//! not even to write over what it has not seen, but fails with `40001` (`serialization_failure`) and
//! may be tried again. Under `READ COMMITTED` every statement after the check sees what was committed
//! before it.
//!
//! Caveats:
//! - The check comes first, before the transaction reads what it decides on, and outside of any
//!   savepoint: rolling back to a savepoint gives the row back.
//! - The table is found through the `search_path`, which must be the same for all who write.
//! - Transactions under one lock run one after the other, those of one holder as well. Two paths
//!   checked in one transaction are checked in the same order everywhere, or PostgreSQL breaks the
//!   deadlock by refusing one.
//! - A check waits for a holder that is stopped between its check and its commit. Bound that with
//!   `lock_timeout` here and `idle_in_transaction_session_timeout` there.

use super::{FenceError, Shown};
use cotter_types::Sequencer;
use tokio_postgres::error::Severity;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, GenericClient, Transaction};

/// The crate, in the version that [`FenceTable`] takes transactions of.
pub use tokio_postgres;

/// Creates the table, if there is none. It leaves room in its pages, because the rows are written
/// often.
pub const CREATE: &str = "\
CREATE TABLE IF NOT EXISTS cotter_fences (
    path text COLLATE \"C\" PRIMARY KEY
        CHECK (path LIKE '/ls/_%' AND path NOT LIKE '/ls/local/%'),
    token bigint NOT NULL
        CHECK (token > 0 AND token < 9007199254740992)
) WITH (fillfactor = 50)";

/// Shows the token `$2` for the path `$1`. It changes one row, or none if the token is of the past.
pub const CHECK: &str = "\
INSERT INTO cotter_fences AS fence (path, token) VALUES ($1, $2)
ON CONFLICT (path) DO UPDATE SET token = excluded.token WHERE fence.token <= excluded.token";

/// Selects the largest token that was shown for the path `$1`.
pub const SEEN: &str = "SELECT token FROM cotter_fences WHERE path = $1";

/// Creates the function `cotter_require_fence(path)`, for triggers of the guarded tables: it refuses
/// each statement of a transaction in which no token was checked for that path, so that a program
/// that forgets to check is refused as well.
///
/// ```sql
/// CREATE TRIGGER fenced BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON crawl
/// FOR EACH STATEMENT EXECUTE FUNCTION cotter_require_fence('/ls/example/jobs/crawl');
/// ```
pub const REQUIRE_FENCE: &str = "\
CREATE OR REPLACE FUNCTION cotter_require_fence() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- The transaction that checks a token is the one that has written this version of the row.
    IF NOT EXISTS (
        SELECT FROM cotter_fences
        WHERE path = TG_ARGV[0] AND xmin = pg_current_xact_id()::xid
    ) THEN
        RAISE insufficient_privilege USING
            MESSAGE = format('%I is fenced, and this transaction has shown no token of %s',
                TG_TABLE_NAME, TG_ARGV[0]),
            HINT = 'Check the fencing token first, in the same transaction.';
    END IF;
    RETURN NULL;
END
$$";

/// The key of the advisory lock under which the table is created: the bytes of `fences`.
const CREATE_KEY: i64 = 0x6665_6e63_6573;

/// Selects the row of `$1`, if it was this transaction that checked it.
const CHECKED_HERE: &str =
    "SELECT FROM cotter_fences WHERE path = $1 AND xmin = pg_current_xact_id()::xid";

/// The table of the largest tokens seen, in the database of a connection.
#[derive(Clone, Copy, Debug)]
pub struct FenceTable(());

impl FenceTable {
    /// Creates the table, unless it is there. Needs the right to create tables, in either case.
    ///
    /// # Errors
    /// What PostgreSQL says.
    pub async fn create(client: &impl GenericClient) -> Result<Self, tokio_postgres::Error> {
        // One implicit transaction: IF NOT EXISTS alone fails when two create it at one moment.
        let alone = format!("SELECT pg_advisory_xact_lock({CREATE_KEY}); {CREATE}");
        client.batch_execute(&alone).await?;
        Ok(Self(()))
    }

    /// Trusts that somebody else has created the table. If not, every check is an error.
    #[must_use]
    pub const fn existing() -> Self {
        Self(())
    }

    /// Shows the sequencer of an exclusive lock to the store, as the first statement of the caller's
    /// own transaction.
    ///
    /// After `Ok` everything that the transaction writes until its end comes before anything that a
    /// later holder reads or writes after its own check. An equal token passes, so a holder writes as
    /// often as it likes. After an error the transaction must be rolled back, as dropping it does.
    ///
    /// # Errors
    /// [`FenceError::Stale`] if a larger token was shown; the others as they say. A
    /// [`FenceError::Store`] with `40001` or `40P01` means that the whole transaction may be tried
    /// again.
    pub async fn check(
        self,
        transaction: &Transaction<'_>,
        sequencer: &Sequencer,
    ) -> Result<(), FenceError<tokio_postgres::Error>> {
        self.compare(transaction, sequencer, &Shown::alone(sequencer)?)
            .await
    }

    /// As [`Self::check`], and lets a shared lock pass as well.
    ///
    /// That guards against everybody from before the present run of shared holders, and against the
    /// run as a whole once an exclusive holder has followed; not against one of the run whose
    /// session has ended while the others still share the lock.
    ///
    /// # Errors
    /// As for [`Self::check`].
    pub async fn check_shared(
        self,
        transaction: &Transaction<'_>,
        sequencer: &Sequencer,
    ) -> Result<(), FenceError<tokio_postgres::Error>> {
        self.compare(transaction, sequencer, &Shown::of(sequencer)?)
            .await
    }

    async fn compare(
        self,
        transaction: &Transaction<'_>,
        sequencer: &Sequencer,
        shown: &Shown<'_>,
    ) -> Result<(), FenceError<tokio_postgres::Error>> {
        // Typed, so that each is one round trip and works behind a pooler as well.
        let path: (&(dyn ToSql + Sync), Type) = (&shown.path, Type::TEXT);
        let token: (&(dyn ToSql + Sync), Type) = (&shown.token, Type::INT8);
        if transaction.execute_typed(CHECK, &[path, token]).await? == 1 {
            return Ok(());
        }
        let row = transaction
            .query_typed_one(SEEN, &[(&shown.path, Type::TEXT)])
            .await?;
        Err(shown.stale(sequencer, row.try_get(0)?))
    }

    /// Begins a transaction with the session's default isolation, checks the sequencer, does the
    /// `work`, and commits; or rolls all of it back, also when it is cancelled before the commit.
    ///
    /// Before the commit it looks whether the transaction of the check still stands: PostgreSQL
    /// confirms the `COMMIT` of a transaction in which a statement has failed, and rolls it back.
    ///
    /// # Errors
    /// What the check says, or the work, or the commit. After [`FenceError::Unconfirmed`] alone, or
    /// when it is cancelled during the commit, is it unknown whether the work was done.
    pub async fn write<T, E>(
        self,
        client: &mut Client,
        sequencer: &Sequencer,
        work: impl AsyncFnOnce(&Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E>
    where
        E: From<FenceError<tokio_postgres::Error>>,
    {
        let transaction = client.transaction().await.map_err(FenceError::Store)?;
        self.check(&transaction, sequencer).await?;
        let done = work(&transaction).await?;
        let path = sequencer.path.as_str();
        let checked_here = transaction
            .query_typed_opt(CHECKED_HERE, &[(&path, Type::TEXT)])
            .await
            .map_err(FenceError::Store)?;
        if checked_here.is_none() {
            return Err(FenceError::NoTransaction.into());
        }
        transaction.commit().await.map_err(|error| {
            if is_certain(&error) {
                FenceError::Store(error)
            } else {
                FenceError::Unconfirmed(error)
            }
        })?;
        Ok(done)
    }
}

/// Tells whether an error of a commit means that it did not take place: only if the server said so,
/// and went on.
fn is_certain(error: &tokio_postgres::Error) -> bool {
    error
        .as_db_error()
        .is_some_and(|said| said.parsed_severity() == Some(Severity::Error))
}
