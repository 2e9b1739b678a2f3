//! A manifest that is not that of its data directory (I11): what lies beside it shows that, and nothing is removed.

use std::{collections::BTreeMap, fs, path::PathBuf};

use stepwell_types::ErrorKind;

use super::*;
use crate::{Concern, Deletion, check, repair};

const BOTH: [&str; 2] = ["MANIFEST", "MANIFEST.copy"];

/// Files of segments by their paths.
fn segments(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let of = |name: &str| fs::read_dir(dir.join(name)).unwrap().map(|entry| entry.unwrap().path());
    ["segments", "summaries", "rollups"]
        .into_iter()
        .flat_map(of)
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}

fn points(engine: &Engine, run: &str) -> Result<usize, EngineError> {
    Ok(engine.snapshot().series(&key("loss", run), &PointFilter::default())?.len())
}

#[track_caller]
fn assert_refused(config: &EngineConfig, why: &str) {
    let before = segments(&config.data_dir);
    for error in [
        Engine::open(Env::real(), config.clone()).map(drop).unwrap_err(),
        repair(&Env::real(), config, false).map(drop).unwrap_err(),
    ] {
        assert!(error.kind() == ErrorKind::DataDamaged && error.to_string().contains(why), "{error}");
    }
    assert_eq!(check(&Env::real(), config).unwrap().damages[0].concerns, Concern::Everything);
    assert_eq!(segments(&config.data_dir), before);
}

/// The log shows nothing of what merges and deletions commit. The start removed the segment that had replaced the one that the older
/// manifest names, and the copy that told of it was written over.
#[test]
fn i11_a_manifest_of_before_a_deletion_is_refused_and_nothing_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let engine = open(&Env::real(), dir.path());
    ingest(&engine, batch(&[("loss", "a", 1, 1.0), ("loss", "b", 1, 1.0)]), None).unwrap();
    engine.flush().unwrap();
    let older = fs::read(dir.path().join("MANIFEST")).unwrap();
    engine
        .delete(Deletion { project_id: "1".into(), metric: None, run_id: Some("a".into()), before_us: None })
        .unwrap();
    engine.wait_for_compaction();
    engine.shutdown().unwrap();
    let newer = fs::read(dir.path().join("MANIFEST")).unwrap();
    fs::write(dir.path().join("MANIFEST"), &older).unwrap();
    assert_refused(&config, "an older manifest was put back");
    assert!(Engine::open_read_only(Env::real(), config.clone()).is_err());
    fs::write(dir.path().join("MANIFEST.copy"), &older).unwrap();
    assert_refused(&config, "which it does not name");
    BOTH.iter().for_each(|name| fs::write(dir.path().join(name), &newer).unwrap());
    let engine = open(&Env::real(), dir.path());
    assert_eq!((points(&engine, "a").unwrap(), points(&engine, "b").unwrap()), (0, 1));
    engine.shutdown().unwrap();
}

/// A log that was kept from its beginning on was taken for all there ever was: segments went, and what was deleted came back.
#[test]
fn i11_a_lost_manifest_beside_segments_is_refused_though_all_of_the_log_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let config = EngineConfig { wal_retain_bytes: u64::MAX, ..config(dir.path()) };
    let engine = Engine::open(Env::real(), config.clone()).unwrap();
    ingest(&engine, batch(&[("loss", "a", 1, 1.0)]), None).unwrap();
    engine.flush().unwrap();
    engine.shutdown().unwrap();
    let first_log = stepwell_wal::files(&*Env::real().disk, &dir.path().join("wal")).unwrap()[0].0;
    assert_eq!(first_log.0, 1);
    BOTH.iter().for_each(|name| fs::remove_file(dir.path().join(name)).unwrap());
    assert_refused(&config, "MANIFEST is missing");
}

/// A merge went round a segment that was lost, and a crash came before its commit: nothing in its file is of that segment, though its LSNs
/// lie on both sides. A file that does not read may have been anything.
#[test]
fn i11_a_lost_segment_beside_what_a_crash_has_left_is_no_sign_of_an_older_manifest() {
    let dir = tempfile::tempdir().unwrap();
    let compaction = CompactionOptions { fan_in: 0, ..CompactionOptions::default() };
    let quiet = EngineConfig { compaction, ..config(dir.path()) };
    let engine = Engine::open(Env::real(), quiet.clone()).unwrap();
    for run in ["a", "b", "c"] {
        ingest(&engine, batch(&[("loss", run, 1, 1.0)]), None).unwrap();
        engine.flush().unwrap();
    }
    engine.shutdown().unwrap();
    let is_of_points = |path: &PathBuf| path.starts_with(dir.path().join("segments"));
    let lost = segments(dir.path()).into_keys().filter(is_of_points).nth(1).unwrap();
    fs::remove_file(&lost).unwrap();
    let (manifest, before) = (fs::read(dir.path().join("MANIFEST")).unwrap(), segments(dir.path()));
    let engine = open(&Env::real(), dir.path());
    engine.delete(Deletion { project_id: "9".into(), metric: None, run_id: None, before_us: None }).unwrap();
    engine.wait_for_compaction();
    engine.shutdown().unwrap();
    let left = segments(dir.path()).into_keys().find(|path| is_of_points(path) && !before.contains_key(path)).unwrap();
    BOTH.iter().for_each(|name| fs::write(dir.path().join(name), &manifest).unwrap());
    before.iter().for_each(|(path, bytes)| fs::write(path, bytes).unwrap());

    let engine = Engine::open(Env::real(), quiet.clone()).unwrap();
    assert!(points(&engine, "b").is_err() && !left.exists());
    assert_eq!((points(&engine, "a").unwrap(), points(&engine, "c").unwrap()), (1, 1));
    engine.shutdown().unwrap();
    fs::write(&left, b"PAR1").unwrap();
    assert_refused(&quiet, "which it does not name");
}
