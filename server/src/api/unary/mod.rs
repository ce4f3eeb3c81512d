//! The unary services, for programs that have no client library: `Locks`, `Nodes` and `Cell`.
//!
//! One file a service; each method says how its message becomes a [`Call`] and how what was achieved
//! becomes its answer. Everything else is the same for all of them and is here: who calls, until when,
//! the way to the cell and back, the status, the count.
//!
//! This module must never decide anything: what a field may be is decided by the conversions and the
//! cell, what an answer means by `edge`.

mod backup;
mod cell;
mod deadline;
mod history;
mod locks;
mod nodes;
#[cfg(test)]
mod tests;

use super::edge::{Edge, count, principal};
use crate::history::HistoryReader;
use cotter_proto::status::{No, status};
use cotter_proto::v1::cell_server::CellServer;
use cotter_proto::v1::locks_server::LocksServer;
use cotter_proto::v1::nodes_server::NodesServer;
use cotter_proto::{WireError, v1};
use cotter_types::limits::{BATCH_BYTES_MAX, FRAME_BYTES_MAX};
use cotter_types::{Call, CallResponse, Query, Refusal};
use deadline::deadline;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tonic::{Code, Request, Response, Status};

/// Largest request to [`Nodes`](v1::nodes_server::Nodes), in bytes: the largest transaction fits.
const NODES_REQUEST_BYTES_MAX: usize = BATCH_BYTES_MAX;
/// Largest request to the other services, in bytes: a few paths and names.
const REQUEST_BYTES_MAX: usize = 64 * 1_024;

/// What all unary services do alike. Clones lead to the same replica.
#[derive(Clone, Debug)]
pub(super) struct Unary {
    edge: Edge,
    /// Places for backups.
    backups: Arc<Semaphore>,
    history: HistoryReader,
}

impl Unary {
    /// Serves by way of `edge`, and tells of the past what `history` does.
    pub(super) fn new(edge: Edge, history: HistoryReader) -> Self {
        Self {
            edge,
            history,
            backups: Arc::new(Semaphore::new(backup::BACKUPS_MAX)),
        }
    }

    /// Returns the service `cotter.v1.Locks`.
    pub(super) fn locks(&self) -> LocksServer<Self> {
        LocksServer::new(self.clone())
            .max_decoding_message_size(REQUEST_BYTES_MAX)
            .max_encoding_message_size(FRAME_BYTES_MAX)
    }

    /// Returns the service `cotter.v1.Nodes`.
    pub(super) fn nodes(&self) -> NodesServer<Self> {
        NodesServer::new(self.clone())
            .max_decoding_message_size(NODES_REQUEST_BYTES_MAX)
            .max_encoding_message_size(FRAME_BYTES_MAX)
    }

    /// Returns the service `cotter.v1.Cell`.
    pub(super) fn cell(&self) -> CellServer<Self> {
        CellServer::new(self.clone())
            .max_decoding_message_size(REQUEST_BYTES_MAX)
            .max_encoding_message_size(FRAME_BYTES_MAX)
    }

    /// Serves one request: `read` makes a call of it, `write` an answer of what the call achieved.
    async fn serve<M, R>(
        &self,
        method: &'static str,
        request: Request<M>,
        read: impl FnOnce(M) -> Result<Call, No>,
        write: impl FnOnce(CallResponse) -> Option<R>,
    ) -> Result<Response<R>, Status> {
        let until = deadline(request.metadata(), Instant::now());
        let caller = principal(request.remote_addr());
        counted(method, async {
            let achieved = match read(request.into_inner()) {
                Ok(call) => self.edge.call(caller, call, until).await,
                Err(no) => Err(no),
            };
            match achieved.map(write) {
                Ok(Some(message)) => Ok(message),
                Ok(None) => Err(Status::internal("the cell answered something else")),
                Err(no) => Err(status(&no)),
            }
        })
        .await
    }

    /// Serves a request that only looks.
    async fn look<M, R>(
        &self,
        method: &'static str,
        request: Request<M>,
        ask: impl FnOnce(M) -> v1::query::Query,
        write: impl FnOnce(v1::query_response::Response) -> Option<R>,
    ) -> Result<Response<R>, Status> {
        let read = |message| {
            let query = Some(ask(message));
            let query: Result<Query, WireError> = v1::Query { query }.try_into();
            query.map(Call::Query).map_err(malformed)
        };
        let found = |response| match response {
            CallResponse::Found(found) => v1::QueryResponse::from(found).response.and_then(write),
            _ => None,
        };
        self.serve(method, request, read, found).await
    }
}

/// Waits for an answer, and counts it by method and status.
async fn counted<R>(
    method: &'static str,
    answer: impl Future<Output = Result<R, Status>>,
) -> Result<Response<R>, Status> {
    let begin = Instant::now();
    let answer = answer.await;
    let code = answer.as_ref().err().map_or(Code::Ok, Status::code);
    count("grpc", method, format!("{code:?}"), begin.elapsed());
    answer.map(Response::new)
}

/// Refuses a message whose field is wrong.
fn malformed(error: WireError) -> No {
    let what = error.to_string();
    No::Refused(Refusal::Invalid { what })
}
