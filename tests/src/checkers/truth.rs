//! A client is never told that it holds what it may have lost: when the end of a session is applied
//! for the first time anywhere, its client's belief in the lease has ended already.

use super::{Step, Verdict, Violation};
use cotter_cell::Effect;
use cotter_types::{EndReason, SessionId};

/// Compares expiries with beliefs. It has nothing to remember.
#[derive(Debug, Default)]
pub struct Truth {
    expiries: u64,
}

impl Truth {
    /// Looks at the sessions that one entry ends. `believes` tells which client, if any, still
    /// believes at this moment that the session's lease stands.
    ///
    /// # Errors
    /// A session expired under a client that believes in it.
    pub fn observe(
        &mut self,
        step: &Step,
        believes: impl Fn(SessionId) -> Option<usize>,
    ) -> Verdict {
        for effect in &step.applied.effects {
            if let Effect::SessionEnded {
                session,
                reason: EndReason::Expired,
            } = effect
            {
                self.expiries += 1;
                if let Some(guest) = believes(*session) {
                    return Err(Violation::new(
                        "truth",
                        format!(
                            "entry {} ends {session}, and client {guest} believes that its lease \
                             stands",
                            step.index
                        ),
                    ));
                }
            }
        }
        Ok(())
    }

    /// Returns how many sessions expired.
    #[must_use]
    pub fn expiries(&self) -> u64 {
        self.expiries
    }
}
