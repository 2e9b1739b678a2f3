//! A manifest that is not that of its data directory (I11): what lies beside it shows that, and nothing is removed.

use std::{collections::BTreeMap, fs, io, path::PathBuf, sync::Arc};

use stepwell_env::{Disk, DiskOperation, SimDisk};
use stepwell_types::ErrorKind;

use super::{watched::Watched, *};
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

/// A directory of three runs in a segment each, after a merge of the first and the last that went round the second, which was lost.
struct Merged {
    /// What it had before.
    manifest: Vec<u8>,
    segments: BTreeMap<PathBuf, Vec<u8>>,
    /// The points of the second.
    lost: PathBuf,
    /// The points of the merge.
    result: PathBuf,
}

fn merged_round_a_lost_segment(quiet: &EngineConfig) -> Merged {
    let dir = quiet.data_dir.as_path();
    let engine = Engine::open(Env::real(), quiet.clone()).unwrap();
    for run in ["a", "b", "c"] {
        ingest(&engine, batch(&[("loss", run, 1, 1.0)]), None).unwrap();
        engine.flush().unwrap();
    }
    engine.shutdown().unwrap();
    let (manifest, segments_before) = (fs::read(dir.join("MANIFEST")).unwrap(), segments(dir));
    let is_of_points = |path: &&PathBuf| path.starts_with(dir.join("segments"));
    let lost = segments_before.keys().filter(is_of_points).nth(1).unwrap().clone();
    fs::remove_file(&lost).unwrap();
    let engine = open(&Env::real(), dir);
    engine.delete(Deletion { project_id: "9".into(), metric: None, run_id: None, before_us: None }).unwrap();
    engine.wait_for_compaction();
    engine.shutdown().unwrap();
    let after = segments(dir);
    let result = after.keys().filter(is_of_points).find(|path| !segments_before.contains_key(*path)).unwrap().clone();
    Merged { manifest, segments: segments_before, lost, result }
}

fn quiet(dir: &Path) -> EngineConfig {
    let compaction = CompactionOptions { fan_in: 0, ..CompactionOptions::default() };
    EngineConfig { compaction, ..config(dir) }
}

/// A start refuses for the sake of one file, a check says so, and a repair keeps a copy of that and goes on.
#[track_caller]
fn assert_set_aside(config: &EngineConfig, beside: &Path) {
    let before = segments(&config.data_dir);
    let error = Engine::open(Env::real(), config.clone()).map(drop).unwrap_err();
    assert!(error.kind() == ErrorKind::DataDamaged && error.to_string().contains("run `stepwell repair`"), "{error}");
    let found = check(&Env::real(), config).unwrap();
    assert_eq!((found.damages[0].path.as_path(), &found.damages[0].concerns), (beside, &Concern::Everything));
    assert!(repair(&Env::real(), config, true).unwrap().quarantined.is_empty());
    assert_eq!(segments(&config.data_dir), before);
    let done = repair(&Env::real(), config, false).unwrap();
    assert_eq!(fs::read(&done.quarantined[0]).unwrap(), before[beside]);
    assert!(done.after.unwrap().is_healthy());
}

/// A merge went round a segment that was lost, and a crash came before its commit: nothing in its file is of that segment, though its LSNs
/// lie on both sides. A file that does not read may have been anything: it was refused for ever, though no other manifest was to be had.
#[test]
fn i11_a_lost_segment_beside_what_a_crash_has_left_is_no_sign_of_an_older_manifest() {
    let dir = tempfile::tempdir().unwrap();
    let quiet = quiet(dir.path());
    let Merged { manifest, segments, lost, result } = merged_round_a_lost_segment(&quiet);
    BOTH.iter().for_each(|name| fs::write(dir.path().join(name), &manifest).unwrap());
    segments.iter().filter(|(path, _)| **path != lost).for_each(|(path, bytes)| fs::write(path, bytes).unwrap());

    let engine = Engine::open(Env::real(), quiet.clone()).unwrap();
    assert!(points(&engine, "b").is_err() && !result.exists());
    assert_eq!((points(&engine, "a").unwrap(), points(&engine, "c").unwrap()), (1, 1));
    engine.shutdown().unwrap();
    fs::write(&result, b"PAR1").unwrap();
    assert_set_aside(&quiet, &result);
    let engine = Engine::open(Env::real(), quiet).unwrap();
    assert_eq!(["a", "b", "c"].map(|run| points(&engine, run).unwrap()), [1, 0, 1]);
    assert!(!result.exists());
    engine.shutdown().unwrap();
}

/// The merge was lost, and what lies beside is what a repair of the second segment has written that was killed before its commit: in the
/// range of LSNs of both. Neither start nor repair went on, though the manifest was right.
#[test]
fn i7_i11_what_a_killed_repair_has_left_beside_a_lost_segment_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let quiet = quiet(dir.path());
    let Merged { segments, lost, result, .. } = merged_round_a_lost_segment(&quiet);
    fs::write(&lost, &segments[&lost]).unwrap();
    let left = lost.with_file_name("00000000000000000099.parquet");
    fs::write(&left, &segments[&lost]).unwrap();
    fs::remove_file(&result).unwrap();
    assert_set_aside(&quiet, &left);
    let engine = Engine::open(Env::real(), quiet).unwrap();
    assert_eq!(["a", "b", "c"].map(|run| points(&engine, run).unwrap()), [0, 1, 0]);
    assert!(!left.exists());
    engine.shutdown().unwrap();
}

/// The device refused a file that no manifest names, beside a segment that was lost: the check ended there, and told nothing.
#[test]
fn i11_a_file_that_cannot_be_read_where_the_manifest_is_in_doubt_is_told_by_a_check() {
    let (disk, dir) = (SimDisk::new(), PathBuf::from("data"));
    let env = Env { disk: Arc::new(disk.clone()), ..Env::real() };
    let engine = Engine::open(env.clone(), quiet(&dir)).unwrap();
    ingest(&engine, batch(&[("loss", "a", 1, 1.0)]), None).unwrap();
    engine.flush().unwrap();
    engine.shutdown().unwrap();
    let lost = disk.list(&dir.join("segments")).unwrap().swap_remove(0).name;
    let left = dir.join("segments/00000000000000000099.parquet");
    disk.rename(&dir.join("segments").join(lost), &left).unwrap();
    let refused = left.clone();
    let disk = Watched::over(&disk, move |operation, path| {
        let is_refused = operation == DiskOperation::Map && path == refused;
        if is_refused { Err(io::Error::other("the device refuses it")) } else { Ok(()) }
    });
    let found = check(&Env { disk, ..env }, &quiet(&dir)).unwrap();
    assert_eq!((&found.damages[0].path, &found.damages[0].concerns), (&left, &Concern::Everything));
}
