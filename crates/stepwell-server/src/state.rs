//! What all requests share.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use stepwell_app::{App, Progress};
use stepwell_env::{Clock, SystemClock};
use tokio::sync::watch;

use crate::{decode::InFlight, metrics::Metrics, problem::Problem};

/// Where the application appears once it is open: until then the server answers that it is not ready.
#[derive(Clone, Default)]
pub struct AppSlot {
    app: Arc<OnceLock<App>>,
    progress: Progress,
}

impl AppSlot {
    /// An empty slot.
    pub fn new() -> Self {
        Self::default()
    }

    /// Fills the slot. A second application is refused and handed back.
    pub fn set(&self, app: App) -> Result<(), App> {
        self.app.set(app)
    }

    /// The application, if it is open.
    pub fn get(&self) -> Option<&App> {
        self.app.get()
    }

    /// How far its opening is, for whoever opens it to fill.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }
}

impl From<App> for AppSlot {
    fn from(app: App) -> Self {
        Self { app: Arc::new(OnceLock::from(app)), progress: Progress::default() }
    }
}

/// Limits of the network's side.
#[derive(Clone)]
pub struct ServerConfig {
    /// Largest body as received, bytes.
    pub body_limit_bytes: usize,
    /// Largest body as decoded, bytes: what `Content-Encoding` and compressed Arrow buffers expand to, together.
    pub decoded_limit_bytes: usize,
    /// What the bodies of all requests may hold at once, received and decoded, bytes; beyond it 429.
    pub in_flight_limit_bytes: usize,
    /// The budget of the whole process, bytes; shown, not enforced here.
    pub memory_bytes: usize,
    /// Connections open at once; one more is answered with a refusal and closed.
    pub connections_max: usize,
    /// How long a connection may take for the whole head of a request, its rest between two requests included.
    pub head_max: Duration,
    /// How long a body may make no progress.
    pub body_idle_max: Duration,
    /// How long requests may go on after shutdown was asked for.
    pub shutdown_deadline: Duration,
    /// Gives points without a timestamp theirs.
    pub clock: Arc<dyn Clock>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            body_limit_bytes: 64 << 20,
            decoded_limit_bytes: 256 << 20,
            in_flight_limit_bytes: 384 << 20,
            memory_bytes: 2 << 30,
            connections_max: 16_384,
            head_max: Duration::from_secs(60),
            body_idle_max: Duration::from_secs(30),
            shutdown_deadline: Duration::from_secs(8),
            clock: Arc::new(SystemClock::new()),
        }
    }
}

/// Shared by all requests.
pub(crate) struct ServerState {
    pub(crate) app: AppSlot,
    pub(crate) config: ServerConfig,
    pub(crate) in_flight: InFlight,
    pub(crate) metrics: Metrics,
    /// Wall clock at the start, microseconds since the Unix epoch.
    pub(crate) started_us: i64,
    /// Turns true when the shutdown is asked for: streams, which would go on without end, end then.
    pub(crate) stopping: watch::Sender<bool>,
}

impl ServerState {
    /// State of a server without requests.
    pub(crate) fn new(app: AppSlot, config: ServerConfig) -> Self {
        let in_flight = InFlight::new(config.in_flight_limit_bytes);
        let started_us = config.clock.now_us();
        Self { app, config, in_flight, metrics: Metrics::new(), started_us, stopping: watch::Sender::new(false) }
    }

    /// The application, or why there is none.
    pub(crate) fn app(&self) -> Result<&App, Problem> {
        self.app.get().ok_or_else(Problem::not_ready)
    }
}
