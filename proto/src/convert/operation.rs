//! `operation.proto`.

use super::lock::mode;
use super::node::{lifetime, optional_lifetime, stat, ttl_ms};
use crate::v1;
use crate::wire::{
    WireError, WireProblem, contents, contents_bytes, missing, path, required, wrong,
};
use cotter_types::limits::ACKNOWLEDGED_RANGES_MAX;
use cotter_types::{
    Acknowledged, Acquire, Create, CreateSequential, Delete, Instance, Mutation, RequestNumber,
    Response, Set,
};

impl From<Create> for v1::Create {
    fn from(create: Create) -> Self {
        let Create {
            path,
            contents,
            lifetime,
            parents,
            exclusive,
        } = create;
        Self {
            path: path.as_str().to_owned(),
            contents: contents_bytes(contents),
            lifetime: v1::Lifetime::from(lifetime).into(),
            parents,
            exclusive,
            sequential: false,
            ttl_ms: ttl_ms(lifetime),
        }
    }
}

impl TryFrom<v1::Create> for Create {
    type Error = WireError;

    fn try_from(message: v1::Create) -> Result<Self, WireError> {
        Ok(Self {
            path: path(&message.path, "Create.path")?,
            contents: contents(&message.contents),
            lifetime: lifetime(message.lifetime, message.ttl_ms, "Create.lifetime")?,
            parents: message.parents,
            exclusive: message.exclusive,
        })
    }
}

impl From<CreateSequential> for v1::Create {
    fn from(create: CreateSequential) -> Self {
        let CreateSequential {
            path,
            contents,
            lifetime,
            parents,
        } = create;
        let ordinary = Create {
            path,
            contents,
            lifetime,
            parents,
            exclusive: false,
        };
        Self {
            sequential: true,
            ..ordinary.into()
        }
    }
}

/// Reads a sequential creation.
pub(super) fn sequential(message: v1::Create) -> Result<CreateSequential, WireError> {
    let Create {
        path,
        contents,
        lifetime,
        parents,
        exclusive,
    } = message.try_into()?;
    if exclusive {
        let problem = WireProblem::Malformed("a sequential creation never meets a node");
        return Err(wrong("Create.exclusive", problem));
    }
    Ok(CreateSequential {
        path,
        contents,
        lifetime,
        parents,
    })
}

impl From<Set> for v1::Set {
    fn from(set: Set) -> Self {
        let Set {
            path,
            contents,
            if_content_generation,
            if_instance,
        } = set;
        Self {
            path: path.as_str().to_owned(),
            contents: contents_bytes(contents),
            if_content_generation,
            if_instance: if_instance.map(|instance| instance.0),
        }
    }
}

impl TryFrom<v1::Set> for Set {
    type Error = WireError;

    fn try_from(message: v1::Set) -> Result<Self, WireError> {
        Ok(Self {
            path: path(&message.path, "Set.path")?,
            contents: contents(&message.contents),
            if_content_generation: message.if_content_generation,
            if_instance: message.if_instance.map(Instance),
        })
    }
}

impl From<Delete> for v1::Delete {
    fn from(delete: Delete) -> Self {
        let Delete {
            path,
            recursive,
            if_content_generation,
            if_instance,
        } = delete;
        Self {
            path: path.as_str().to_owned(),
            recursive,
            if_content_generation,
            if_instance: if_instance.map(|instance| instance.0),
        }
    }
}

impl TryFrom<v1::Delete> for Delete {
    type Error = WireError;

    fn try_from(message: v1::Delete) -> Result<Self, WireError> {
        Ok(Self {
            path: path(&message.path, "Delete.path")?,
            recursive: message.recursive,
            if_content_generation: message.if_content_generation,
            if_instance: message.if_instance.map(Instance),
        })
    }
}

impl From<Acquire> for v1::Acquire {
    fn from(acquire: Acquire) -> Self {
        let Acquire {
            path,
            mode,
            wait,
            lock_delay_ms,
            conflict_notice,
            create,
        } = acquire;
        Self {
            path: path.as_str().to_owned(),
            mode: v1::LockMode::from(mode).into(),
            wait: Some(wait.into()),
            lock_delay_ms,
            conflict_notice,
            create: create
                .map_or(v1::Lifetime::Unspecified, v1::Lifetime::from)
                .into(),
            create_ttl_ms: create.map_or(0, ttl_ms),
        }
    }
}

impl TryFrom<v1::Acquire> for Acquire {
    type Error = WireError;

    fn try_from(message: v1::Acquire) -> Result<Self, WireError> {
        Ok(Self {
            path: path(&message.path, "Acquire.path")?,
            mode: mode(message.mode, "Acquire.mode")?,
            wait: required(message.wait, "Acquire.wait")?.try_into()?,
            lock_delay_ms: message.lock_delay_ms,
            conflict_notice: message.conflict_notice,
            create: optional_lifetime(message.create, message.create_ttl_ms, "Acquire.create")?,
        })
    }
}

impl From<Mutation> for v1::Mutation {
    fn from(mutation: Mutation) -> Self {
        use v1::mutation::Mutation as Wire;
        let mutation = match mutation {
            Mutation::Create(create) => Wire::Create(create.into()),
            Mutation::Set(set) => Wire::Set(set.into()),
            Mutation::Delete(delete) => Wire::Delete(delete.into()),
            Mutation::Unhold { path } => Wire::Unhold(v1::Unhold {
                path: path.as_str().to_owned(),
            }),
            Mutation::Acquire(acquire) => Wire::Acquire(acquire.into()),
            Mutation::Release { path, number } => Wire::Release(v1::Release {
                path: path.as_str().to_owned(),
                number: number.0,
            }),
            Mutation::Cancel { number } => Wire::Cancel(v1::Cancel { number: number.0 }),
            Mutation::Close => Wire::Close(v1::Close {}),
            Mutation::CreateSequential(create) => Wire::Create(create.into()),
            Mutation::Transaction(transaction) => Wire::Transaction(transaction.into()),
        };
        Self {
            mutation: Some(mutation),
        }
    }
}

