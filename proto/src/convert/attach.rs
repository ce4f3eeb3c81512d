//! `attach.proto`: the frames, both ways.

use super::session::end_reason;
use crate::v1;
use crate::wire::{WireError, bounded, missing, nonce, nonce_bytes, path, required};
use cotter_types::limits::LABEL_BYTES_MAX;
use cotter_types::{
    Answer, CellId, ClientFrame, Epoch, Notice, ReplicaId, RequestNumber, ServerFrame, SessionId,
    Welcome,
};

impl From<ClientFrame> for v1::ClientFrame {
    fn from(frame: ClientFrame) -> Self {
        use v1::client_frame as w;
        let frame = match frame {
            ClientFrame::Hello {
                version,
                client,
                cell,
            } => w::Frame::Hello(w::Hello {
                version,
                client,
                cell: cell.map(|id| id.0),
            }),
            ClientFrame::Open(open) => w::Frame::Open(open.into()),
            ClientFrame::Attach { session, nonce } => w::Frame::Attach(w::Attach {
                session: session.0,
                nonce: nonce_bytes(nonce),
            }),
            ClientFrame::KeepAlive { number } => w::Frame::KeepAlive(w::KeepAlive { number }),
            ClientFrame::Mutate {
                session,
                number,
                acknowledged,
                mutation,
            } => w::Frame::Mutate(w::Mutate {
                session: session.0,
                number: number.0,
                acknowledged: Some(acknowledged.into()),
                mutation: Some(mutation.into()),
            }),
            ClientFrame::Query { id, query } => w::Frame::Ask(w::Ask {
                id,
                query: Some(query.into()),
            }),
        };
        Self { frame: Some(frame) }
    }
}

impl TryFrom<v1::ClientFrame> for ClientFrame {
    type Error = WireError;

    fn try_from(message: v1::ClientFrame) -> Result<Self, WireError> {
        use v1::client_frame as w;
        Ok(
            match message.frame.ok_or_else(|| missing("ClientFrame.frame"))? {
                w::Frame::Hello(hello) => Self::Hello {
                    version: hello.version,
                    client: bounded(hello.client, LABEL_BYTES_MAX, "Hello.client")?,
                    cell: hello.cell.map(CellId),
                },
                w::Frame::Open(open) => Self::Open(open.try_into()?),
                w::Frame::Attach(attach) => Self::Attach {
                    session: SessionId(attach.session),
                    nonce: nonce(&attach.nonce, "Attach.nonce")?,
                },
                w::Frame::KeepAlive(w::KeepAlive { number }) => Self::KeepAlive { number },
                w::Frame::Mutate(mutate) => Self::Mutate {
                    session: SessionId(mutate.session),
                    number: RequestNumber(mutate.number),
                    acknowledged: required(mutate.acknowledged, "Mutate.acknowledged")?
                        .try_into()?,
                    mutation: required(mutate.mutation, "Mutate.mutation")?.try_into()?,
                },
                w::Frame::Ask(ask) => Self::Query {
                    id: ask.id,
                    query: required(ask.query, "Ask.query")?.try_into()?,
                },
            },
        )
    }
}

impl From<Answer> for v1::Answer {
    fn from(answer: Answer) -> Self {
        use v1::answer::Answer as Wire;
        let answer = match answer {
            Answer::Done(response) => Wire::Done(response.into()),
            Answer::Refused(refusal) => Wire::Refused(refusal.into()),
            Answer::Unavailable(unavailable) => Wire::Unavailable(unavailable.into()),
        };
        Self {
            answer: Some(answer),
        }
    }
}

impl TryFrom<v1::Answer> for Answer {
    type Error = WireError;

    fn try_from(message: v1::Answer) -> Result<Self, WireError> {
        use v1::answer::Answer as Wire;
        Ok(
            match message.answer.ok_or_else(|| missing("Answer.answer"))? {
                Wire::Done(response) => Self::Done(response.try_into()?),
                Wire::Refused(refusal) => Self::Refused(refusal.try_into()?),
                Wire::Unavailable(unavailable) => Self::Unavailable(unavailable.try_into()?),
            },
        )
    }
}

/// Reads an answer that must be given.
fn answer(message: Option<v1::Answer>, field: &'static str) -> Result<Answer, WireError> {
    required(message, field)?.try_into()
}

impl From<Notice> for v1::Notice {
    fn from(notice: Notice) -> Self {
        use v1::notice as w;
        let notice = match notice {
            Notice::Conflict {
                path,
                number,
                waiters,
                first,
            } => w::Notice::Conflict(w::Conflict {
                path: path.as_str().to_owned(),
                number: number.0,
                waiters,
                first,
            }),
        };
        Self {
            notice: Some(notice),
        }
    }
}

impl TryFrom<v1::Notice> for Notice {
    type Error = WireError;

    fn try_from(message: v1::Notice) -> Result<Self, WireError> {
        use v1::notice as w;
        match message.notice.ok_or_else(|| missing("Notice.notice"))? {
            w::Notice::Conflict(conflict) => Ok(Self::Conflict {
                path: path(&conflict.path, "Notice.Conflict.path")?,
                number: RequestNumber(conflict.number),
                waiters: conflict.waiters,
                first: conflict.first,
            }),
        }
    }
}

impl From<Welcome> for v1::server_frame::Welcome {
    fn from(welcome: Welcome) -> Self {
        let Welcome {
            cell_id,
            cell,
            replica,
            is_master,
            epoch,
            master,
            addresses,
        } = welcome;
        Self {
            cell_id: cell_id.0,
            cell,
            replica: replica.0,
            is_master,
            epoch: epoch.0,
            master: master.map(|id| id.0),
            addresses,
        }
    }
}

