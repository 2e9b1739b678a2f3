//! Deletion: gone from every read at once, from disk by and by, also across restarts; nothing else goes.

use std::sync::Arc;

use proptest::prelude::*;
use stepwell_env::SimDisk;
use stepwell_kernels::SummaryState;
use stepwell_types::Lsn;

use super::*;
use crate::{ChartData, ChartRequest, Deletion};

#[derive(Debug, Clone)]
enum Action {
    /// A run and steps of both of its metrics.
    Ingest {
        run: usize,
        first_step: i64,
        points: usize,
    },
    Flush,
    Compact,
    Restart,
    DeleteRun(usize),
    DeleteMetric(usize),
    /// Points of steps below, for a timestamp is the step in seconds.
    Expire(i64),
    /// Runs in the trash from here on.
    Hide(Vec<usize>),
}

const RUNS: [&str; 3] = ["a", "b", "c"];
const METRICS: [&str; 2] = ["acc", "loss"];

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        6 => (0usize..3, 0i64..500, prop_oneof![4 => 1usize..50, 1 => 2_500usize..5_000])
            .prop_map(|(run, first_step, points)| Action::Ingest { run, first_step, points }),
        3 => Just(Action::Flush),
        2 => Just(Action::Compact),
        1 => Just(Action::Restart),
        2 => (0usize..3).prop_map(Action::DeleteRun),
        1 => (0usize..2).prop_map(Action::DeleteMetric),
        1 => (0i64..600).prop_map(Action::Expire),
        1 => prop::collection::vec(0usize..3, 0..2).prop_map(Action::Hide),
    ]
}

/// (metric, run, step, LSN), and the same of what is shown.
type Model = Vec<(usize, usize, i64, u64)>;

fn check(engine: &Engine, model: &Model, hidden: &[usize]) -> Result<(), TestCaseError> {
    let snapshot = engine.snapshot();
    let mut rows = 0;
    let summaries = snapshot.summaries(&PointFilter::default()).unwrap();
    super::reading::check_latest(&snapshot);
    for (m, metric) in METRICS.iter().enumerate() {
        for (r, run) in RUNS.iter().enumerate() {
            let is_shown = |point: &&(usize, usize, i64, u64)| point.0 == m && point.1 == r && !hidden.contains(&r);
            let mut expected: Vec<(i64, u64)> = model.iter().filter(is_shown).map(|point| (point.2, point.3)).collect();
            expected.sort_unstable();
            rows += expected.len();
            let got = series(engine, metric, run);
            let pairs: Vec<(i64, u64)> = got.step.iter().copied().zip(got.lsn.iter().copied()).collect();
            prop_assert_eq!(&pairs, &expected, "{} of {}", metric, run);
            let mut state = SummaryState::default();
            state.update(&got);
            let summary = summaries.iter().find(|(key, _)| *key == self::key(metric, run)).map(|(_, summary)| *summary);
            prop_assert_eq!(format!("{:?}", summary), format!("{:?}", state.finish()));
            let request = ChartRequest { series: vec![key(metric, run)], from_step: None, to_step: None, buckets: 7 };
            let chart = snapshot.chart(&request).unwrap();
            let mut last = got;
            last.keep_last_per_step();
            prop_assert_eq!(chart[0].points(), last.len() as u64);
            if let ChartData::Buckets(buckets) = &chart[0] {
                prop_assert_eq!(buckets.first().map(|b| b.first_step), last.step.first().copied());
                prop_assert_eq!(buckets.last().map(|b| b.last_step), last.step.last().copied());
            }
        }
    }
    prop_assert_eq!(self::rows(engine), rows);
    Ok(())
}

