//! `stepwell serve`: lock, listen, replay, serve; on a signal the same backwards.

use std::{io::Write, net::SocketAddr, time::Duration};

use anyhow::{Context, Result, bail};
use stepwell_app::{App, AppConfig, Progress};
use stepwell_env::{DirLock, Env};
use stepwell_segment::SegmentOptions;
use stepwell_server::{AppSlot, Server, ServerConfig};
use tokio::{
    runtime::{Builder, Handle},
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
};
use tracing_subscriber::EnvFilter;

use crate::config::{ServeFlags, Settings};

/// How long requests in flight may go on after a signal. What remains of the promised ten seconds is for the last flush.
const DRAIN_MAX: Duration = Duration::from_secs(4);
/// The promise: a signal ends the process within this time, even if the disk is slow. What is then not in a segment is in
/// the log.
const SHUTDOWN_MAX: Duration = Duration::from_secs(10);

/// File descriptors that connections never get: those of storage, metadata, spill files and the runtime.
const FILES_RESERVED: u64 = 128;
/// The least that the limit of open files must leave for connections.
const CONNECTIONS_MIN: u64 = 16;

/// Serves until a signal.
pub(crate) fn run(flags: ServeFlags) -> Result<()> {
    let settings = Settings::resolve(&flags)?;
    start_log(&settings)?;
    let connections_max = connections_max(&settings)?;
    let env = Env::real();
    env.disk.create_dir_all(&settings.data_dir)?;
    let lock = DirLock::acquire(&settings.data_dir, &format!("stepwell serve, listening on {}", settings.listen))?;
    let runtime =
        Builder::new_multi_thread().enable_all().thread_name("stepwell-http").build().context("start threads")?;
    let result = runtime.block_on(serve(env, &settings, connections_max));
    // Blocking work that a drained request left behind must not hold up the end.
    runtime.shutdown_background();
    drop(lock);
    result
}

fn start_log(settings: &Settings) -> Result<()> {
    let filter = EnvFilter::try_new(&settings.log_filter)
        .with_context(|| format!("`log_filter` is {:?}", settings.log_filter))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false);
    if settings.log_json {
        builder.json().init()
    } else {
        builder.init()
    }
    Ok(())
}

async fn serve(env: Env, settings: &Settings, connections_max: usize) -> Result<()> {
    // Handlers first, so that a signal during replay is not lost and does not kill.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let slot = AppSlot::new();
    let server = Server::bind(settings.listen, slot.clone(), server_config(settings, connections_max)).await?;
    announce(server.local_addr(), settings)?;

    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(server.run(async move {
        // A dropped sender means that the start failed: stop as well.
        let _ = stopped.await;
    }));
    let app = tokio::select! {
        opened = open(env, app_config(settings), slot.progress().clone()) => Some(opened?),
        () = either(&mut terminate, &mut interrupt) => None,
    };
    let Some(app) = app else {
        // Replay writes nothing that a crash could not have left: leaving in the middle is safe.
        tracing::info!("stopped while replaying");
        return Ok(());
    };
    if slot.set(app.clone()).is_err() {
        bail!("the server has an application already");
    }
    tracing::info!("ready");
    either(&mut terminate, &mut interrupt).await;
    tracing::info!("stopping: a second signal ends the process at once");
    tokio::spawn(async move {
        either(&mut terminate, &mut interrupt).await;
        std::process::exit(130);
    });
    let _ = stop.send(());
    let ordered = async {
        // The server itself gives up on requests that do not end, see `server_config`.
        match serving.await {
            Ok(()) => {}
            Err(error) => {
                tracing::error!(%error, "the network panicked while stopping: please report it; what was acknowledged is durable")
            }
        }
        app.shutdown().await
    };
    match tokio::time::timeout(SHUTDOWN_MAX - Duration::from_millis(500), ordered).await {
        Ok(result) => result.context("shut down"),
        Err(_) => {
            tracing::warn!("the last flush takes too long; nothing to do: the next start replays the log");
            Ok(())
        }
    }
}

/// Waits for the first of two signals.
async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}

/// Opens the storage on a blocking thread: recovery reads the whole log.
async fn open(env: Env, config: AppConfig, progress: Progress) -> Result<App> {
    let handle = Handle::current();
    let opened = tokio::task::spawn_blocking(move || handle.block_on(App::open_watched(env, config, &progress)));
    opened.await.context("the opening of the data directory panicked")?.context("open the data directory")
}

/// The one line that goes to stdout, for people and for programs that asked for port 0.
fn announce(address: SocketAddr, settings: &Settings) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "listening on http://{address}, data in {}", settings.data_dir.display())?;
    stdout.flush().context("write to stdout")
}

/// As many connections as were asked for, or as the limit of open files leaves room for.
fn connections_max(settings: &Settings) -> Result<usize> {
    let files = stepwell_env::raise_open_files().context("limit of open files")?;
    let room = files.saturating_sub(FILES_RESERVED);
    if room < CONNECTIONS_MIN {
        bail!(
            "the limit of open files is {files}, at least {} are needed; raise it (`ulimit -n`)",
            FILES_RESERVED + CONNECTIONS_MIN
        );
    }
    if room < settings.connections_max as u64 {
        tracing::info!(
            connections_max = room,
            asked = settings.connections_max,
            "the limit of open files leaves room for fewer connections; raise it (`ulimit -Hn`)"
        );
    }
    Ok(settings.connections_max.min(usize::try_from(room).unwrap_or(usize::MAX)))
}

fn server_config(settings: &Settings, connections_max: usize) -> ServerConfig {
    ServerConfig {
        connections_max,
        head_max: settings.head_timeout,
        body_idle_max: settings.body_idle,
        body_limit_bytes: settings.memory.body_limit,
        decoded_limit_bytes: settings.memory.decoded_limit,
        in_flight_limit_bytes: settings.memory.requests,
        memory_bytes: settings.memory.total,
        shutdown_deadline: DRAIN_MAX,
        ..ServerConfig::default()
    }
}

fn app_config(settings: &Settings) -> AppConfig {
    let mut config = AppConfig::new(&settings.data_dir);
    config.engine.memtable_bytes = settings.memory.memtable;
    config.engine.footer_bytes = settings.memory.footers;
    // A flush and a merge at a time.
    config.engine.segment = SegmentOptions::within(settings.memory.segments / 2);
    config.run_cache_bytes = settings.memory.runs;
    config.engine.flush_age = settings.flush_age;
    config.engine.wal_retain_bytes = settings.wal_retain_bytes;
    config.engine.queue_bytes = settings.memory.queue;
    config.engine.series_per_run_max = settings.series_per_run_max;
    config.engine.metrics_per_project_max = settings.metrics_per_project_max;
    config.artifacts_url = settings.artifacts_url.clone();
    config.artifacts_take_over = settings.artifacts_take_over.clone();
    config.webhooks.allow_private = settings.webhook_private;
    config.query.memory_bytes = settings.memory.query;
    config.query.spill_bytes = settings.query_spill_bytes;
    config.query.deadline = settings.query_timeout;
    config
}
