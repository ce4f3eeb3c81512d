//! What a holder shows to others.

use crate::{FencingToken, Instance, LockMode, Path};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Proves *which* acquisition of a lock its bearer speaks for (*The Chubby lock service*, section
/// 2.4). A store that remembers the highest token it has seen can refuse a holder of the past
/// without asking the cell.
///
/// Its printable form is `1:x:<token>:<instance>:<lock generation>:<path>`, with `s` for a shared
/// lock, and the path naming the cell.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Sequencer {
    /// The lock's path, with the cell's own name (never `local`).
    pub path: Path,
    /// Shared or exclusive.
    pub mode: LockMode,
    /// The fencing token of this acquisition.
    pub token: FencingToken,
    /// The node's instance.
    pub instance: Instance,
    /// The lock generation: rises whenever the lock goes from free to held.
    pub lock_generation: u64,
}

/// Says what is wrong with the printed form of a sequencer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a sequencer: {0}; expected 1:<x or s>:<token>:<instance>:<lock generation>:/ls/<cell>/…"
)]
pub struct SequencerError(pub &'static str);

impl fmt::Display for Sequencer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = match self.mode {
            LockMode::Exclusive => 'x',
            LockMode::Shared => 's',
        };
        let Self {
            path,
            token,
            instance,
            lock_generation,
            ..
        } = self;
        write!(f, "1:{mode}:{token}:{instance}:{lock_generation}:{path}")
    }
}

impl FromStr for Sequencer {
    type Err = SequencerError;

    fn from_str(text: &str) -> Result<Self, SequencerError> {
        let mut parts = text.splitn(6, ':');
        let mut next = || parts.next().ok_or(SequencerError("it has too few parts"));
        if next()? != "1" {
            return Err(SequencerError("its version is not 1"));
        }
        let mode = match next()? {
            "x" => LockMode::Exclusive,
            "s" => LockMode::Shared,
            _ => return Err(SequencerError("its mode is neither x nor s")),
        };
        let token = FencingToken(number(next()?)?);
        if token.0 >= crate::limits::TOKEN_LIMIT {
            return Err(SequencerError("its token is not below 2^53"));
        }
        let instance = Instance(number(next()?)?);
        let lock_generation = number(next()?)?;
        let path = Path::parse(next()?).map_err(|_| SequencerError("its path is not valid"))?;
        Ok(Self {
            path,
            mode,
            token,
            instance,
            lock_generation,
        })
    }
}

/// Reads a number in the one form in which [`fmt::Display`] writes it: no sign, no leading zero.
fn number(text: &str) -> Result<u64, SequencerError> {
    let canonical = text == "0" || !text.starts_with('0');
    if !canonical || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(SequencerError("a number is not in its canonical form"));
    }
    text.parse()
        .map_err(|_| SequencerError("a number is not a 64-bit number"))
}