fn delete(engine: &Engine, metric: Option<&str>, run: Option<&str>, before_us: Option<i64>) {
    let name = |name: &str| name.into();
    let deletion = Deletion { project_id: "1".into(), metric: metric.map(name), run_id: run.map(name), before_us };
    engine.delete(deletion).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn deleted_points_are_gone_at_once_and_no_others(actions in prop::collection::vec(action(), 1..25)) {
        let dir = tempfile::tempdir().unwrap();
        let mut engine = open(&Env::real(), dir.path());
        let (mut model, mut hidden): (Model, Vec<usize>) = Default::default();
        let mut next_lsn = 1;
        for action in &actions {
            match action {
                Action::Ingest { run, first_step, points } => {
                    let steps = (0..*points as i64).map(|i| first_step + i);
                    let rows: Vec<_> = steps.flat_map(|step| (0..2).map(move |m| (m, step))).collect();
                    let batch = batch(&rows.iter().map(|(m, step)| (METRICS[*m], RUNS[*run], *step, *step as f64)).collect::<Vec<_>>());
                    let ack = ingest(&engine, batch, None).unwrap();
                    prop_assert_eq!(ack.first_lsn, Some(Lsn(next_lsn)));
                    model.extend(rows.iter().zip(next_lsn..).map(|((m, step), lsn)| (*m, *run, *step, lsn)));
                    next_lsn += rows.len() as u64;
                }
                Action::Flush => engine.flush().unwrap(),
                Action::Compact => engine.wait_for_compaction(),
                Action::Restart => {
                    engine.shutdown().unwrap();
                    engine = open(&Env::real(), dir.path());
                    engine.hide(hidden.iter().map(|run| ("1".into(), RUNS[*run].into())).collect());
                }
                Action::DeleteRun(run) => {
                    delete(&engine, None, Some(RUNS[*run]), None);
                    model.retain(|point| point.1 != *run);
                }
                Action::DeleteMetric(metric) => {
                    delete(&engine, Some(METRICS[*metric]), None, None);
                    model.retain(|point| point.0 != *metric);
                }
                Action::Expire(step) => {
                    delete(&engine, None, None, Some(step * 1_000_000));
                    model.retain(|point| point.2 >= *step);
                }
                Action::Hide(runs) => {
                    hidden.clone_from(runs);
                    engine.hide(hidden.iter().map(|run| ("1".into(), RUNS[*run].into())).collect());
                }
            }
            check(&engine, &model, &hidden)?;
        }
        engine.flush().unwrap();
        engine.wait_for_compaction();
        check(&engine, &model, &hidden)?;
        engine.shutdown().unwrap();
    }
}

#[test]
fn what_is_deleted_leaves_the_disk_and_then_its_tombstone_does() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(&Env::real(), dir.path());
    ingest(&engine, batch(&[("loss", "a", 1, 1.0), ("loss", "b", 1, 2.0)]), None).unwrap();
    engine.flush().unwrap();
    delete(&engine, None, Some("a"), None);
    ingest(&engine, batch(&[("loss", "a", 2, 3.0)]), None).unwrap();
    assert_eq!(series(&engine, "loss", "a").value, [3.0], "what came after the deletion stays");
    engine.wait_for_compaction();
    assert_eq!(engine.stats().segment_rows, 1);
    delete(&engine, None, Some("b"), None);
    engine.wait_for_compaction();
    assert_eq!((engine.stats().segments, rows(&engine)), (0, 1), "a segment of which nothing is left goes whole");
    engine.flush().unwrap();
    engine.shutdown().unwrap();
    let manifest =
        stepwell_manifest::ManifestStore::read(&stepwell_env::RealDisk, &dir.path().join("MANIFEST")).unwrap();
    assert_eq!((manifest.tombstones, manifest.segments.len()), (Vec::new(), 1));
}

/// Nothing but the tombstone hides these: one point is in a segment that is never merged, one in the log.
#[test]
fn i7_what_is_deleted_stays_so_over_a_restart_that_finds_it_on_disk() {
    let disk = SimDisk::new();
    let open = |disk: &SimDisk| {
        let compaction = CompactionOptions { fan_in: 0, ..CompactionOptions::default() };
        let env = Env { disk: Arc::new(disk.clone()), ..Env::real() };
        Engine::open(env, EngineConfig { compaction, ..config(Path::new("data")) }).unwrap()
    };
    let engine = open(&disk);
    ingest(&engine, batch(&[("loss", "a", 1, 1.0), ("loss", "b", 1, 1.0)]), None).unwrap();
    engine.flush().unwrap();
    ingest(&engine, batch(&[("loss", "a", 2, 2.0), ("loss", "b", 2, 2.0)]), None).unwrap();
    delete(&engine, None, Some("a"), None);
    let crashed = disk.crash(1);
    engine.shutdown().unwrap();
    for disk in [crashed, disk] {
        for _ in 0..2 {
            let engine = open(&disk);
            assert!(series(&engine, "loss", "a").is_empty());
            assert_eq!(series(&engine, "loss", "b").value, [1.0, 2.0]);
            engine.shutdown().unwrap();
        }
        let engine = open(&disk);
        ingest(&engine, batch(&[("loss", "a", 3, 3.0)]), None).unwrap();
        assert_eq!(series(&engine, "loss", "a").value, [3.0], "what came after the deletion stays");
    }
}

