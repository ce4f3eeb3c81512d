//! Connections of clients: gRPC over HTTP/2, and HTTP/JSON over HTTP/1.1 or HTTP/2, on one port.
//!
//! What a connection speaks is seen from its first bytes; what a request is, from its content type:
//! `application/grpc` over HTTP/2 goes to the gRPC services, everything else to HTTP/JSON.
//!
//! Why not the server that comes with the gRPC library: it cannot tell the two kinds of connections
//! apart, and they need different bounds. An HTTP/2 connection lives as long as its client, is asked
//! by pings whether it still stands, and may carry thousands of sessions. An HTTP/1.1 connection has
//! nothing by which to find out that its other end is gone, so it has a bound for everything: for its
//! number, for its headers, for its age.
//!
//! The settings are constants: nobody who runs a cell should have to know them.
//!
//! This module must never let one kind of client take the places of the other, and never end a
//! connection in the middle of an answer because the server stops.

use crate::net::{TcpListener, TcpStream};
use axum::Router;
use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{Request, Response, Version};
use cotter_types::limits::STREAMS_MAX;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use std::convert::Infallible;
use std::future::Future;
use std::io::Cursor;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tonic::transport::server::TcpConnectInfo;
use tower::ServiceExt;

/// How long an HTTP/2 connection may be silent before it is asked whether it still stands.
pub const HTTP2_KEEPALIVE_INTERVAL_MS: u64 = 5_000;
/// How long the answer may take.
pub const HTTP2_KEEPALIVE_TIMEOUT_MS: u64 = 5_000;
/// Most HTTP/2 streams on one connection: a client needs one `Attach` and a few calls.
pub const HTTP2_STREAMS_PER_CONNECTION_MAX: u32 = 256;
/// What a client may send on one HTTP/2 stream before the server has read it, in bytes.
pub const HTTP2_STREAM_WINDOW_BYTES: u32 = 1_024 * 1_024;
/// What a client may send on one connection before the server has read it, in bytes.
pub const HTTP2_CONNECTION_WINDOW_BYTES: u32 = 2 * 1_024 * 1_024;

/// Most HTTP/1.1 connections.
pub const HTTP1_CONNECTIONS_MAX: usize = 4_096;
/// Most connections of all kinds, those included that have not said yet what they speak.
pub const CONNECTIONS_MAX: usize = STREAMS_MAX + HTTP1_CONNECTIONS_MAX;
/// How long a connection may take to say what it speaks, in milliseconds.
pub const OPENING_MS_MAX: u64 = 10_000;
/// How long the head of an HTTP/1.1 request may take, and how long the connection may stand idle
/// before it, in milliseconds.
pub const HTTP1_HEAD_MS_MAX: u64 = 30_000;
/// Largest head of an HTTP/1.1 request, in bytes.
pub const HTTP1_HEAD_BYTES_MAX: usize = 32 * 1_024;
/// Most header fields of an HTTP/1.1 request.
pub const HTTP1_HEADERS_MAX: usize = 64;
/// After how long an HTTP/1.1 connection takes no further request, in milliseconds.
pub const HTTP1_AGE_MS_MAX: u64 = 10 * 60 * 1_000;
/// How long its last answer may take after that, or after the server was asked to stop, in
/// milliseconds.
pub const HTTP1_FAREWELL_MS_MAX: u64 = 60_000;

/// How long to wait when the system has no more descriptors, in milliseconds.
const ACCEPT_PAUSE_MS: u64 = 100;

/// What every HTTP/2 connection begins with (RFC 9113, section 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What an HTTP/1.1 client is told for whom there is no place.
const NO_PLACE: &str = concat!(
    "{\"error\":{\"code\":\"resource_exhausted\",",
    "\"message\":\"too many HTTP/1.1 connections; try again in 1000 ms\",",
    "\"reason\":{\"kind\":\"overloaded\"},\"retry_after_ms\":1000}}\n"
);

/// What is behind the connections.
#[derive(Clone, Debug)]
pub(super) struct Rooms {
    /// The gRPC services.
    pub(super) grpc: Router,
    /// HTTP/JSON.
    pub(super) http: Router,
}

/// Serves connections until `shutdown` resolves, and then until those that are open have ended.
/// Dropping it ends them all.
pub(super) async fn serve_connections(
    listener: TcpListener,
    rooms: Rooms,
    shutdown: impl Future<Output = ()>,
) {
    let (stop, stopping) = watch::channel(());
    let host = Host {
        rooms,
        stopping,
        http1_places: Arc::new(Semaphore::new(HTTP1_CONNECTIONS_MAX)),
    };
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => match Arc::clone(&places).try_acquire_owned() {
                    Ok(place) => {
                        connections.spawn(host.clone().receive(stream, place));
                    }
                    // Closed at once, without a word: there is no room even for that.
                    Err(_) => metrics::counter!("cotter_api_connections_refused_total").increment(1),
                },
                Err(error) => {
                    tracing::debug!(%error, "a connection cannot be accepted");
                    sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
                }
            },
            // Ended ones are forgotten.
            Some(_) = connections.join_next() => {}
        }
    }
    drop((listener, host));
    // Nobody listens any more if there is no connection.
    let _ = stop.send(());
    while connections.join_next().await.is_some() {}
}

