//! `cotter.v1.Locks`: the simple interface to locks.

use super::{Unary, malformed};
use crate::api::edge::{invalid, request_id, safe_ms, sequencer};
use cotter_proto::status::No;
use cotter_proto::v1;
use cotter_proto::v1::locks_server::Locks;
use cotter_proto::v1::query_response::Response as Found;
use cotter_types::{Call, CallResponse, LockId, Query, QueryResponse};
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl Locks for Unary {
    async fn acquire(
        &self,
        request: Request<v1::AcquireRequest>,
    ) -> Result<Response<v1::AcquireResponse>, Status> {
        let read = |message: v1::AcquireRequest| {
            Ok(Call::Acquire {
                request: request_id(&message.request_id, "AcquireRequest.request_id")?,
                acquire: message.try_into().map_err(malformed)?,
                answer_within_ms: 0,
            })
        };
        self.serve("Locks/Acquire", request, read, acquired).await
    }

    async fn renew(
        &self,
        request: Request<v1::RenewRequest>,
    ) -> Result<Response<v1::RenewResponse>, Status> {
        let read = |message: v1::RenewRequest| {
            Ok(Call::Renew {
                lock: lock_id(&message.lock_id, "RenewRequest.lock_id")?,
                extension_ms: message.extension_ms,
            })
        };
        self.serve("Locks/Renew", request, read, renewed).await
    }

    async fn release(
        &self,
        request: Request<v1::ReleaseRequest>,
    ) -> Result<Response<v1::ReleaseResponse>, Status> {
        let read = |message: v1::ReleaseRequest| {
            let lock = lock_id(&message.lock_id, "ReleaseRequest.lock_id")?;
            Ok(Call::Release { lock })
        };
        let write = |response| match response {
            CallResponse::Released => Some(v1::ReleaseResponse {}),
            _ => None,
        };
        self.serve("Locks/Release", request, read, write).await
    }

    async fn explain(
        &self,
        request: Request<v1::ExplainRequest>,
    ) -> Result<Response<v1::ExplainResponse>, Status> {
        let ask = |message: v1::ExplainRequest| {
            let path = message.path;
            v1::query::Query::Explain(v1::query::Explain { path })
        };
        let write = |found| match found {
            Found::Explain(explanation) => Some(v1::ExplainResponse {
                explanation: Some(explanation),
            }),
            _ => None,
        };
        self.look("Locks/Explain", request, ask, write).await
    }

    async fn check_sequencer(
        &self,
        request: Request<v1::CheckSequencerRequest>,
    ) -> Result<Response<v1::CheckSequencerResponse>, Status> {
        let read = |message: v1::CheckSequencerRequest| {
            let sequencer = sequencer(&message.sequencer, "CheckSequencerRequest.sequencer")?;
            Ok(Call::Query(Query::CheckSequencer { sequencer }))
        };
        let write = |response| match response {
            CallResponse::Found(QueryResponse::Sequencer { current }) => {
                Some(v1::CheckSequencerResponse { current })
            }
            _ => None,
        };
        let method = "Locks/CheckSequencer";
        self.serve(method, request, read, write).await
    }

    async fn list_locks(
        &self,
        request: Request<v1::ListLocksRequest>,
    ) -> Result<Response<v1::ListLocksResponse>, Status> {
        let ask = |message: v1::ListLocksRequest| {
            let v1::ListLocksRequest {
                within,
                after,
                limit,
            } = message;
            v1::query::Query::Locks(v1::query::Locks {
                within,
                after,
                limit,
            })
        };
        let write = |found| match found {
            Found::Locks(v1::query_response::Locks { rows, more }) => {
                Some(v1::ListLocksResponse { rows, more })
            }
            _ => None,
        };
        self.look("Locks/ListLocks", request, ask, write).await
    }
}

/// Reads a lock id.
fn lock_id(text: &str, field: &str) -> Result<LockId, No> {
    text.parse().map_err(|error| invalid(field, error))
}

fn acquired(response: CallResponse) -> Option<v1::AcquireResponse> {
    use v1::acquire_response as w;
    let result = match response {
        CallResponse::Acquired {
            lock,
            sequencer,
            waited_ms,
            lease_ms,
        } => w::Result::Acquired(w::Acquired {
            lock_id: lock.to_string(),
            sequencer: sequencer.to_string(),
            token: sequencer.token.0,
            waited_ms,
            lease_ms,
            safe_ms: safe_ms(lease_ms),
        }),
        CallResponse::Queued {
            lock,
            place,
            waiters,
            lease_ms,
        } => w::Result::Queued(w::Queued {
            lock_id: lock.to_string(),
            place,
            waiters,
            lease_ms,
            safe_ms: safe_ms(lease_ms),
        }),
        _ => return None,
    };
    Some(v1::AcquireResponse {
        result: Some(result),
    })
}

fn renewed(response: CallResponse) -> Option<v1::RenewResponse> {
    match response {
        CallResponse::Renewed {
            sequencer,
            lease_ms,
            waiters,
        } => Some(v1::RenewResponse {
            sequencer: sequencer.to_string(),
            token: sequencer.token.0,
            lease_ms,
            safe_ms: safe_ms(lease_ms),
            waiters,
        }),
        _ => None,
    }
}