/// A segment says that it holds nothing of the tombstones that were known when it was written, and nobody looks again.
#[test]
fn i10_a_flush_leaves_out_what_is_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(&Env::real(), dir.path());
    ingest(&engine, batch(&[("loss", "a", 1, 1.0), ("loss", "b", 1, 1.0)]), None).unwrap();
    delete(&engine, None, Some("a"), None);
    engine.flush().unwrap();
    assert_eq!((engine.stats().segment_rows, rows(&engine)), (1, 1));
    assert!(series(&engine, "loss", "a").is_empty());
}

/// A run's name lies between those of others nearly everywhere: without a look into them, the purge of one run rewrote all segments
/// of its project.
#[test]
fn a_segment_without_a_point_of_what_is_deleted_is_not_written_anew() {
    let dir = tempfile::tempdir().unwrap();
    let open = || {
        let compaction = CompactionOptions { fan_in: 10, ..CompactionOptions::default() };
        Engine::open(Env::real(), EngineConfig { compaction, ..config(dir.path()) }).unwrap()
    };
    let engine = open();
    let manifest =
        || stepwell_manifest::ManifestStore::read(&stepwell_env::RealDisk, &dir.path().join("MANIFEST")).unwrap();
    let files = || manifest().segments.iter().map(|meta| meta.file_name.clone()).collect::<Vec<_>>();
    ingest(&engine, batch(&[("loss", "a", 1, 1.0), ("loss", "c", 1, 2.0)]), None).unwrap();
    engine.flush().unwrap();
    let without_it = files();
    ingest(&engine, batch(&[("loss", "a", 2, 1.5), ("loss", "b", 1, 3.0)]), None).unwrap();
    engine.flush().unwrap();
    delete(&engine, None, Some("b"), None);
    engine.wait_for_compaction();
    assert_eq!(
        (manifest().tombstones, engine.stats().segment_rows),
        (Vec::new(), 3),
        "the point went, and then what hid it"
    );
    assert!(files().contains(&without_it[0]), "{:?} is among {:?}", without_it, files());
    engine.shutdown().unwrap();
    let engine = open();
    assert_eq!(series(&engine, "loss", "a").value, [1.0, 1.5]);
    assert!(series(&engine, "loss", "b").is_empty());
}

/// A segment that merges leave as it is: `old` are the points of its series `a` past the retention, and there are `others` series of one
/// point each that are not.
fn with_a_retention(dir: &Path, old: i64, kept: i64, others: usize) -> Engine {
    let engine = open(&Env::real(), dir);
    let names: Vec<String> = (0..others).map(|number| format!("other{number}")).collect();
    let of_a = (0..old + kept).map(|step| ("loss", "a", step, step as f64));
    let points: Vec<_> = of_a.chain(names.iter().map(|name| ("loss", name.as_str(), old, 1.0))).collect();
    ingest(&engine, batch(&points), None).unwrap();
    engine.flush().unwrap();
    delete(&engine, None, None, Some(old * 1_000_000));
    engine
}

