//! Blobs whose rows a repair has lost: kept, wherever it is cut short or fails.

use stepwell_metadata::{mark_rows_lost, repair, rows_were_lost};

use super::*;
use crate::{artifacts::sweep_unnamed, repair_directory};

const PAGE_BYTES: usize = 4_096;
/// What a page of SQLite's begins with that has rows of a table.
const TABLE_LEAF: u8 = 13;

/// A closed directory with two artifacts. Returns the names of their blobs.
async fn written(dir: &Path) -> Vec<String> {
    let app = open(dir).await;
    let mut names = Vec::new();
    for path in ["1/r/artifacts/a", "1/r/artifacts/b"] {
        names.push(put(&app, path, path.as_bytes()).await.unwrap().sha256);
    }
    app.shutdown().await.unwrap();
    names
}

/// Overwrites all rows that name one of the blobs.
fn overwrite_rows(path: &Path, names: &[String]) {
    let mut file = std::fs::read(path).unwrap();
    let has = |page: &[u8], name: &String| page.windows(name.len()).any(|part| part == name.as_bytes());
    let mut pages = 0;
    for page in file.chunks_mut(PAGE_BYTES) {
        if page[0] == TABLE_LEAF && names.iter().any(|name| has(page, name)) {
            page.fill(0xee);
            pages += 1;
        }
    }
    assert!(pages > 0);
    std::fs::write(path, file).unwrap();
}

/// A start, with all that it removes.
async fn start(dir: &Path) -> Result<(), AppError> {
    let app = App::open(Env::real(), AppConfig::new(dir)).await?;
    sweep_unnamed(Arc::downgrade(&app.parts)).await;
    app.shutdown().await
}

fn are_aside(dir: &Path, names: &[String]) -> bool {
    names.iter().all(|name| dir.join("quarantine").join(name).is_file())
}

fn are_kept(dir: &Path, names: &[String]) -> bool {
    let is_kept = |name: &String| dir.join("artifacts").join(&name[..2]).join(name).is_file();
    names.iter().all(|name| is_kept(name) || are_aside(dir, std::slice::from_ref(name)))
}