/// Everything that a connection needs.
#[derive(Clone)]
struct Host {
    rooms: Rooms,
    stopping: watch::Receiver<()>,
    http1_places: Arc<Semaphore>,
}

impl Host {
    /// Serves one connection to its end.
    async fn receive(self, mut stream: TcpStream, _place: OwnedSemaphorePermit) {
        // Answers are small, and somebody waits for each.
        if stream.set_nodelay(true).is_err() {
            return;
        }
        let peer = TcpConnectInfo {
            local_addr: stream.local_addr().ok(),
            remote_addr: stream.peer_addr().ok(),
        };
        let Some(opening) = opening(&mut stream).await else {
            return;
        };
        let is_http2 = opening == HTTP2_PREFACE;
        let (read, mut write) = stream.into_split();
        let place = if is_http2 {
            None
        } else if let Ok(place) = Arc::clone(&self.http1_places).try_acquire_owned() {
            Some(place)
        } else {
            metrics::counter!("cotter_api_connections_refused_total").increment(1);
            return decline(&mut write).await;
        };
        let stream = TokioIo::new(tokio::io::join(Cursor::new(opening).chain(read), write));
        let rooms = self.rooms;
        let service =
            service_fn(move |request| answer(rooms.clone(), peer.clone(), is_http2, request));
        match place {
            None => {
                let connection = http2_settings().serve_connection(stream, service);
                until_it_ends(connection, self.stopping, None).await;
            }
            Some(_place) => {
                let connection = http1_settings().serve_connection(stream, service);
                let age = Some(Duration::from_millis(HTTP1_AGE_MS_MAX));
                until_it_ends(connection, self.stopping, age).await;
            }
        }
    }
}

/// Reads as much as tells what a connection speaks; nothing if it never says.
async fn opening(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut read = Vec::with_capacity(HTTP2_PREFACE.len());
    let reading = async {
        while read.len() < HTTP2_PREFACE.len() && HTTP2_PREFACE.starts_with(&read) {
            let left = (HTTP2_PREFACE.len() - read.len()) as u64;
            if (&mut *stream).take(left).read_buf(&mut read).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok::<(), std::io::Error>(())
    };
    let patience = Duration::from_millis(OPENING_MS_MAX);
    timeout(patience, reading).await.ok()?.ok()?;
    Some(read)
}

/// Tells an HTTP/1.1 client that there is no place for it.
async fn decline(write: &mut (impl AsyncWriteExt + Unpin)) {
    let text = format!(
        "HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/json\r\n\
         retry-after: 1\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{NO_PLACE}",
        NO_PLACE.len()
    );
    // It fits into the socket's buffer; whoever has gone away meanwhile does not need it.
    let _ = write.write_all(text.as_bytes()).await;
    let _ = write.shutdown().await;
}

fn http2_settings() -> http2::Builder<TokioExecutor> {
    let mut settings = http2::Builder::new(TokioExecutor::new());
    settings
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(Duration::from_millis(HTTP2_KEEPALIVE_INTERVAL_MS)))
        .keep_alive_timeout(Duration::from_millis(HTTP2_KEEPALIVE_TIMEOUT_MS))
        .max_concurrent_streams(HTTP2_STREAMS_PER_CONNECTION_MAX)
        .initial_stream_window_size(HTTP2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(HTTP2_CONNECTION_WINDOW_BYTES);
    settings
}

fn http1_settings() -> http1::Builder {
    let mut settings = http1::Builder::new();
    settings
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(HTTP1_HEAD_MS_MAX))
        .max_buf_size(HTTP1_HEAD_BYTES_MAX)
        .max_headers(HTTP1_HEADERS_MAX);
    settings
}

/// Lets a connection go on until it ends, the server stops, or it is too old.
async fn until_it_ends<C>(connection: C, mut stopping: watch::Receiver<()>, age: Option<Duration>)
where
    C: GracefulConnection,
    C::Error: std::fmt::Debug,
{
    let mut connection = pin!(connection);
    let grown_old = async {
        match age {
            Some(age) => sleep(age).await,
            None => std::future::pending().await,
        }
    };
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        // An error means that the server is gone, which is a stop too.
        _ = stopping.changed() => None,
        () = grown_old => None,
    };
    let ended = match (ended, age) {
        (Some(ended), _) => Some(ended),
        (None, None) => {
            connection.as_mut().graceful_shutdown();
            Some(connection.await)
        }
        (None, Some(_)) => {
            connection.as_mut().graceful_shutdown();
            let patience = Duration::from_millis(HTTP1_FAREWELL_MS_MAX);
            timeout(patience, connection).await.ok()
        }
    };
    if let Some(Err(error)) = ended {
        tracing::debug!(?error, "a connection ended badly");
    }
}

/// Brings a request to whom it is for.
async fn answer(
    rooms: Rooms,
    peer: TcpConnectInfo,
    is_http2: bool,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    request.extensions_mut().insert(peer);
    let room = if is_http2 && is_grpc(&request) {
        rooms.grpc
    } else {
        rooms.http
    };
    room.oneshot(request.map(Body::new)).await
}

fn is_grpc(request: &Request<Incoming>) -> bool {
    let content_type = request.headers().get(CONTENT_TYPE);
    request.version() == Version::HTTP_2
        && content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}
