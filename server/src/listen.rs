//! Binding the addresses of a replica, with one clear line when that fails.

use crate::failure::Failure;
use crate::net::TcpListener;
use std::io;
use std::net::SocketAddr;

/// Binds `address`, which the configuration names `key`.
///
/// # Errors
/// [`Failure`]: unavailable when the port is taken, a configuration's fault when this machine has no
/// such address or the port needs more rights.
pub async fn bind(key: &str, address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        let message = format!("{key}: cannot listen on {address}: {error}");
        match error.kind() {
            io::ErrorKind::AddrNotAvailable | io::ErrorKind::PermissionDenied => {
                Failure::config(message)
            }
            _ => Failure::unavailable(message),
        }
    })
}

/// Returns the address that a listener got, with the port that the system chose.
///
/// # Errors
/// [`Failure`] when the system does not say.
pub fn address_of(listener: &TcpListener) -> Result<SocketAddr, Failure> {
    listener
        .local_addr()
        .map_err(|error| Failure::unavailable(format!("a listener has no address: {error}")))
}

/// Warns when an address can be reached from other machines: there is neither encryption nor access
/// control yet.
pub fn warn_unless_loopback(key: &str, address: SocketAddr) {
    if !address.ip().is_loopback() {
        tracing::warn!(
            key,
            %address,
            "listening beyond this machine WITHOUT encryption or access control: \
             everybody who can reach this address can take every lock"
        );
    }
}