/// What was lost was known to the call of `repair` that lost it alone, and the next start removed the blobs of lost rows.
#[tokio::test(flavor = "multi_thread")]
async fn i11_a_repair_cut_short_anywhere_keeps_the_blobs_of_lost_rows() {
    for cut in ["before", "the mark is there", "the result has its name", "it is in its place", "blobs are aside"] {
        let dir = tempfile::tempdir().unwrap();
        let (dir, config) = (dir.path(), AppConfig::new(dir.path()));
        let (path, quarantine) = (config.metadata_path(), dir.join("quarantine"));
        let names = written(dir).await;
        overwrite_rows(&path, &names);
        let damaged = std::fs::read(&path).unwrap();
        match cut {
            "before" => {}
            "the mark is there" => mark_rows_lost(&path).unwrap(),
            "the result has its name" => {
                repair(&path, &quarantine, false).await.unwrap();
                std::fs::rename(&path, dir.join("metadata.sqlite.repaired")).unwrap();
                std::fs::write(&path, damaged).unwrap();
            }
            "it is in its place" => drop(repair(&path, &quarantine, false).await.unwrap()),
            _ => {
                repair_directory(&Env::real(), &config, false).await.unwrap();
                mark_rows_lost(&path).unwrap();
            }
        }
        let started = start(dir).await;
        assert!(started.is_ok() || matches!(cut, "before" | "the mark is there"), "{cut}: {started:?}");
        assert!(are_kept(dir, &names), "{cut}");
        let done = repair_directory(&Env::real(), &config, false).await.unwrap();
        assert!(are_aside(dir, &names) && !rows_were_lost(&path).unwrap(), "{cut}: {done:?}");
        start(dir).await.unwrap();
        assert!(are_aside(dir, &names), "{cut}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i11_a_repair_that_fails_behind_the_metadata_keeps_the_blobs_of_lost_rows_until_one_ends() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, config) = (dir.path(), AppConfig::new(dir.path()));
    let names = written(dir).await;
    overwrite_rows(&config.metadata_path(), &names);
    // Where a blob is to be kept there is something else.
    let in_the_way = dir.join("quarantine").join(&names[1]);
    std::fs::create_dir_all(in_the_way.join("x")).unwrap();
    repair_directory(&Env::real(), &config, false).await.unwrap_err();
    start(dir).await.unwrap();
    assert!(are_kept(dir, &names));
    let found = crate::check_directory(&Env::real(), &config).await.unwrap();
    assert!(found.artifacts.notes.iter().any(|note| note.contains("lost rows")), "{found:?}");
    std::fs::remove_dir_all(&in_the_way).unwrap();
    let would = repair_directory(&Env::real(), &config, true).await.unwrap();
    assert!(!would.artifacts.lines.is_empty() && would.artifacts.quarantined.is_empty(), "{would:?}");
    repair_directory(&Env::real(), &config, false).await.unwrap();
    assert!(are_aside(dir, &names));
    // From then on what nobody names goes again.
    let app = open(dir).await;
    let info = put(&app, "1/r/artifacts/c", b"c").await.unwrap();
    app.shutdown().await.unwrap();
    let left = format!("{}{}", &info.sha256[..2], "f".repeat(62));
    let left = dir.join("artifacts").join(&info.sha256[..2]).join(left);
    std::fs::write(&left, b"left by a crash").unwrap();
    start(dir).await.unwrap();
    assert!(!left.exists() && are_aside(dir, &names));
}

/// Metadata that are gone are made anew without a row: all blobs are of lost ones.
#[tokio::test(flavor = "multi_thread")]
async fn i11_metadata_that_a_failing_repair_made_anew_take_no_blobs_with_them() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, config) = (dir.path(), AppConfig::new(dir.path()));
    let names = written(dir).await;
    std::fs::remove_file(config.metadata_path()).unwrap();
    let manifest = dir.join("MANIFEST");
    let whole = std::fs::read(&manifest).unwrap();
    std::fs::write(&manifest, b"rot").unwrap();
    let copy = dir.join("MANIFEST.copy");
    let of_copy = std::fs::read(&copy).ok();
    if of_copy.is_some() {
        std::fs::write(&copy, b"rot").unwrap();
    }
    repair_directory(&Env::real(), &config, false).await.unwrap_err();
    assert!(config.metadata_path().exists());
    std::fs::write(&manifest, whole).unwrap();
    if let Some(of_copy) = of_copy {
        std::fs::write(&copy, of_copy).unwrap();
    }
    start(dir).await.unwrap();
    assert!(are_kept(dir, &names));
    repair_directory(&Env::real(), &config, false).await.unwrap();
    assert!(are_aside(dir, &names));
}

/// A start made the metadata anew before it looked for the manifest, which was gone as well; once that was put back, the next start removed
/// every blob.
#[tokio::test(flavor = "multi_thread")]
async fn i11_where_metadata_and_manifest_are_gone_no_start_makes_anything_anew() {
    for kept in ["MANIFEST.copy", "segments or wal", "artifacts"] {
        let dir = tempfile::tempdir().unwrap();
        let (dir, config) = (dir.path(), AppConfig::new(dir.path()));
        let names = written(dir).await;
        let mut gone = vec![config.metadata_path(), dir.join("MANIFEST")];
        if kept != "MANIFEST.copy" {
            gone.push(dir.join("MANIFEST.copy"));
        }
        for path in gone.iter().filter(|path| path.exists()) {
            std::fs::remove_file(path).unwrap();
        }
        if kept == "artifacts" {
            std::fs::remove_dir_all(dir.join("segments")).unwrap();
            std::fs::remove_dir_all(dir.join("wal")).unwrap();
        }
        let error = start(dir).await.unwrap_err();
        assert!(
            error.code == ErrorCode::DataDamaged && error.message.contains("metadata.sqlite is missing"),
            "{kept}: {error}"
        );
        assert!(!config.metadata_path().exists() && are_kept(dir, &names), "{kept}");
    }
}
