//! `history.proto`.

use super::lock::{hand_end, mode, token};
use crate::v1;
use crate::wire::{WireError, WireProblem, bounded, missing, path, required, wrong};
use cotter_types::limits::{HISTORY_PAGE_MAX, HISTORY_SPANS_MAX, LABEL_BYTES_MAX};
use cotter_types::{
    Doer, HistoryCoverage, HistoryPage, HistoryPosition, HistoryQuery, HistorySpan, PastChange,
    PastEvent, ReplicaId, Revision, SessionId,
};

impl From<HistoryPosition> for v1::HistoryPosition {
    fn from(position: HistoryPosition) -> Self {
        let HistoryPosition { revision, index } = position;
        Self {
            revision: revision.0,
            index,
        }
    }
}

impl From<v1::HistoryPosition> for HistoryPosition {
    fn from(message: v1::HistoryPosition) -> Self {
        Self {
            revision: Revision(message.revision),
            index: message.index,
        }
    }
}

impl From<HistoryQuery> for v1::HistoryRequest {
    fn from(query: HistoryQuery) -> Self {
        let HistoryQuery {
            path,
            recursive,
            since_wall_ms,
            before,
            limit,
        } = query;
        Self {
            path: path.as_str().to_owned(),
            recursive,
            since_wall_ms,
            before: before.map(Into::into),
            limit,
        }
    }
}

impl TryFrom<v1::HistoryRequest> for HistoryQuery {
    type Error = WireError;

    fn try_from(message: v1::HistoryRequest) -> Result<Self, WireError> {
        Ok(Self {
            path: path(&message.path, "HistoryRequest.path")?,
            recursive: message.recursive,
            since_wall_ms: message.since_wall_ms,
            before: message.before.map(Into::into),
            limit: message.limit,
        })
    }
}

impl From<HistorySpan> for v1::HistorySpan {
    fn from(span: HistorySpan) -> Self {
        let HistorySpan {
            after,
            to,
            since_wall_ms,
            until_wall_ms,
        } = span;
        Self {
            after: after.0,
            to: to.0,
            since_wall_ms,
            until_wall_ms,
        }
    }
}

impl From<v1::HistorySpan> for HistorySpan {
    fn from(message: v1::HistorySpan) -> Self {
        Self {
            after: Revision(message.after),
            to: Revision(message.to),
            since_wall_ms: message.since_wall_ms,
            until_wall_ms: message.until_wall_ms,
        }
    }
}

impl From<Doer> for v1::Doer {
    fn from(who: Doer) -> Self {
        let Doer {
            session,
            name,
            host,
            pid,
        } = who;
        Self {
            session: session.map_or(0, |session| session.0),
            name,
            host,
            pid,
        }
    }
}

impl TryFrom<v1::Doer> for Doer {
    type Error = WireError;

    fn try_from(message: v1::Doer) -> Result<Self, WireError> {
        Ok(Self {
            session: (message.session > 0).then_some(SessionId(message.session)),
            name: bounded(message.name, LABEL_BYTES_MAX, "Doer.name")?,
            host: bounded(message.host, LABEL_BYTES_MAX, "Doer.host")?,
            pid: message.pid,
        })
    }
}

impl From<PastChange> for v1::past_event::What {
    fn from(change: PastChange) -> Self {
        use v1::past_event as w;
        match change {
            PastChange::LockGranted {
                mode,
                token,
                waited_ms,
            } => Self::LockGranted(w::LockGranted {
                mode: v1::LockMode::from(mode).into(),
                token: token.0,
                waited_ms,
            }),
            PastChange::LockEnded {
                mode,
                token,
                held_ms,
                end,
            } => Self::LockEnded(w::LockEnded {
                mode: v1::LockMode::from(mode).into(),
                token: token.0,
                held_ms,
                end: v1::HandEnd::from(end).into(),
            }),
            PastChange::NodeCreated { bytes } => Self::NodeCreated(w::NodeCreated { bytes }),
            PastChange::NodeSet {
                content_generation,
                bytes,
            } => Self::NodeSet(w::NodeSet {
                content_generation,
                bytes,
            }),
            PastChange::NodeDeleted => Self::NodeDeleted(w::NodeDeleted {}),
            PastChange::NodeLapsed => Self::NodeLapsed(w::NodeLapsed {}),
        }
    }
}

impl TryFrom<v1::past_event::What> for PastChange {
    type Error = WireError;

    fn try_from(message: v1::past_event::What) -> Result<Self, WireError> {
        use v1::past_event::What;
        Ok(match message {
            What::LockGranted(granted) => Self::LockGranted {
                mode: mode(granted.mode, "PastEvent.LockGranted.mode")?,
                token: token(granted.token, "PastEvent.LockGranted.token")?,
                waited_ms: granted.waited_ms,
            },
            What::LockEnded(ended) => Self::LockEnded {
                mode: mode(ended.mode, "PastEvent.LockEnded.mode")?,
                token: token(ended.token, "PastEvent.LockEnded.token")?,
                held_ms: ended.held_ms,
                end: hand_end(ended.end, "PastEvent.LockEnded.end")?,
            },
            What::NodeCreated(created) => Self::NodeCreated {
                bytes: created.bytes,
            },
            What::NodeSet(set) => Self::NodeSet {
                content_generation: set.content_generation,
                bytes: set.bytes,
            },
            What::NodeDeleted(_) => Self::NodeDeleted,
            What::NodeLapsed(_) => Self::NodeLapsed,
        })
    }
}

