//! What is logged of a fault that lasts: one line when it begins, one when it ends, however often it is tried in between.

use std::{
    fmt::{Debug, Write},
    sync::{Mutex, PoisonError, mpsc},
    time::Duration,
};

use stepwell_engine::{Engine, EngineConfig, Health};
use stepwell_env::{Clock, Env, SystemClock};
use stepwell_types::{Batch, SeriesKey};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};

static LINES: Mutex<Vec<(Level, String)>> = Mutex::new(Vec::new());

/// Keeps every event as a line.
struct Keep;

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, "{}={value:?} ", field.name()).unwrap();
    }
}

impl Subscriber for Keep {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::INFO
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        let mut lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push((*event.metadata().level(), line.0));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Lines of a level that contain a text.
fn lines(level: Level, text: &str) -> Vec<String> {
    let lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    lines.iter().filter(|line| line.0 == level && line.1.contains(text)).map(|line| line.1.clone()).collect()
}

fn wait(what: &str, is_done: impl Fn() -> bool) {
    let clock = SystemClock::new();
    while !is_done() {
        assert!(clock.monotonic() < Duration::from_secs(30), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn ingest(engine: &Engine, step: i64) {
    let batch = Batch::new(vec![SeriesKey::new("1", "loss", "r")], vec![0], vec![step], vec![step], vec![0.5]).unwrap();
    let (send, receive) = mpsc::channel();
    engine.ingest(batch, None, move |result| send.send(result).unwrap()).unwrap();
    receive.recv().unwrap().unwrap();
}

#[test]
fn a_fault_that_lasts_is_said_when_it_begins_and_when_it_ends() {
    tracing::subscriber::set_global_default(Keep).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(Env::real(), EngineConfig::new(dir.path())).unwrap();
    ingest(&engine, 0);
    let (segments, away) = (dir.path().join("segments"), dir.path().join("away"));
    std::fs::rename(&segments, &away).unwrap();
    assert!(engine.flush().is_err());
    // Batches are taken meanwhile, and say nothing about it.
    wait("the flush is tried three times", || {
        ingest(&engine, 1);
        engine.stats().flush_failures >= 3
    });
    let begun = lines(Level::ERROR, "segments cannot be written");
    assert_eq!(begun.len(), 1, "{begun:?}");
    assert!(begun[0].contains("advice=") && begun[0].contains("segments"), "it says what and what to do: {}", begun[0]);
    assert!(lines(Level::INFO, "segments can be written again").is_empty());
    std::fs::rename(&away, &segments).unwrap();
    wait("the flush succeeds", || engine.health() == Health::Ready);
    assert_eq!(lines(Level::INFO, "segments can be written again").len(), 1);
    assert_eq!(lines(Level::ERROR, "").len() + lines(Level::WARN, "").len(), 1, "nothing else was loud");
    engine.shutdown().unwrap();
}
