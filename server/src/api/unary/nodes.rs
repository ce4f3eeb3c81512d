//! `cotter.v1.Nodes`: the tree.

use super::{Unary, malformed};
use crate::api::edge::{change_id, sequencer};
use cotter_proto::status::No;
use cotter_proto::v1::nodes_server::Nodes;
use cotter_proto::v1::query_response::Response as Found;
use cotter_proto::v1::response::Response as Achieved;
use cotter_proto::{WireError, v1};
use cotter_types::{Call, CallResponse, NodeChange};
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl Nodes for Unary {
    async fn create(
        &self,
        request: Request<v1::CreateRequest>,
    ) -> Result<Response<v1::CreateResponse>, Status> {
        let path = request.get_ref().path.clone();
        let write = |achieved| match achieved {
            Achieved::Created(v1::response::Created {
                created,
                stat,
                path: numbered,
            }) => Some(v1::CreateResponse {
                created,
                // Only the cell knows the name of a sequential creation.
                path: if numbered.is_empty() { path } else { numbered },
                stat,
            }),
            _ => None,
        };
        self.change("Nodes/Create", request, write).await
    }

    async fn get(
        &self,
        request: Request<v1::GetRequest>,
    ) -> Result<Response<v1::GetResponse>, Status> {
        let ask = |message: v1::GetRequest| {
            let path = message.path;
            v1::query::Query::Get(v1::query::Get { path })
        };
        let write = |found| match found {
            Found::Node(v1::query_response::Node {
                contents,
                stat,
                revision,
            }) => Some(v1::GetResponse {
                contents,
                stat,
                revision,
            }),
            _ => None,
        };
        self.look("Nodes/Get", request, ask, write).await
    }

    async fn set(
        &self,
        request: Request<v1::SetRequest>,
    ) -> Result<Response<v1::SetResponse>, Status> {
        let write = |achieved| match achieved {
            Achieved::Written(v1::response::Written { stat }) => Some(v1::SetResponse { stat }),
            _ => None,
        };
        self.change("Nodes/Set", request, write).await
    }

    async fn stat(
        &self,
        request: Request<v1::StatRequest>,
    ) -> Result<Response<v1::StatResponse>, Status> {
        let ask = |message: v1::StatRequest| {
            let path = message.path;
            v1::query::Query::Stat(v1::query::Stat { path })
        };
        let write = |found| match found {
            Found::Stat(v1::query_response::Stat { stat, revision }) => {
                Some(v1::StatResponse { stat, revision })
            }
            _ => None,
        };
        self.look("Nodes/Stat", request, ask, write).await
    }

    async fn list(
        &self,
        request: Request<v1::ListRequest>,
    ) -> Result<Response<v1::ListResponse>, Status> {
        let ask = |message: v1::ListRequest| {
            let v1::ListRequest { path, after, limit } = message;
            v1::query::Query::List(v1::query::List { path, after, limit })
        };
        let write = |found| match found {
            Found::List(v1::query_response::List {
                children,
                more,
                revision,
            }) => Some(v1::ListResponse {
                children: children.into_iter().map(child).collect(),
                more,
                revision,
            }),
            _ => None,
        };
        self.look("Nodes/List", request, ask, write).await
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteRequest>,
    ) -> Result<Response<v1::DeleteResponse>, Status> {
        let write = |achieved| match achieved {
            Achieved::Deleted(v1::response::Deleted { nodes }) => {
                Some(v1::DeleteResponse { nodes })
            }
            _ => None,
        };
        self.change("Nodes/Delete", request, write).await
    }

    async fn transaction(
        &self,
        request: Request<v1::TransactionRequest>,
    ) -> Result<Response<v1::TransactionResponse>, Status> {
        let write = |achieved| match achieved {
            Achieved::Applied(v1::response::Applied { results }) => {
                Some(v1::TransactionResponse { results })
            }
            _ => None,
        };
        self.change("Nodes/Transaction", request, write).await
    }
}

fn child(child: v1::query_response::Child) -> v1::list_response::Child {
    let v1::query_response::Child { name, stat } = child;
    v1::list_response::Child { name, stat }
}

/// A request that changes the tree.
trait Change: TryInto<NodeChange, Error = WireError> {
    /// The name by which it may be repeated, if it has one.
    fn request_id(&self) -> Option<&str>;

    /// The acquisition that it is bound to, if it is.
    fn sequencer(&self) -> Option<&str>;
}

macro_rules! change {
    ($($message:ident),*) => {$(
        impl Change for v1::$message {
            fn request_id(&self) -> Option<&str> {
                self.request_id.as_deref()
            }

            fn sequencer(&self) -> Option<&str> {
                self.sequencer.as_deref()
            }
        }
    )*};
}

change!(CreateRequest, SetRequest, DeleteRequest, TransactionRequest);

impl Unary {
    /// Serves a request that changes the tree.
    async fn change<M: Change, R>(
        &self,
        method: &'static str,
        request: Request<M>,
        write: impl FnOnce(Achieved) -> Option<R>,
    ) -> Result<Response<R>, Status> {
        let changed = |response| match response {
            CallResponse::Changed(changed) => v1::Response::from(changed).response.and_then(write),
            _ => None,
        };
        self.serve(method, request, read_change, changed).await
    }
}

fn read_change<M: Change>(message: M) -> Result<Call, No> {
    let (request, repeatable) = change_id(message.request_id(), "request_id")?;
    let bound_to = message.sequencer();
    Ok(Call::Change {
        request,
        repeatable,
        sequencer: bound_to
            .map(|text| sequencer(text, "sequencer"))
            .transpose()?,
        change: message.try_into().map_err(malformed)?,
    })
}