impl TryFrom<v1::Mutation> for Mutation {
    type Error = WireError;

    fn try_from(message: v1::Mutation) -> Result<Self, WireError> {
        use v1::mutation::Mutation as Wire;
        Ok(
            match message
                .mutation
                .ok_or_else(|| missing("Mutation.mutation"))?
            {
                Wire::Create(create) if create.sequential => {
                    Self::CreateSequential(sequential(create)?)
                }
                Wire::Create(create) => Self::Create(create.try_into()?),
                Wire::Set(set) => Self::Set(set.try_into()?),
                Wire::Delete(delete) => Self::Delete(delete.try_into()?),
                Wire::Unhold(unhold) => Self::Unhold {
                    path: path(&unhold.path, "Unhold.path")?,
                },
                Wire::Acquire(acquire) => Self::Acquire(acquire.try_into()?),
                Wire::Release(release) => Self::Release {
                    path: path(&release.path, "Release.path")?,
                    number: RequestNumber(release.number),
                },
                Wire::Cancel(cancel) => Self::Cancel {
                    number: RequestNumber(cancel.number),
                },
                Wire::Close(v1::Close {}) => Self::Close,
                Wire::Transaction(transaction) => Self::Transaction(transaction.try_into()?),
            },
        )
    }
}

impl From<Response> for v1::Response {
    fn from(response: Response) -> Self {
        use v1::response as w;
        let response = match response {
            Response::Done => w::Response::Done(w::Done {}),
            Response::Created { created, stat } => w::Response::Created(w::Created {
                created,
                stat: Some(stat.into()),
                path: String::new(),
            }),
            Response::Written { stat } => w::Response::Written(w::Written {
                stat: Some(stat.into()),
            }),
            Response::Deleted { nodes } => w::Response::Deleted(w::Deleted { nodes }),
            Response::Acquired {
                sequencer,
                waited_ms,
            } => w::Response::Acquired(w::Acquired {
                sequencer: Some(sequencer.into()),
                waited_ms,
            }),
            Response::CreatedAt { path, stat } => w::Response::Created(w::Created {
                created: true,
                stat: Some((*stat).into()),
                path: path.as_str().to_owned(),
            }),
            Response::Applied { results } => w::Response::Applied(w::Applied {
                results: results.into_iter().map(Into::into).collect(),
            }),
        };
        Self {
            response: Some(response),
        }
    }
}

impl TryFrom<v1::Response> for Response {
    type Error = WireError;

    fn try_from(message: v1::Response) -> Result<Self, WireError> {
        use v1::response as w;
        Ok(
            match message
                .response
                .ok_or_else(|| missing("Response.response"))?
            {
                w::Response::Done(w::Done {}) => Self::Done,
                w::Response::Created(created) => created_response(created)?,
                w::Response::Written(written) => Self::Written {
                    stat: stat(written.stat, "Response.Written.stat")?,
                },
                w::Response::Deleted(w::Deleted { nodes }) => Self::Deleted { nodes },
                w::Response::Acquired(acquired) => Self::Acquired {
                    sequencer: required(acquired.sequencer, "Response.Acquired.sequencer")?
                        .try_into()?,
                    waited_ms: acquired.waited_ms,
                },
                w::Response::Applied(applied) => Self::Applied {
                    results: super::all(applied.results)?,
                },
            },
        )
    }
}

/// Reads what became of a creation: with a path, of a sequential one.
fn created_response(message: v1::response::Created) -> Result<Response, WireError> {
    const PATH: &str = "Response.Created.path";
    let stat = stat(message.stat, "Response.Created.stat")?;
    let created = message.created;
    match message.path.as_str() {
        "" => Ok(Response::Created { created, stat }),
        text if created => Ok(Response::CreatedAt {
            path: path(text, PATH)?,
            stat: Box::new(stat),
        }),
        _ => Err(wrong(
            PATH,
            WireProblem::Malformed("a sequential creation never meets a node"),
        )),
    }
}

impl From<Acknowledged> for v1::Acknowledged {
    fn from(acknowledged: Acknowledged) -> Self {
        let Acknowledged { floor, above } = acknowledged;
        Self {
            floor: floor.0,
            above: above
                .into_iter()
                .map(|(first, last)| v1::acknowledged::Range {
                    first: first.0,
                    last: last.0,
                })
                .collect(),
        }
    }
}

impl TryFrom<v1::Acknowledged> for Acknowledged {
    type Error = WireError;

    fn try_from(message: v1::Acknowledged) -> Result<Self, WireError> {
        const FIELD: &str = "Acknowledged.above";
        let count = message.above.len();
        if count > ACKNOWLEDGED_RANGES_MAX {
            let limit = ACKNOWLEDGED_RANGES_MAX;
            return Err(wrong(FIELD, WireProblem::TooMany { count, limit }));
        }
        let mut end = message.floor;
        let mut above = Vec::with_capacity(count);
        for range in message.above {
            if range.first <= end || range.last < range.first {
                let problem = WireProblem::Malformed(
                    "ranges must be above the floor, ascending and apart from each other",
                );
                return Err(wrong(FIELD, problem));
            }
            end = range.last;
            above.push((RequestNumber(range.first), RequestNumber(range.last)));
        }
        Ok(Self {
            floor: RequestNumber(message.floor),
            above,
        })
    }
}