impl From<v1::server_frame::Welcome> for Welcome {
    fn from(message: v1::server_frame::Welcome) -> Self {
        Self {
            cell_id: CellId(message.cell_id),
            cell: message.cell,
            replica: ReplicaId(message.replica),
            is_master: message.is_master,
            epoch: Epoch(message.epoch),
            master: message.master.map(ReplicaId),
            addresses: message.addresses,
        }
    }
}

impl From<ServerFrame> for v1::ServerFrame {
    fn from(frame: ServerFrame) -> Self {
        use v1::server_frame as w;
        let frame = match frame {
            ServerFrame::Welcome(welcome) => w::Frame::Welcome(welcome.into()),
            ServerFrame::Opened {
                nonce,
                session,
                lease_ms,
            } => w::Frame::Opened(w::Opened {
                nonce: nonce_bytes(nonce),
                session: session.0,
                lease_ms,
            }),
            ServerFrame::OpenRefused { nonce, answer } => w::Frame::OpenRefused(w::OpenRefused {
                nonce: nonce_bytes(nonce),
                answer: Some(answer.into()),
            }),
            ServerFrame::Attached { session, lease_ms } => w::Frame::Attached(w::Attached {
                session: session.0,
                lease_ms,
            }),
            ServerFrame::AttachRefused { session, answer } => {
                w::Frame::AttachRefused(w::AttachRefused {
                    session: session.0,
                    answer: Some(answer.into()),
                })
            }
            ServerFrame::KeepAlive { number } => w::Frame::KeepAlive(w::KeepAlive { number }),
            ServerFrame::Answer {
                session,
                number,
                answer,
            } => w::Frame::Answer(w::MutationAnswer {
                session: session.0,
                number: number.0,
                answer: Some(answer.into()),
            }),
            ServerFrame::QueryAnswer { id, answer } => w::Frame::QueryAnswer(w::QueryAnswer {
                id,
                result: Some(match answer {
                    Ok(found) => w::query_answer::Result::Found(found.into()),
                    Err(failed) => w::query_answer::Result::Failed(failed.into()),
                }),
            }),
            ServerFrame::Notice { session, notice } => w::Frame::Notice(w::SessionNotice {
                session: session.0,
                notice: Some(notice.into()),
            }),
            ServerFrame::Detached { session, condemned } => w::Frame::Detached(w::Detached {
                session: session.0,
                condemned,
            }),
            ServerFrame::Ended { session, reason } => w::Frame::Ended(w::Ended {
                session: session.0,
                reason: v1::EndReason::from(reason).into(),
            }),
            ServerFrame::GoAway {
                reason,
                retry_after_ms,
            } => w::Frame::GoAway(w::GoAway {
                reason,
                retry_after_ms,
            }),
        };
        Self { frame: Some(frame) }
    }
}

impl TryFrom<v1::ServerFrame> for ServerFrame {
    type Error = WireError;

    fn try_from(message: v1::ServerFrame) -> Result<Self, WireError> {
        use v1::server_frame as w;
        Ok(
            match message.frame.ok_or_else(|| missing("ServerFrame.frame"))? {
                w::Frame::Welcome(welcome) => Self::Welcome(welcome.into()),
                w::Frame::Opened(opened) => Self::Opened {
                    nonce: nonce(&opened.nonce, "Opened.nonce")?,
                    session: SessionId(opened.session),
                    lease_ms: opened.lease_ms,
                },
                w::Frame::OpenRefused(refused) => Self::OpenRefused {
                    nonce: nonce(&refused.nonce, "OpenRefused.nonce")?,
                    answer: answer(refused.answer, "OpenRefused.answer")?,
                },
                w::Frame::Attached(attached) => Self::Attached {
                    session: SessionId(attached.session),
                    lease_ms: attached.lease_ms,
                },
                w::Frame::AttachRefused(refused) => Self::AttachRefused {
                    session: SessionId(refused.session),
                    answer: answer(refused.answer, "AttachRefused.answer")?,
                },
                w::Frame::KeepAlive(w::KeepAlive { number }) => Self::KeepAlive { number },
                w::Frame::Answer(message) => Self::Answer {
                    session: SessionId(message.session),
                    number: RequestNumber(message.number),
                    answer: answer(message.answer, "MutationAnswer.answer")?,
                },
                w::Frame::QueryAnswer(message) => Self::QueryAnswer {
                    id: message.id,
                    answer: match required(message.result, "QueryAnswer.result")? {
                        w::query_answer::Result::Found(found) => Ok(found.try_into()?),
                        w::query_answer::Result::Failed(failed) => Err(failed.try_into()?),
                    },
                },
                w::Frame::Notice(message) => Self::Notice {
                    session: SessionId(message.session),
                    notice: required(message.notice, "SessionNotice.notice")?.try_into()?,
                },
                w::Frame::Detached(message) => Self::Detached {
                    session: SessionId(message.session),
                    condemned: message.condemned,
                },
                w::Frame::Ended(ended) => Self::Ended {
                    session: SessionId(ended.session),
                    reason: end_reason(ended.reason, "Ended.reason")?,
                },
                w::Frame::GoAway(message) => Self::GoAway {
                    reason: message.reason,
                    retry_after_ms: message.retry_after_ms,
                },
            },
        )
    }
}
