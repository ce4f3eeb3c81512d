//! The server that clients connect to: the `Attach` service, the unary services, health, reflection.
//!
//! A connection whose other end is gone without a word is found by HTTP/2 pings. The settings are
//! constants: nobody who runs a cell should have to know them.

use super::attach::AttachService;
use super::door::Door;
use super::edge::Edge;
use super::unary::Unary;
use cotter_proto::FILE_DESCRIPTOR_SET;
use cotter_proto::v1::cotter_server::CotterServer;
use cotter_types::limits::FRAME_BYTES_MAX;
use std::future::Future;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

/// How long a connection may be silent before it is asked whether it still stands.
pub const HTTP2_KEEPALIVE_INTERVAL_MS: u64 = 5_000;
/// How long the answer may take.
pub const HTTP2_KEEPALIVE_TIMEOUT_MS: u64 = 5_000;
/// Most HTTP/2 streams on one connection: a client needs one `Attach` and a few calls.
pub const HTTP2_STREAMS_PER_CONNECTION_MAX: u32 = 256;
/// What a client may send on one HTTP/2 stream before the server has read it, in bytes.
pub const HTTP2_STREAM_WINDOW_BYTES: u32 = 1_024 * 1_024;
/// What a client may send on one connection before the server has read it, in bytes.
pub const HTTP2_CONNECTION_WINDOW_BYTES: u32 = 2 * 1_024 * 1_024;

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
    /// The transport failed.
    #[error("client API: {0}")]
    Transport(#[from] tonic::transport::Error),
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

/// Serves clients of the cell called `cell` until `shutdown` resolves. Streams that are open then end
/// when the owner closes them.
///
/// # Errors
/// [`ServeError`] if the listener fails.
pub async fn serve(
    listener: TcpListener,
    door: Door,
    cell: &str,
    readiness: &Readiness,
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
    let unary = Unary::new(Edge::new(door.clone(), cell));
    let attach = CotterServer::new(AttachService::new(door, cell))
        .max_decoding_message_size(FRAME_BYTES_MAX)
        .max_encoding_message_size(FRAME_BYTES_MAX);
    let server = Server::builder()
        .http2_keepalive_interval(Some(Duration::from_millis(HTTP2_KEEPALIVE_INTERVAL_MS)))
        .http2_keepalive_timeout(Some(Duration::from_millis(HTTP2_KEEPALIVE_TIMEOUT_MS)))
        .max_concurrent_streams(HTTP2_STREAMS_PER_CONNECTION_MAX)
        .initial_stream_window_size(HTTP2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(HTTP2_CONNECTION_WINDOW_BYTES)
        .add_service(attach)
        .add_service(unary.locks())
        .add_service(unary.nodes())
        .add_service(unary.cell())
        .add_service(health)
        .add_service(reflection)
        .add_service(reflection_alpha)
        .serve_with_incoming_shutdown(
            TcpIncoming::from(listener).with_nodelay(Some(true)),
            shutdown,
        );
    tokio::select! {
        served = server => Ok(served?),
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
