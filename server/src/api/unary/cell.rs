//! `cotter.v1.Cell`: how the cell is.

use super::backup::BackupStream;
use super::{Unary, counted, malformed};
use cotter_proto::v1;
use cotter_proto::v1::cell_server::Cell;
use cotter_proto::v1::query_response::Response as Found;
use cotter_types::{Call, CallResponse};
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl Cell for Unary {
    async fn status(
        &self,
        request: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusResponse>, Status> {
        let ask = |v1::StatusRequest {}: v1::StatusRequest| {
            v1::query::Query::Status(v1::query::Status {})
        };
        let write = |found| match found {
            Found::Status(status) => Some(v1::StatusResponse {
                status: Some(status),
            }),
            _ => None,
        };
        self.look("Cell/Status", request, ask, write).await
    }

    async fn list_sessions(
        &self,
        request: Request<v1::ListSessionsRequest>,
    ) -> Result<Response<v1::ListSessionsResponse>, Status> {
        let ask = |message: v1::ListSessionsRequest| {
            let v1::ListSessionsRequest { after, limit } = message;
            v1::query::Query::Sessions(v1::query::Sessions { after, limit })
        };
        let write = |found| match found {
            Found::Sessions(v1::query_response::Sessions { rows, more }) => {
                Some(v1::ListSessionsResponse { rows, more })
            }
            _ => None,
        };
        self.look("Cell/ListSessions", request, ask, write).await
    }

    async fn administer(
        &self,
        request: Request<v1::AdministerRequest>,
    ) -> Result<Response<v1::AdministerResponse>, Status> {
        let read = |message: v1::AdministerRequest| {
            let what = message.try_into().map_err(malformed)?;
            Ok(Call::Administer(what))
        };
        let write = |response| match response {
            CallResponse::Administered(administered) => Some(administered.into()),
            _ => None,
        };
        self.serve("Cell/Administer", request, read, write).await
    }

    type BackupStream = BackupStream;

    async fn backup(
        &self,
        _request: Request<v1::BackupRequest>,
    ) -> Result<Response<BackupStream>, Status> {
        counted("Cell/Backup", self.begin_backup()).await
    }

    async fn history(
        &self,
        request: Request<v1::HistoryRequest>,
    ) -> Result<Response<v1::HistoryResponse>, Status> {
        counted("Cell/History", self.tell_history(request.into_inner())).await
    }
}