/// Each series of the project was read by a scan of its own, and there may be a million of them.
#[test]
fn summaries_after_a_retention_take_few_scans_of_a_segment() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(&Env::real(), dir.path());
    let names: Vec<String> = (0..2_000).map(|number| format!("r{number}")).collect();
    // Every other one has a point that is old.
    let of_run = |number: usize| (i64::from(number % 2 == 1)..2).map(move |step| (number, step));
    let points: Vec<_> =
        (0..names.len()).flat_map(of_run).map(|(number, step)| ("loss", &*names[number], step, 1.0)).collect();
    ingest(&engine, batch(&points), None).unwrap();
    engine.flush().unwrap();
    delete(&engine, None, None, Some(1_000_000));
    let snapshot = engine.snapshot();
    let scans = || crate::scan::SEGMENT_SCANS.with(std::cell::Cell::get);
    let before = scans();
    let summaries = snapshot.summaries(&PointFilter::default()).unwrap();
    assert!(scans() - before <= 2, "{} scans: what is old, and what is left of its series", scans() - before);
    assert!(summaries.len() == 2_000 && summaries.iter().all(|(_, summary)| summary.count == 1));
    assert_eq!(snapshot.latest(&PointFilter::default()).unwrap().len(), 2_000);
    assert!(scans() - before <= 4);
}

/// The grid went over the steps of deleted points as well, and left few of its cells to the others.
#[test]
fn the_grid_of_a_chart_is_over_the_points_that_are_left() {
    let dir = tempfile::tempdir().unwrap();
    let engine = with_a_retention(dir.path(), 19_000, 1_000, 1);
    let request = ChartRequest { series: vec![key("loss", "a")], from_step: None, to_step: None, buckets: 100 };
    let chart = engine.snapshot().chart(&request).unwrap();
    let ChartData::Buckets(buckets) = &chart[0] else { panic!("{:?}", chart[0]) };
    assert!((51..=100).contains(&buckets.len()), "{} buckets", buckets.len());
    assert_eq!((buckets[0].first_step, chart[0].points()), (19_000, 1_000));
}

/// A series without a point past the retention is shown as if there were none, so that its rollups serve.
#[test]
fn a_series_of_which_nothing_is_old_keeps_what_was_written_with_its_segment() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(&Env::real(), dir.path());
    let old = [("loss", "a", 0, 1.0)];
    let points: Vec<_> = old.into_iter().chain((1..20_001).map(|step| ("loss", "b", step, 0.5))).collect();
    ingest(&engine, batch(&points), None).unwrap();
    engine.flush().unwrap();
    let request = ChartRequest { series: vec![key("loss", "b")], from_step: None, to_step: None, buckets: 100 };
    let whole = engine.snapshot().chart(&request).unwrap();
    delete(&engine, None, None, Some(1_000_000));
    let snapshot = engine.snapshot();
    let scans = || crate::scan::SEGMENT_SCANS.with(std::cell::Cell::get);
    let before = scans();
    assert_eq!(snapshot.chart_by(1, &request).unwrap(), whole);
    assert_eq!(scans() - before, 1, "only what is old was looked for");
}

/// A batch that waited in the queue while its run was purged stayed for ever, and a later run of the same id showed it.
#[test]
fn what_waits_in_the_queue_is_deleted_too_and_what_comes_later_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(&Env::real(), dir.path());
    let (enter, entered) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    // The writer is held by this one's answer.
    let hold = move |_| {
        enter.send(()).unwrap();
        let _ = released.recv();
    };
    engine.ingest(batch(&[("loss", "b", 1, 1.0)]), None, hold).unwrap();
    entered.recv().unwrap();
    let (answer, acknowledged) = mpsc::channel();
    let queued = batch(&[("loss", "a", 1, 1.0)]);
    engine.ingest(queued, None, move |result| answer.send(result).unwrap()).unwrap();
    std::thread::scope(|scope| {
        let deleting = scope.spawn(|| delete(&engine, None, Some("a"), None));
        // One that looks at no queue has the time to end.
        for _ in 0..10_000 {
            if deleting.is_finished() {
                break;
            }
            std::thread::yield_now();
        }
        drop(release);
    });
    acknowledged.recv().unwrap().unwrap();
    assert_eq!((series(&engine, "loss", "a").len(), series(&engine, "loss", "b").len()), (0, 1));
    ingest(&engine, batch(&[("loss", "a", 2, 1.0)]), None).unwrap();
    assert_eq!(series(&engine, "loss", "a").step, [2]);
}
