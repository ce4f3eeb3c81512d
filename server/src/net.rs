//! The network, chosen in one place: the system's, or in the stack simulation a simulated one.
//!
//! Everything above speaks of a listener, a stream, what comes in, and of connecting; which network
//! that is on is decided here and nowhere else. The feature `simulated` is turned on by the simulation
//! of `cotter-tests` alone, never in a daemon that ships.
//!
//! Nothing here may decide anything, or differ by more than the type of a socket.

use tonic::transport::{Channel, Endpoint, Error};

#[cfg(not(feature = "simulated"))]
pub use tokio::net::{TcpListener, TcpStream};
#[cfg(feature = "simulated")]
pub use turmoil::net::{TcpListener, TcpStream};

#[cfg(not(feature = "simulated"))]
mod chosen {
    use super::{Channel, Endpoint, Error, TcpListener};
    use tonic::transport::server::TcpIncoming;

    pub(crate) fn incoming(listener: TcpListener) -> TcpIncoming {
        TcpIncoming::from(listener).with_nodelay(Some(true))
    }

    pub(crate) async fn connect(endpoint: &Endpoint) -> Result<Channel, Error> {
        endpoint.connect().await
    }
}

#[cfg(feature = "simulated")]
mod chosen {
    use super::{Channel, Endpoint, Error, TcpListener, TcpStream};
    use hyper_util::rt::TokioIo;
    use std::io;
    use std::pin::Pin;
    use std::task::{Context, Poll};
    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
    use tokio_stream::Stream;
    use tonic::transport::server::{Connected, TcpConnectInfo};

    /// A simulated stream that tells tonic where it leads.
    pub(crate) struct Accepted(TcpStream);

    impl Connected for Accepted {
        type ConnectInfo = TcpConnectInfo;

        fn connect_info(&self) -> TcpConnectInfo {
            TcpConnectInfo {
                local_addr: self.0.local_addr().ok(),
                remote_addr: self.0.peer_addr().ok(),
            }
        }
    }

    impl AsyncRead for Accepted {
        fn poll_read(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_read(context, buffer)
        }
    }

    impl AsyncWrite for Accepted {
        fn poll_write(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.0).poll_write(context, bytes)
        }

        fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(context)
        }

        fn poll_shutdown(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(context)
        }
    }

    pub(crate) fn incoming(listener: TcpListener) -> impl Stream<Item = io::Result<Accepted>> {
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        tokio::spawn(async move {
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    () = sender.closed() => return,
                };
                let accepted = accepted.map(|(stream, _)| Accepted(stream));
                if sender.send(accepted).await.is_err() {
                    return;
                }
            }
        });
        tokio_stream::wrappers::ReceiverStream::new(receiver)
    }

    pub(crate) async fn connect(endpoint: &Endpoint) -> Result<Channel, Error> {
        let dial = |uri: axum::http::Uri| async move {
            let place = uri.authority().map(ToString::to_string).unwrap_or_default();
            TcpStream::connect(place).await.map(TokioIo::new)
        };
        endpoint
            .connect_with_connector(tower::service_fn(dial))
            .await
    }
}

pub(crate) use chosen::{connect, incoming};
