//! What the test command tries of each target: its seeds, inputs that once found something, and mutations, the same each time.

use stepwell_fuzz::{CountingAllocator, TARGETS, Target, check, mutations, regressions, target, without_backtraces};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// How many mutations, for who has more time than the test command.
const COUNT_VARIABLE: &str = "STEPWELL_FUZZ_INPUTS";

fn replay(target: &'static Target) {
    without_backtraces(false);
    let seeds = (target.seeds)();
    assert!(!seeds.is_empty());
    seeds.iter().for_each(|seed| check_named(target, seed));
    let regressions = regressions().unwrap();
    let of_target = regressions.iter().filter(|((name, _), _)| name == target.name);
    of_target.for_each(|((_, file), input)| {
        eprintln!("{}/{file}", target.name);
        check_named(target, input);
    });
    let count = std::env::var(COUNT_VARIABLE).ok().and_then(|count| count.parse().ok()).unwrap_or(target.replayed);
    mutations(&seeds, target.words, count).for_each(|input| check_named(target, &input));
}

/// Keeps the input where a failure can be looked at again, as `cargo xtask fuzz` does.
fn check_named(target: &Target, input: &[u8]) {
    let failed = std::panic::catch_unwind(|| check(target, input)).is_err();
    if failed {
        let path = std::env::temp_dir().join(format!("stepwell-fuzz-{}-{:08x}", target.name, crc32c::crc32c(input)));
        std::fs::write(&path, input).unwrap();
        panic!("{}: the input is kept in {}", target.name, path.display());
    }
}

macro_rules! replays {
    ($($test:ident $name:literal)*) => {
        $(#[test]
        fn $test() {
            replay(target($name).unwrap());
        })*

        #[test]
        fn every_target_is_replayed() {
            let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(names, [$($name),*]);
        }
    };
}

replays! {
    wal "wal"
    wal_payload "wal-payload"
    manifest "manifest"
    manifest_body "manifest-body"
    segment_points "segment-points"
    segment_summaries "segment-summaries"
    segment_rollups "segment-rollups"
    event_file "event-file"
    spool "spool"
    ingest_arrow "ingest-arrow"
    ingest_ndjson "ingest-ndjson"
    log_json "log-json"
    flight "flight"
    flight_metadata "flight-metadata"
    content_encoding "content-encoding"
    series_request "series-request"
    mlflow "mlflow"
    sql "sql"
}

#[test]
fn regressions_are_of_targets() {
    for (name, file) in regressions().unwrap().keys() {
        assert!(target(name).is_some(), "regressions/{name}/{file}: there is no target {name}");
    }
}

#[test]
fn the_same_mutations_come_each_time() {
    let seeds = vec![b"seed".to_vec(), b"another".to_vec()];
    let all = || mutations(&seeds, &["word"], 100).collect::<Vec<_>>();
    assert_eq!(all(), all());
    assert!(all().iter().any(|input| !seeds.contains(input)));
}
