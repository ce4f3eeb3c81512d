//! A condemned session is promised nothing: from the moment its end is proposed, the master of that
//! epoch attaches it no more, extends nothing, and answers nothing for it.

use super::{Verdict, Violation};
use cotter_types::{Answer, CallAnswer, Epoch, ServerFrame, SessionId};
use std::collections::BTreeMap;
use std::fmt::Debug;

/// Remembers which sessions which epoch has condemned.
#[derive(Debug, Default)]
pub struct Condemned {
    since: BTreeMap<SessionId, Epoch>,
}

impl Condemned {
    /// Takes note that the master of `epoch` has proposed the end of a session.
    pub fn proposed(&mut self, epoch: Epoch, session: SessionId) {
        self.since.insert(session, epoch);
    }

    /// Looks at a frame that the master of `epoch` says, `attached` being the sessions attached to
    /// the stream by what was said on it before.
    ///
    /// # Errors
    /// It promises something to a condemned session.
    pub fn observe(&self, epoch: Epoch, attached: &[SessionId], frame: &ServerFrame) -> Verdict {
        let promised = match frame {
            ServerFrame::Attached { session, .. } => std::slice::from_ref(session),
            ServerFrame::KeepAlive { .. } => attached,
            ServerFrame::Answer {
                session,
                answer: Answer::Done(_),
                ..
            } => std::slice::from_ref(session),
            _ => return Ok(()),
        };
        self.check(epoch, promised, frame)
    }

    /// Looks at an answer to a call of the simple interface, which promises something to a session.
    ///
    /// # Errors
    /// The session is condemned.
    pub fn promises(&self, epoch: Epoch, session: SessionId, answer: &CallAnswer) -> Verdict {
        self.check(epoch, &[session], answer)
    }

    fn check(&self, epoch: Epoch, promised: &[SessionId], said: &dyn Debug) -> Verdict {
        match promised
            .iter()
            .find(|session| self.since.get(session) == Some(&epoch))
        {
            None => Ok(()),
            Some(session) => Err(Violation::new(
                "condemned",
                format!("in epoch {epoch} session {session} is condemned, and yet: {said:?}"),
            )),
        }
    }
}
