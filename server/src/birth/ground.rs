//! What a restored cell begins with: the state in a file, made into that of a new cell.
//!
//! Every member reads the file itself, and makes the same state of it and the certificate: what comes
//! over the wire are digests. A member that makes another state takes no part.
//!
//! What this must never do: let tokens begin below one that the backup knows, or take a clock that is
//! behind the backup for the present time. What was given out after the backup nobody here can know;
//! that the floor is above it rests on the clock, or on whoever names a floor.

use super::ceremony::time_of_birth;
use crate::failure::Failure;
use crate::storage::checkpoint::{self, CheckpointError, CheckpointMeta};
use crate::storage::{Certificate, CertifiedBase, FIRST_CHAPTER, ReadOnlyFiles};
use cotter_cell::{Cell, RestoreError};
use std::path::Path;

/// The state in a file from which a cell is restored.
#[derive(Debug)]
pub struct Ground {
    cell: Cell,
    source: u128,
    written_wall_ms: u64,
    floor: Option<u64>,
}

impl Ground {
    /// Reads a backup to its end, and checks that a cell can begin with it here and now: with tokens
    /// above `floor` if that is given, else above the present time in microseconds since 1970.
    ///
    /// # Errors
    /// [`Failure`] when the file cannot be read or is damaged, and when the floor, or the clock that
    /// stands for it, is behind the backup.
    pub fn read(file: &Path, floor: Option<u64>) -> Result<Self, Failure> {
        let failed = |error: CheckpointError| {
            let message = format!("the backup {}: {error}", file.display());
            match error {
                CheckpointError::Damaged { .. } => Failure::damaged(message),
                CheckpointError::Disk(_) => Failure::unavailable(message),
                _ => Failure::config(message),
            }
        };
        let (files, name) = ReadOnlyFiles::beside(file)
            .ok_or_else(|| Failure::config(format!("{} is no backup file", file.display())))?;
        let opened = checkpoint::open_file(&files, &name).and_then(checkpoint::load_cell);
        let (cell, verified) = opened.map_err(failed)?;
        let ground = Self {
            cell,
            source: verified.size().file_digest,
            written_wall_ms: verified.meta().written_wall_ms,
            floor,
        };
        ground.token_floor()?;
        Ok(ground)
    }

    /// Returns the digest of the file.
    pub(super) fn source(&self) -> u128 {
        self.source
    }

    /// Returns what the tokens of a cell that begins now are above.
    pub(super) fn token_floor(&self) -> Result<u64, Failure> {
        let last = self.cell.last_token().0;
        if let Some(floor) = self.floor {
            return match floor < last {
                true => Err(Failure::config(format!(
                    "--token-floor {floor} is below {last}, a token that the backup knows: name one \
                     above every token that was ever given out"
                ))),
                false => Ok(floor),
            };
        }
        let now = time_of_birth()?;
        if now < last || now / 1_000 < self.written_wall_ms {
            return Err(Failure::config(format!(
                "the clock of this machine is behind the backup: it shows {now} microseconds since \
                 1970, but the backup was made at {}000 and knows the token {last}. Set the clock, or \
                 name with --token-floor a number above every token that was ever given out",
                self.written_wall_ms
            )));
        }
        Ok(now)
    }

    /// Makes the state with which the cell of a certificate begins, whatever base that names.
    pub(super) fn restored(&self, certificate: &Certificate) -> Result<Cell, Failure> {
        let restored = self
            .cell
            .restored(&certificate.genesis(), self.written_wall_ms);
        restored.map_err(|error| match error {
            RestoreError::FloorBehind { .. } | RestoreError::FloorTooLarge { .. } => {
                Failure::config(error.to_string())
            }
            RestoreError::SameCell => Failure::software(error.to_string()),
        })
    }

    /// Makes the state with which the cell of a certificate begins, and checks that it is the one that
    /// the certificate names.
    pub(super) fn begin(
        &self,
        certificate: &Certificate,
        base: CertifiedBase,
    ) -> Result<(CheckpointMeta, Cell), Failure> {
        if base.source != self.source {
            return Err(Failure::config(format!(
                "the certificate is of a cell restored from the file with digest {:032x}, and the one \
                 given here has {:032x}: copy one file to all members",
                base.source, self.source
            )));
        }
        let token_floor = certificate.token_floor.0;
        if let Some(floor) = self.floor.filter(|floor| *floor > token_floor) {
            return Err(Failure::config(format!(
                "the certificate lets tokens begin at {token_floor}, below --token-floor {floor}: give \
                 all members the same"
            )));
        }
        let cell = self.restored(certificate)?;
        if cell.digest() != base.state {
            return Err(Failure::software(format!(
                "the same file makes the state with digest {:032x} here and {:032x} where the \
                 certificate was drawn: the members run different versions, or a machine computes \
                 wrong results",
                cell.digest(),
                base.state
            )));
        }
        let meta = CheckpointMeta::of(&cell, FIRST_CHAPTER, self.written_wall_ms, Vec::new());
        Ok((meta, cell))
    }
}
