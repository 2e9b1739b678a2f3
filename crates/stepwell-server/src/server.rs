//! Connections: listening, serving, stopping in order.

use std::{future::Future, io, net::SocketAddr, sync::Arc};

use stepwell_types::ErrorKind;
use tokio::net::TcpListener;

use crate::{
    connections::Connections,
    state::{AppSlot, ServerConfig, ServerState},
};

/// A server that could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("cannot listen on {address}; choose another address, or stop who uses it")]
    Bind {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
}

impl ServerError {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Bind { .. } => ErrorKind::Conflict,
        }
    }
}

/// A bound listener with everything needed to serve. Connections queue in the operating system until [`Server::run`].
pub struct Server {
    listener: TcpListener,
    local_addr: SocketAddr,
    state: Arc<ServerState>,
}

impl Server {
    /// Binds an address; port 0 takes a free one. `app` may be an open application or a slot to be filled later.
    pub async fn bind(address: SocketAddr, app: impl Into<AppSlot>, config: ServerConfig) -> Result<Self, ServerError> {
        let bind = |source| ServerError::Bind { address, source };
        let listener = TcpListener::bind(address).await.map_err(bind)?;
        let local_addr = listener.local_addr().map_err(bind)?;
        Ok(Self { listener, local_addr, state: Arc::new(ServerState::new(app.into(), config)) })
    }

    /// The address it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Serves until `shutdown` is ready, then takes no more connections, lets the requests at hand finish within the
    /// configured deadline, and returns.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send + 'static) {
        let Self { listener, state, .. } = self;
        let connections = Connections::new(state.clone());
        tokio::select! {
            never = connections.accept(&listener) => match never {},
            () = shutdown => {}
        }
        drop(listener);
        state.stopping.send_replace(true);
        let deadline = state.config.shutdown_deadline;
        if tokio::time::timeout(deadline, connections.finish()).await.is_err() {
            tracing::warn!(
                deadline_s = deadline.as_secs(),
                "requests were still running at the deadline of the shutdown and are cut off; nothing to do: what was acknowledged is \
                 durable, clients send the rest again"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
        sync::watch,
    };

    use super::*;

    async fn started(deadline: Duration) -> (SocketAddr, watch::Sender<bool>, tokio::task::JoinHandle<()>) {
        let config = ServerConfig { shutdown_deadline: deadline, ..Default::default() };
        let server = Server::bind(([127, 0, 0, 1], 0).into(), AppSlot::new(), config).await.unwrap();
        let address = server.local_addr();
        let (stop, mut stopped) = watch::channel(false);
        let running = tokio::spawn(async move {
            let shutdown = async move {
                let _ = stopped.wait_for(|stopped| *stopped).await;
            };
            server.run(shutdown).await;
        });
        (address, stop, running)
    }

    async fn health(stream: &mut TcpStream) {
        stream.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut answer = [0; 15];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
    }

    #[tokio::test]
    async fn an_idle_connection_does_not_hold_the_shutdown_up() {
        let (address, stop, running) = started(Duration::from_secs(60)).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        health(&mut stream).await;
        stop.send(true).unwrap();
        tokio::time::timeout(Duration::from_secs(20), running).await.unwrap().unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    async fn a_request_that_never_ends_is_left_at_the_deadline() {
        let (address, stop, running) = started(Duration::from_millis(200)).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n").await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        stop.send(true).unwrap();
        tokio::time::timeout(Duration::from_secs(20), running).await.unwrap().unwrap();
    }
}
