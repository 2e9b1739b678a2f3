//! The listener: connections taken, counted while they are open, and what happens when the system gives none.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::serve::Listener;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};

use crate::{metrics::Held, state::ServerState};

/// Pause after a failure: most often it is file descriptors, which connections that end give back.
const PAUSE: Duration = Duration::from_millis(100);

/// A listener that counts.
pub(crate) struct Connections {
    listener: TcpListener,
    state: Arc<ServerState>,
    /// Failures in a row.
    failures: u64,
}

impl Connections {
    /// Around a bound listener.
    pub(crate) fn new(listener: TcpListener, state: Arc<ServerState>) -> Self {
        Self { listener, state, failures: 0 }
    }

    fn taken(&mut self) {
        if self.failures > 0 {
            tracing::info!(failures = self.failures, "connections can be accepted again");
            self.failures = 0;
        }
    }

    /// A client that went away before it was served is no failure of ours.
    async fn failed(&mut self, error: io::Error) {
        use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
        if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
            return;
        }
        self.state.metrics.accept_failed();
        if self.failures == 0 {
            tracing::error!(
                %error,
                advice = "those that are open are served; raise the limit of open files, or find who holds them: it is tried again \
                          ten times a second",
                "connections cannot be accepted"
            );
        }
        self.failures += 1;
        tokio::time::sleep(PAUSE).await;
    }
}

impl Listener for Connections {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    self.taken();
                    // A small answer must not wait for the acknowledgement of the one before it; where that cannot be said it does.
                    let _ = stream.set_nodelay(true);
                    return (Connection { stream, _held: self.state.metrics.connection_opened() }, address);
                }
                Err(error) => self.failed(error).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// A connection, counted until it is dropped.
pub(crate) struct Connection {
    stream: TcpStream,
    _held: Held,
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }
}
