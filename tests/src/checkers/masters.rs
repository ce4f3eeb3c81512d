//! No two masters speak for one moment.
//!
//! What a master says on the strength of its lease (reads, keepalives, attachments) is a statement
//! about the moment at which its turn read the clock. Once the master of a later epoch could make
//! one, no master of an earlier epoch may.

use super::{Verdict, Violation};
use cotter_types::{Answer, Epoch, QueryResponse, ServerFrame};
use std::fmt::Debug;

/// Remembers the latest epoch in which something could be said.
#[derive(Debug, Default)]
pub struct Masters {
    latest: Option<(Epoch, String, u64)>,
    statements: u64,
}

impl Masters {
    /// Tells whether a frame is said on the strength of a lease.
    #[must_use]
    pub fn is_statement(frame: &ServerFrame) -> bool {
        match frame {
            ServerFrame::KeepAlive { .. } | ServerFrame::Attached { .. } => true,
            ServerFrame::QueryAnswer { answer, .. } => match answer {
                Ok(QueryResponse::Status(_)) | Err(Answer::Unavailable(_)) => false,
                Ok(_) | Err(Answer::Done(_) | Answer::Refused(_)) => true,
            },
            _ => false,
        }
    }

    /// Takes note of a statement made at the true time `moment`. `epoch` is the epoch in which the
    /// speaker was master by its own applied state, or nothing if it was not.
    ///
    /// # Errors
    /// It had no right to speak.
    pub fn spoke(
        &mut self,
        who: &str,
        epoch: Option<Epoch>,
        moment: u64,
        said: &dyn Debug,
    ) -> Verdict {
        self.statements += 1;
        let Some(epoch) = epoch else {
            return Err(Violation::new(
                "masters",
                format!("{who} is no master and says {said:?}"),
            ));
        };
        match &self.latest {
            Some((latest, other, since)) if *latest > epoch => Err(Violation::new(
                "masters",
                format!(
                    "{who} says {said:?} at {moment} µs as master of epoch {epoch}, but {other} \
                     may speak as master of epoch {latest} since {since} µs"
                ),
            )),
            _ => {
                self.may_speak(who, epoch, moment);
                Ok(())
            }
        }
    }

    /// Takes note that a replica reigns at the true time `moment`: asked, it would answer.
    pub fn may_speak(&mut self, who: &str, epoch: Epoch, moment: u64) {
        if self
            .latest
            .as_ref()
            .is_none_or(|(latest, _, _)| *latest < epoch)
        {
            self.latest = Some((epoch, who.to_owned(), moment));
        }
    }

    /// Returns how many statements were made.
    #[must_use]
    pub fn statements(&self) -> u64 {
        self.statements
    }
}
