//! One number in a store, and who wrote it last: what a late write destroys.

use super::postgres::connect;
use cotter_client::Sequencer;
use cotter_client::fencing::{FenceError, postgres, sqlite};
use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

type Trouble = Box<dyn Error + Send + Sync>;

const CREATE: &str = "\
CREATE TABLE ledger (total BIGINT NOT NULL, author TEXT NOT NULL);
INSERT INTO ledger VALUES (100, 'nobody');";
const READ: &str = "SELECT total, author FROM ledger";

/// Where a ledger is. Its printed form is `sqlite:` and the file, or `postgres:` and how to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ledger {
    /// In a file.
    Sqlite(PathBuf),
    /// In a database of a server.
    Postgres(String),
}

/// What stands in a ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The number.
    pub total: i64,
    /// Who wrote it.
    pub author: String,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It was done.
    Done,
    /// The guard refused it: it has seen a larger token than was shown.
    Refused {
        /// The larger token.
        seen: u64,
        /// The one of the writer.
        shown: u64,
    },
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(file) => write!(f, "sqlite:{}", file.display()),
            Self::Postgres(how) => write!(f, "postgres:{how}"),
        }
    }
}

impl FromStr for Ledger {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("sqlite", file)) => Ok(Self::Sqlite(file.into())),
            Some(("postgres", how)) => Ok(Self::Postgres(how.to_owned())),
            _ => Err(format!("{text:?} is no ledger")),
        }
    }
}

impl Ledger {
    /// Makes the ledger, with a total of 100, and the table of its guard.
    ///
    /// # Errors
    /// What the store says.
    pub async fn create(&self) -> Result<(), Trouble> {
        match self {
            Self::Sqlite(file) => {
                let connection = sqlite::rusqlite::Connection::open(file)?;
                connection.execute_batch(CREATE)?;
                sqlite::FenceTable::create(&connection)?;
            }
            Self::Postgres(how) => {
                let client = connect(how).await?;
                client.batch_execute(CREATE).await?;
                postgres::FenceTable::create(&client).await?;
            }
        }
        Ok(())
    }

    /// Reads what stands in it.
    ///
    /// # Errors
    /// What the store says.
    pub async fn read(&self) -> Result<Entry, Trouble> {
        match self {
            Self::Sqlite(file) => {
                let connection = sqlite::rusqlite::Connection::open(file)?;
                let entry = connection.query_row(READ, [], |row| {
                    Ok(Entry {
                        total: row.get(0)?,
                        author: row.get(1)?,
                    })
                });
                Ok(entry?)
            }
            Self::Postgres(how) => {
                let row = connect(how).await?.query_one(READ, &[]).await?;
                Ok(Entry {
                    total: row.try_get(0)?,
                    author: row.try_get(1)?,
                })
            }
        }
    }

    /// Writes `entry` in one transaction, which shows the sequencer first, if there is one.
    ///
    /// # Errors
    /// What the store says, other than a refusal by the guard.
    pub async fn write(
        &self,
        entry: &Entry,
        shown: Option<&Sequencer>,
    ) -> Result<Written, Trouble> {
        match self {
            Self::Sqlite(file) => {
                let mut connection = sqlite::rusqlite::Connection::open(file)?;
                let update = "UPDATE ledger SET total = ?1, author = ?2";
                let values = (entry.total, entry.author.as_str());
                match shown {
                    None => written(connection.execute(update, values).map_err(Into::into)),
                    Some(sequencer) => written(sqlite::FenceTable::existing().write(
                        &mut connection,
                        sequencer,
                        |transaction| Ok(transaction.execute(update, values)?),
                    )),
                }
            }
            Self::Postgres(how) => {
                let mut client = connect(how).await?;
                let update = "UPDATE ledger SET total = $1, author = $2";
                match shown {
                    None => written(
                        client
                            .execute(update, &[&entry.total, &entry.author])
                            .await
                            .map_err(FenceError::Store),
                    ),
                    Some(sequencer) => written(
                        postgres::FenceTable::existing()
                            .write(&mut client, sequencer, async |transaction| {
                                let values = [&entry.total as _, &entry.author as _];
                                Ok(transaction.execute(update, &values).await?)
                            })
                            .await,
                    ),
                }
            }
        }
    }
}

fn written<T, S>(result: Result<T, FenceError<S>>) -> Result<Written, Trouble>
where
    S: Error + Send + Sync + 'static,
{
    match result {
        Ok(_) => Ok(Written::Done),
        Err(FenceError::Stale { seen, shown, .. }) => Ok(Written::Refused {
            seen: seen.0,
            shown: shown.0,
        }),
        Err(other) => Err(other.into()),
    }
}
