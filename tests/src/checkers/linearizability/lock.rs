//! A lock as a sequential object: who holds it, in which mode, with which token.

use super::Sequential;
use cotter_types::{FencingToken, LockMode, RequestNumber, SessionId};

/// One hold: the session and the acquire that got it.
pub type Hold = (SessionId, RequestNumber);

/// The state of one lock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LockState {
    /// Who holds it, ascending.
    holders: Vec<Hold>,
    mode: Option<LockMode>,
    /// The last token given; 0 before the first.
    token: FencingToken,
}

/// What was done to a lock, or seen of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockOperation {
    /// It was acquired.
    Acquired {
        /// By whom.
        hold: Hold,
        /// In which mode.
        mode: LockMode,
        /// With which token: above all earlier ones, or that of the shared holders who are joined.
        token: FencingToken,
    },
    /// A hold came to its end: released, cancelled, or with its session.
    Freed(Hold),
    /// An acquire that would not wait was told who holds it.
    HeldBy(SessionId),
    /// An acquire that would not wait was told of a lock-delay, so nobody held it alone.
    Delayed,
    /// There was not even a node.
    NoNode,
    /// *Explain* showed it.
    Explained {
        /// The mode; nothing if it is free.
        mode: Option<LockMode>,
        /// All holders, ascending.
        holders: Vec<Hold>,
        /// The token that they have, if there are any.
        token: Option<FencingToken>,
    },
    /// A sequencer was judged.
    Checked {
        /// Its mode.
        mode: LockMode,
        /// Its token.
        token: FencingToken,
        /// The judgement.
        current: bool,
    },
}

impl Sequential for LockState {
    type Operation = LockOperation;

    fn after(&self, operation: &LockOperation) -> Option<Self> {
        let sees = match operation {
            LockOperation::Acquired { hold, mode, token } => {
                return self.acquired(*hold, *mode, *token);
            }
            LockOperation::Freed(hold) => return self.freed(*hold),
            LockOperation::HeldBy(by) => self.holders.iter().any(|(session, _)| session == by),
            LockOperation::Delayed => self.mode != Some(LockMode::Exclusive),
            LockOperation::NoNode => self.mode.is_none(),
            LockOperation::Explained {
                mode,
                holders,
                token,
            } => {
                *mode == self.mode
                    && *holders == self.holders
                    && *token == self.mode.map(|_| self.token)
            }
            LockOperation::Checked {
                mode,
                token,
                current,
            } => *current == (self.mode == Some(*mode) && self.token == *token),
        };
        sees.then(|| self.clone())
    }
}

impl LockState {
    fn acquired(&self, hold: Hold, mode: LockMode, token: FencingToken) -> Option<Self> {
        let mut next = self.clone();
        match self.mode {
            None if token > self.token => {}
            Some(LockMode::Shared) if mode == LockMode::Shared && token == self.token => {}
            _ => return None,
        }
        let slot = next.holders.binary_search(&hold).err()?;
        next.holders.insert(slot, hold);
        next.mode = Some(mode);
        next.token = token;
        Some(next)
    }

    fn freed(&self, hold: Hold) -> Option<Self> {
        let mut next = self.clone();
        let slot = next.holders.binary_search(&hold).ok()?;
        next.holders.remove(slot);
        if next.holders.is_empty() {
            next.mode = None;
        }
        Some(next)
    }
}