impl From<PastEvent> for v1::PastEvent {
    fn from(event: PastEvent) -> Self {
        let position = event.position();
        let PastEvent {
            path,
            revision: _,
            index: _,
            wall_ms,
            who,
            what,
        } = event;
        Self {
            path: path.as_str().to_owned(),
            position: Some(position.into()),
            wall_ms,
            who: Some(who.into()),
            what: Some(what.into()),
        }
    }
}

impl TryFrom<v1::PastEvent> for PastEvent {
    type Error = WireError;

    fn try_from(message: v1::PastEvent) -> Result<Self, WireError> {
        let position = required(message.position, "PastEvent.position")?;
        let what = message.what.ok_or_else(|| missing("PastEvent.what"))?;
        Ok(Self {
            path: path(&message.path, "PastEvent.path")?,
            revision: Revision(position.revision),
            index: position.index,
            wall_ms: message.wall_ms,
            who: required(message.who, "PastEvent.who")?.try_into()?,
            what: what.try_into()?,
        })
    }
}

impl From<HistoryPage> for v1::HistoryResponse {
    fn from(page: HistoryPage) -> Self {
        let HistoryPage {
            events,
            before,
            coverage: HistoryCoverage { spans },
            replica,
        } = page;
        Self {
            events: events.into_iter().map(Into::into).collect(),
            before: before.map(Into::into),
            spans: spans.into_iter().map(Into::into).collect(),
            replica: replica.0,
        }
    }
}

impl TryFrom<v1::HistoryResponse> for HistoryPage {
    type Error = WireError;

    fn try_from(message: v1::HistoryResponse) -> Result<Self, WireError> {
        let few = |count, limit, field| match count <= limit {
            true => Ok(()),
            false => Err(wrong(field, WireProblem::TooMany { count, limit })),
        };
        let pages = HISTORY_PAGE_MAX as usize;
        few(message.events.len(), pages, "HistoryResponse.events")?;
        few(
            message.spans.len(),
            HISTORY_SPANS_MAX,
            "HistoryResponse.spans",
        )?;
        Ok(Self {
            events: super::all(message.events)?,
            before: message.before.map(Into::into),
            coverage: HistoryCoverage {
                spans: message.spans.into_iter().map(Into::into).collect(),
            },
            replica: ReplicaId(message.replica),
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::v1;
    use cotter_types::{
        Doer, FencingToken, HandEnd, HistoryCoverage, HistoryPage, HistoryPosition, HistoryQuery,
        HistorySpan, LockMode, PastChange, PastEvent, Path, ReplicaId, Revision, SessionId,
    };

    fn page() -> HistoryPage {
        let mode = LockMode::Shared;
        let token = FencingToken(9);
        let changes = [
            PastChange::LockGranted {
                mode,
                token,
                waited_ms: 1,
            },
            PastChange::LockEnded {
                mode,
                token,
                held_ms: 2,
                end: HandEnd::SessionExpired,
            },
            PastChange::NodeCreated { bytes: 3 },
            PastChange::NodeSet {
                content_generation: 4,
                bytes: 5,
            },
            PastChange::NodeDeleted,
            PastChange::NodeLapsed,
        ];
        let event = |(what, index): (PastChange, u32)| PastEvent {
            path: Path::parse("/ls/local/a").unwrap(),
            revision: Revision(6),
            index,
            wall_ms: 7,
            who: Doer {
                session: (index > 0).then_some(SessionId(8)),
                name: "anna".to_owned(),
                host: "here".to_owned(),
                pid: index,
            },
            what,
        };
        HistoryPage {
            events: changes.into_iter().zip(0..).map(event).collect(),
            before: Some(HistoryPosition {
                revision: Revision(6),
                index: 0,
            }),
            coverage: HistoryCoverage {
                spans: vec![HistorySpan {
                    after: Revision(1),
                    to: Revision(6),
                    since_wall_ms: 2,
                    until_wall_ms: 3,
                }],
            },
            replica: ReplicaId(3),
        }
    }

    #[test]
    fn what_is_told_of_the_past_arrives_as_it_was_sent() {
        let message = v1::HistoryResponse::from(page());
        assert_eq!(HistoryPage::try_from(message), Ok(page()));
        let query = HistoryQuery {
            path: Path::root(),
            recursive: true,
            since_wall_ms: 5,
            before: page().before,
            limit: 6,
        };
        let message = v1::HistoryRequest::from(query.clone());
        assert_eq!(HistoryQuery::try_from(message), Ok(query));
    }

    #[test]
    fn an_event_without_its_parts_is_refused() {
        let whole = v1::HistoryResponse::from(page()).events.remove(0);
        assert!(PastEvent::try_from(whole.clone()).is_ok());
        let cut: [fn(&mut v1::PastEvent); 4] = [
            |event| event.what = None,
            |event| event.who = None,
            |event| event.position = None,
            |event| event.path.clear(),
        ];
        for cut in cut {
            let mut event = whole.clone();
            cut(&mut event);
            assert!(PastEvent::try_from(event).is_err());
        }
    }
}
