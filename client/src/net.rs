//! The network, chosen in one place: the system's, or in the stack simulation a simulated one.
//!
//! The feature `simulated` is turned on by the simulation of `cotter-tests` alone.
//!
//! Nothing here may decide anything, or differ by more than the type of a socket.

use tonic::transport::{Channel, Endpoint, Error};

/// Connects to an endpoint.
#[cfg(not(feature = "simulated"))]
pub(crate) async fn connect(endpoint: &Endpoint) -> Result<Channel, Error> {
    endpoint.connect().await
}

/// Connects to an endpoint on the simulated network.
#[cfg(feature = "simulated")]
pub(crate) async fn connect(endpoint: &Endpoint) -> Result<Channel, Error> {
    let dial = |uri: tonic::codegen::http::Uri| async move {
        let place = uri.authority().map(ToString::to_string).unwrap_or_default();
        let stream = turmoil::net::TcpStream::connect(place).await;
        stream.map(hyper_util::rt::TokioIo::new)
    };
    endpoint
        .connect_with_connector(tower::service_fn(dial))
        .await
}
