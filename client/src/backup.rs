//! Backups of a living cell.
//!
//! The master streams the whole cell as it is at one moment, as the bytes of a file. What comes is
//! counted and its digest taken, and compared with what the master says at the end: a [`Backup`] that
//! has not come to its end is none. Nothing is tried again once bytes have come; whoever writes them
//! somewhere must throw them away when the end does not come.

use crate::at_master::{Failed, Refusal};
use crate::error::QueryError;
use crate::observer::Observer;
use crate::stream;
use cotter_proto::v1;
use cotter_proto::v1::backup_response::Part;
use cotter_proto::v1::cell_client::CellClient;
use cotter_types::limits::FRAME_BYTES_MAX;
use std::fmt;
use std::time::Duration;
use tonic::{Code, Status, Streaming};
use xxhash_rust::xxh3::Xxh3;

/// A master that sends nothing for so long is given up.
const SILENCE: Duration = Duration::from_secs(30);

/// Why there is no backup.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The master was not found.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The cell has no master, or it changes all the time.
    #[error("no master makes a backup: {0}")]
    NoMaster(String),
    /// The master refused.
    #[error("the master refused the backup: {0}")]
    Refused(String),
    /// It broke off.
    #[error("the backup broke off: {0}")]
    Interrupted(String),
    /// What came is not what was sent.
    #[error("the backup was changed on the way")]
    Changed,
}

/// What a backup is of, known when all of it has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackupSummary {
    /// Bytes.
    pub bytes: u64,
    /// XXH3 (128 bit) of the bytes, in hexadecimal digits.
    pub file_digest: String,
    /// The cell's name.
    pub cell: String,
    /// The cell's id, in hexadecimal digits.
    pub cell_id: String,
    /// The revision that it shows.
    pub revision: u64,
    /// Digest of the state in the file, in hexadecimal digits.
    pub state_digest: String,
}

/// A backup that is being received.
pub struct Backup {
    stream: Streaming<v1::BackupResponse>,
    digest: Box<Xxh3>,
    bytes: u64,
    summary: Option<BackupSummary>,
}

impl fmt::Debug for Backup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backup")
            .field("bytes", &self.bytes)
            .field("summary", &self.summary)
            .finish_non_exhaustive()
    }
}

impl Observer {
    /// Begins a backup at the master. It holds everything that was acknowledged before this was
    /// called.
    ///
    /// # Errors
    /// [`BackupError`].
    pub async fn backup(&self) -> Result<Backup, BackupError> {
        Ok(self.at_master(async |address| begin(address).await).await?)
    }
}

impl From<Failed<String>> for BackupError {
    fn from(failed: Failed<String>) -> Self {
        match failed {
            Failed::Query(error) => Self::Query(error),
            Failed::NoMaster(why) => Self::NoMaster(why),
            Failed::Final(why) => Self::Refused(why),
        }
    }
}

async fn begin(address: &str) -> Result<Backup, Refusal<String>> {
    let channel = stream::connect(address).await;
    let channel = channel.map_err(|error| Refusal::Again(error.to_string()))?;
    let mut client = CellClient::new(channel).max_decoding_message_size(FRAME_BYTES_MAX);
    let asked = tokio::time::timeout(SILENCE, client.backup(v1::BackupRequest {})).await;
    let asked = asked.map_err(|_| Refusal::Again(format!("{address}: no answer")))?;
    let response = asked.map_err(|status| match status.code() {
        Code::Unavailable | Code::Unknown | Code::Cancelled => Refusal::Again(told(&status)),
        _ => Refusal::Final(told(&status)),
    })?;
    Ok(Backup {
        stream: response.into_inner(),
        digest: Box::new(Xxh3::new()),
        bytes: 0,
        summary: None,
    })
}

fn told(status: &Status) -> String {
    status.message().to_owned()
}

impl Backup {
    /// Returns the next bytes; nothing when all have come and are what was sent.
    ///
    /// # Errors
    /// [`BackupError`]; what came so far is no backup then.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, BackupError> {
        if self.summary.is_some() {
            return Ok(None);
        }
        let broken = |why: String| BackupError::Interrupted(why);
        let message = tokio::time::timeout(SILENCE, self.stream.message()).await;
        let message = message
            .map_err(|_| broken("the master sends nothing any more".to_owned()))?
            .map_err(|status| broken(told(&status)))?;
        match message.and_then(|message| message.part) {
            Some(Part::Data(data)) => {
                self.digest.update(&data);
                self.bytes += data.len() as u64;
                Ok(Some(data.into()))
            }
            Some(Part::End(end)) => self.end(end).map(|()| None),
            None => Err(broken("the stream ended too early".to_owned())),
        }
    }

    /// Says what was received, once all of it has come.
    #[must_use]
    pub fn summary(&self) -> Option<&BackupSummary> {
        self.summary.as_ref()
    }

    fn end(&mut self, end: v1::BackupEnd) -> Result<(), BackupError> {
        let digest = format!("{:032x}", self.digest.digest128());
        if (end.bytes, &end.file_digest) != (self.bytes, &digest) {
            return Err(BackupError::Changed);
        }
        self.summary = Some(BackupSummary {
            bytes: end.bytes,
            file_digest: end.file_digest,
            cell: end.cell,
            cell_id: end.cell_id,
            revision: end.revision,
            state_digest: end.state_digest,
        });
        Ok(())
    }
}
