//! The queries of `operation.proto`, and what they find.

use super::node::stat;
use crate::v1;
use crate::wire::{WireError, bounded, contents, contents_bytes, missing, path, required};
use cotter_types::limits::NAME_BYTES_MAX;
use cotter_types::{ListPage, Query, QueryResponse, Revision, SessionId};

impl From<Query> for v1::Query {
    fn from(query: Query) -> Self {
        use v1::query as w;
        let query = match query {
            Query::Get { path } => w::Query::Get(w::Get {
                path: path.as_str().to_owned(),
            }),
            Query::Stat { path } => w::Query::Stat(w::Stat {
                path: path.as_str().to_owned(),
            }),
            Query::List { path, after, limit } => w::Query::List(w::List {
                path: path.as_str().to_owned(),
                after,
                limit,
            }),
            Query::Explain { path } => w::Query::Explain(w::Explain {
                path: path.as_str().to_owned(),
            }),
            Query::Locks {
                within,
                after,
                limit,
            } => w::Query::Locks(w::Locks {
                within: within.as_str().to_owned(),
                after: after.map(|path| path.as_str().to_owned()),
                limit,
            }),
            Query::Sessions { after, limit } => w::Query::Sessions(w::Sessions {
                after: after.0,
                limit,
            }),
            Query::CheckSequencer { sequencer } => w::Query::CheckSequencer(w::CheckSequencer {
                sequencer: Some(sequencer.into()),
            }),
            Query::Status => w::Query::Status(w::Status {}),
        };
        Self { query: Some(query) }
    }
}

impl TryFrom<v1::Query> for Query {
    type Error = WireError;

    fn try_from(message: v1::Query) -> Result<Self, WireError> {
        use v1::query as w;
        Ok(match message.query.ok_or_else(|| missing("Query.query"))? {
            w::Query::Get(get) => Self::Get {
                path: path(&get.path, "Query.Get.path")?,
            },
            w::Query::Stat(stat) => Self::Stat {
                path: path(&stat.path, "Query.Stat.path")?,
            },
            w::Query::List(list) => Self::List {
                path: path(&list.path, "Query.List.path")?,
                after: bounded(list.after, NAME_BYTES_MAX, "Query.List.after")?,
                limit: list.limit,
            },
            w::Query::Explain(explain) => Self::Explain {
                path: path(&explain.path, "Query.Explain.path")?,
            },
            w::Query::Locks(locks) => Self::Locks {
                within: path(&locks.within, "Query.Locks.within")?,
                after: locks
                    .after
                    .map(|after| path(&after, "Query.Locks.after"))
                    .transpose()?,
                limit: locks.limit,
            },
            w::Query::Sessions(sessions) => Self::Sessions {
                after: SessionId(sessions.after),
                limit: sessions.limit,
            },
            w::Query::CheckSequencer(check) => Self::CheckSequencer {
                sequencer: required(check.sequencer, "Query.CheckSequencer.sequencer")?
                    .try_into()?,
            },
            w::Query::Status(w::Status {}) => Self::Status,
        })
    }
}

impl From<QueryResponse> for v1::QueryResponse {
    fn from(response: QueryResponse) -> Self {
        use v1::query_response as w;
        let response = match response {
            QueryResponse::Node {
                contents,
                stat,
                revision,
            } => w::Response::Node(w::Node {
                contents: contents_bytes(contents),
                stat: Some(stat.into()),
                revision: revision.0,
            }),
            QueryResponse::Stat { stat, revision } => w::Response::Stat(w::Stat {
                stat: Some(stat.into()),
                revision: revision.0,
            }),
            QueryResponse::List { page, revision } => w::Response::List(list(page, revision)),
            QueryResponse::Explain(explanation) => w::Response::Explain((*explanation).into()),
            QueryResponse::Locks { rows, more } => w::Response::Locks(w::Locks {
                rows: rows.into_iter().map(Into::into).collect(),
                more,
            }),
            QueryResponse::Sessions { rows, more } => w::Response::Sessions(w::Sessions {
                rows: rows.into_iter().map(Into::into).collect(),
                more,
            }),
            QueryResponse::Sequencer { current } => {
                w::Response::Sequencer(w::SequencerCheck { current })
            }
            QueryResponse::Status(status) => w::Response::Status((*status).into()),
        };
        Self {
            response: Some(response),
        }
    }
}

/// Writes a page of children.
fn list(page: ListPage, revision: Revision) -> v1::query_response::List {
    let ListPage { children, more } = page;
    v1::query_response::List {
        children: children
            .into_iter()
            .map(|(name, stat)| v1::query_response::Child {
                name,
                stat: Some(stat.into()),
            })
            .collect(),
        more,
        revision: revision.0,
    }
}

/// Reads a page of children.
fn list_page(list: v1::query_response::List) -> Result<QueryResponse, WireError> {
    let child = |child: v1::query_response::Child| {
        let name = bounded(child.name, NAME_BYTES_MAX, "QueryResponse.Child.name")?;
        Ok((name, stat(child.stat, "QueryResponse.Child.stat")?))
    };
    let children: Result<Vec<_>, WireError> = list.children.into_iter().map(child).collect();
    Ok(QueryResponse::List {
        page: ListPage {
            children: children?,
            more: list.more,
        },
        revision: Revision(list.revision),
    })
}

impl TryFrom<v1::QueryResponse> for QueryResponse {
    type Error = WireError;

    fn try_from(message: v1::QueryResponse) -> Result<Self, WireError> {
        use v1::query_response as w;
        Ok(
            match message
                .response
                .ok_or_else(|| missing("QueryResponse.response"))?
            {
                w::Response::Node(node) => Self::Node {
                    contents: contents(&node.contents),
                    stat: stat(node.stat, "QueryResponse.Node.stat")?,
                    revision: Revision(node.revision),
                },
                w::Response::Stat(message) => Self::Stat {
                    stat: stat(message.stat, "QueryResponse.Stat.stat")?,
                    revision: Revision(message.revision),
                },
                w::Response::List(list) => list_page(list)?,
                w::Response::Explain(explanation) => {
                    Self::Explain(Box::new(explanation.try_into()?))
                }
                w::Response::Locks(locks) => Self::Locks {
                    rows: super::all(locks.rows)?,
                    more: locks.more,
                },
                w::Response::Sessions(sessions) => Self::Sessions {
                    rows: super::all(sessions.rows)?,
                    more: sessions.more,
                },
                w::Response::Sequencer(w::SequencerCheck { current }) => {
                    Self::Sequencer { current }
                }
                w::Response::Status(status) => Self::Status(Box::new(status.try_into()?)),
            },
        )
    }
}
