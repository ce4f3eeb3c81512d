//! The server that clients connect to: the `Attach` service, the unary services, health, reflection, and
//! HTTP/JSON.
//!
//! What is served is put together here; how connections are kept is told in `connections`.

use super::attach::AttachService;
use super::connections::{Rooms, serve_connections};
use super::door::Door;
use super::edge::Edge;
use super::http;
use super::unary::Unary;
use crate::history::HistoryReader;
use crate::net::TcpListener;
use cotter_proto::FILE_DESCRIPTOR_SET;
use cotter_proto::v1::cotter_server::CotterServer;
use cotter_types::limits::FRAME_BYTES_MAX;
use std::future::Future;
use tokio::sync::watch;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

/// The names under which health is reported: the whole server, and the services.
const HEALTH_SERVICES: [&str; 5] = [
    "",
    "cotter.v1.Cotter",
    "cotter.v1.Locks",
    "cotter.v1.Nodes",
    "cotter.v1.Cell",
];

/// Why the API cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The built-in descriptors are broken.
    #[error("reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// Says whether clients should come: true as soon as the replica knows a master, or is it. Kept by the
/// owner of the replica; setting it never waits.
#[derive(Clone, Debug)]
pub struct Readiness(watch::Sender<bool>);

impl Readiness {
    /// Says that the replica is not ready yet.
    #[must_use]
    pub fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    /// Says whether the replica knows a master.
    pub fn set(&self, knows_master: bool) {
        self.0.send_if_modified(|ready| {
            let changed = *ready != knows_master;
            *ready = knows_master;
            changed
        });
    }
}

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}

/// Serves clients of the cell called `cell` until `shutdown` resolves; `history` answers who asks what
/// happened. Streams that are open then end when the owner closes them.
///
/// # Errors
/// [`ServeError`] if the services cannot be put together.
pub async fn serve(
    listener: TcpListener,
    door: Door,
    cell: &str,
    readiness: &Readiness,
    history: HistoryReader,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let (reporter, health) = tonic_health::server::health_reporter();
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    // Older tools know reflection by its first name only.
    let reflection_alpha = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1alpha()?;
    let edge = Edge::new(door.clone(), cell);
    let unary = Unary::new(edge.clone(), history);
    let attach = CotterServer::new(AttachService::new(door, cell))
        .max_decoding_message_size(FRAME_BYTES_MAX)
        .max_encoding_message_size(FRAME_BYTES_MAX);
    let grpc = Routes::new(attach)
        .add_service(unary.locks())
        .add_service(unary.nodes())
        .add_service(unary.cell())
        .add_service(health)
        .add_service(reflection)
        .add_service(reflection_alpha);
    let rooms = Rooms {
        grpc: grpc.prepare().into_axum_router(),
        http: http::router(edge, readiness.0.subscribe()),
    };
    let server = serve_connections(listener, rooms, shutdown);
    tokio::select! {
        () = server => Ok(()),
        never = report(reporter, readiness.0.subscribe()) => match never {},
    }
}

/// Reports health as it changes, for as long as the server runs.
async fn report(
    reporter: HealthReporter,
    mut ready: watch::Receiver<bool>,
) -> std::convert::Infallible {
    loop {
        let serving = if *ready.borrow_and_update() {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        for service in HEALTH_SERVICES {
            reporter.set_service_status(service, serving).await;
        }
        if ready.changed().await.is_err() {
            // Nobody is left to change it.
            std::future::pending::<()>().await;
        }
    }
}

/// Serves clients of a cell called `main` for as long as the test runs, without a history.
#[cfg(test)]
pub(super) async fn serve_for_test(listener: TcpListener, door: Door, ready: Readiness) {
    let never = std::future::pending();
    let served = serve(listener, door, "main", &ready, HistoryReader::off(), never).await;
    served.expect("the doors can be served");
}
