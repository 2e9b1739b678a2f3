//! Connections: taken within a limit, told apart by their first bytes, and given up when nothing comes of them.

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto::Builder, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::Instant,
};

use crate::{metrics::Door, problem::Problem, router::router, state::ServerState};

/// What an HTTP/2 connection begins with (RFC 9113 §3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Between two looks whether the rest of a preface has come.
const PREFACE_PAUSE: Duration = Duration::from_millis(5);
/// After a connection could not be accepted, most likely for want of descriptors: others close some meanwhile.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// After the last such failure until the log says that it is over: one descriptor that comes free is no end of the want.
const ACCEPT_CALM: Duration = Duration::from_secs(10);
/// A peer that takes no bytes for so long is gone, or may as well be: what it asked for is given up.
const PEER_SILENT_MAX: Duration = Duration::from_secs(120);
/// Between two questions to the other end of a quiet HTTP/2 connection, and how long it has for the answer.
const PING_EVERY: Duration = Duration::from_secs(30);
/// How long a refused connection is read, so that its peer gets to see the refusal.
const LINGER_MAX: Duration = Duration::from_secs(1);
/// Refused connections that are told why at once; more than these are only closed.
const LINGERING_MAX: usize = 64;

/// All connections of a server.
pub(crate) struct Connections {
    state: Arc<ServerState>,
    router: Router,
    places: Arc<Semaphore>,
    lingering: Arc<Semaphore>,
    graceful: GracefulShutdown,
}

enum Version {
    Http1,
    Http2,
}

impl Connections {
    /// None yet.
    pub(crate) fn new(state: Arc<ServerState>) -> Self {
        let places = state.config.connections_max.min(Semaphore::MAX_PERMITS);
        Self {
            router: router(state.clone()),
            places: Arc::new(Semaphore::new(places)),
            lingering: Arc::new(Semaphore::new(LINGERING_MAX)),
            graceful: GracefulShutdown::new(),
            state,
        }
    }

    /// Takes connections for ever.
    pub(crate) async fn accept(&self, listener: &TcpListener) -> Infallible {
        // How often it failed, and when last.
        let mut failing: Option<(u64, Instant)> = None;
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    if let Some((failures, _)) = failing.take_if(|(_, last)| last.elapsed() >= ACCEPT_CALM) {
                        tracing::info!(failures, "connections can be accepted again");
                    }
                    self.take(stream);
                }
                // Of a connection that ended before it was taken.
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    self.state.metrics.accept_failed();
                    if failing.is_none() {
                        tracing::error!(
                            %error,
                            advice = "those that are open are served; raise the limit of open files or lower connections_max: it is tried \
                                      again ten times a second",
                            "connections cannot be accepted"
                        );
                    }
                    failing = Some((failing.map_or(0, |(failures, _)| failures) + 1, Instant::now()));
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Ends connections that rest, and waits for the requests at hand.
    pub(crate) async fn finish(self) {
        self.graceful.shutdown().await;
    }

    fn take(&self, stream: TcpStream) {
        let Ok(place) = self.places.clone().try_acquire_owned() else { return self.refuse(stream) };
        prepare(&stream);
        let (state, router, watcher) = (self.state.clone(), self.router.clone(), self.graceful.watcher());
        let open = state.metrics.connection_opened();
        tokio::spawn(async move {
            let head_max = state.config.head_max;
            let mut stopping = state.stopping.subscribe();
            let version = tokio::select! {
                version = tokio::time::timeout(head_max, version_of(&stream)) => version,
                _ = stopping.wait_for(|stopping| *stopping) => return,
            };
            // Silent for too long, or gone.
            let Ok(Ok(Some(version))) = version else { return };
            let mut builder = Builder::new(TokioExecutor::new());
            builder.http1().timer(TokioTimer::new()).header_read_timeout(head_max);
            let http2 = &mut builder.http2();
            http2.timer(TokioTimer::new()).keep_alive_interval(PING_EVERY).keep_alive_timeout(PING_EVERY);
            let builder = match version {
                Version::Http1 => builder.http1_only(),
                Version::Http2 => builder.http2_only(),
            };
            let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
            // What went wrong with one connection is its peer's to know.
            drop(watcher.watch(connection.into_owned()).await);
            drop((place, open));
        });
    }

    /// One too many: says so in HTTP/1.1, which most can read, and closes it.
    fn refuse(&self, mut stream: TcpStream) {
        let problem = Problem::too_many_connections(self.state.config.connections_max);
        self.state.metrics.refused(Door::Other, &problem);
        let Ok(place) = self.lingering.clone().try_acquire_owned() else { return };
        tokio::spawn(async move {
            let body = problem.to_json();
            let answer = format!(
                "HTTP/1.1 {} Service Unavailable\r\ncontent-type: {}\r\ncontent-length: {}\r\nretry-after: {}\r\nconnection: close\r\n\r\n{body}",
                problem.status(),
                crate::problem::PROBLEM_JSON,
                body.len(),
                problem.retry_after_seconds().unwrap_or(1),
            );
            let tell = async {
                stream.write_all(answer.as_bytes()).await?;
                stream.shutdown().await?;
                // Bytes left unread would make the system answer with a reset, which destroys the answer on its way.
                let mut sink = [0; 4096];
                while stream.read(&mut sink).await? > 0 {}
                io::Result::Ok(())
            };
            drop(tokio::time::timeout(LINGER_MAX, tell).await);
            drop(place);
        });
    }
}

/// What holds for every connection; none of it is worth a refusal where the system does not do it.
fn prepare(stream: &TcpStream) {
    // A small answer must not wait for the acknowledgement of the one before it.
    drop(stream.set_nodelay(true));
    let socket = SockRef::from(stream);
    drop(socket.set_tcp_user_timeout(Some(PEER_SILENT_MAX)));
    drop(socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(PEER_SILENT_MAX)));
}

/// Looks at the first bytes and leaves them; `None` if the connection ended without any.
async fn version_of(stream: &TcpStream) -> io::Result<Option<Version>> {
    let mut first = [0; PREFACE.len()];
    loop {
        match stream.peek(&mut first).await? {
            0 => return Ok(None),
            n if first[..n] != PREFACE[..n] => return Ok(Some(Version::Http1)),
            n if n == PREFACE.len() => return Ok(Some(Version::Http2)),
            _ => tokio::time::sleep(PREFACE_PAUSE).await,
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
