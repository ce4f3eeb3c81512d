//! Fencing tokens: every acquisition has a larger one than all before it, on any path; the holders
//! of one shared run have the same.

use super::{Step, Verdict, Violation};
use cotter_cell::Effect;
use cotter_types::limits::TOKEN_LIMIT;
use cotter_types::{FencingToken, LockMode, RequestNumber, Response, Sequencer, SessionId};
use std::collections::BTreeMap;

/// Remembers the largest token and, for each path, the last sequencer.
#[derive(Debug)]
pub struct Tokens {
    largest: FencingToken,
    last: BTreeMap<String, Sequencer>,
    seen: BTreeMap<(SessionId, RequestNumber), FencingToken>,
}

impl Tokens {
    /// Begins above the token floor that the cell is born with.
    #[must_use]
    pub fn new(floor: u64) -> Self {
        Self {
            largest: FencingToken(floor),
            last: BTreeMap::new(),
            seen: BTreeMap::new(),
        }
    }

    /// Looks at the grants of one entry.
    ///
    /// # Errors
    /// A token does not rise.
    pub fn observe(&mut self, step: &Step) -> Verdict {
        for effect in &step.applied.effects {
            if let Effect::Answered {
                session,
                number,
                result: Ok(Response::Acquired { sequencer, .. }),
            } = effect
            {
                // A repeated answer shows the same token again; that it is the same is for `once`.
                if self.seen.contains_key(&(*session, *number)) {
                    continue;
                }
                self.granted(step.index, sequencer)?;
                self.seen.insert((*session, *number), sequencer.token);
            }
        }
        Ok(())
    }

    fn granted(&mut self, index: usize, sequencer: &Sequencer) -> Verdict {
        let path = sequencer.path.as_str().to_owned();
        let joins = self.last.get(&path).is_some_and(|last| {
            last.mode == LockMode::Shared
                && sequencer.mode == LockMode::Shared
                && last.token == sequencer.token
                && last.lock_generation == sequencer.lock_generation
                && last.instance == sequencer.instance
        });
        if !joins && sequencer.token <= self.largest {
            return Err(Violation::new(
                "tokens",
                format!(
                    "entry {index} granted {sequencer}, but token {} was given out before",
                    self.largest
                ),
            ));
        }
        if sequencer.token.0 >= TOKEN_LIMIT {
            return Err(Violation::new(
                "tokens",
                format!("entry {index} granted {sequencer}, beyond the limit of tokens"),
            ));
        }
        self.largest = self.largest.max(sequencer.token);
        self.last.insert(path, sequencer.clone());
        Ok(())
    }
}
