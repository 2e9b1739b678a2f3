//! Damage to the file of metadata and to its log (I11).

use std::path::{Path, PathBuf};

use sqlx::{ConnectOptions, Connection, sqlite::SqliteConnectOptions};

use super::*;
use crate::{check, pages, prepare, repair, store::MIGRATIONS, table_list};

/// In memory where there is such a place: nothing here is about the disk.
pub(super) fn in_memory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

/// All that is in it, as text.
pub(super) async fn content(metadata: &Metadata) -> Result<String, MetadataError> {
    let mut all = format!("{:?}", metadata.projects().await?);
    for project in metadata.projects().await? {
        all += &format!("{:?}", metadata.runs_of_project(&project.project_id).await?);
    }
    Ok(all + &format!("{:?}", metadata.trashed_runs().await?))
}

fn whole_pages(file: &[u8]) -> bool {
    file.chunks(4_096).enumerate().all(|(number, page)| pages::is_good(page, number as u64 * 4_096))
}

/// Enough runs for some pages, closed.
pub(super) async fn written(path: &Path) -> String {
    let metadata = Metadata::open(path).await.unwrap();
    let project = metadata.ensure_project("p", 5).await.unwrap();
    for number in 0..60 {
        let run = NewRun { notes: Some("note ".repeat(20)), ..new_run(&format!("run-{number}"), &project.project_id) };
        metadata.create_run(run, number).await.unwrap();
    }
    // The one row whose number is 0, and a row of each further table.
    metadata.ensure_first_project(6).await.unwrap();
    let tags = BTreeMap::from([("team".to_owned(), Some("vision".to_owned()))]);
    metadata.tag_project("0", tags, 7).await.unwrap();
    metadata.trash_run("run-7", 99).await.unwrap();
    let all = content(&metadata).await.unwrap();
    metadata.close().await;
    all
}

pub(super) async fn opened(path: &Path) -> Result<String, MetadataError> {
    let metadata = Metadata::open_read_only(path).await?;
    let all = content(&metadata).await;
    metadata.close().await;
    all
}

/// Of 25 flipped bytes of a file without checksums two were noticed.
#[tokio::test]
async fn i11_a_flipped_bit_is_found_never_served_and_turned_back() {
    let dir = in_memory();
    let path = dir.path().join("metadata.sqlite");
    let whole = written(&path).await;
    let file = std::fs::read(&path).unwrap();
    assert!(file.len() > 10 * 4_096 && whole_pages(&file));
    assert!(check(&path).await.unwrap().damages.is_empty());
    let mut refused = 0;
    for byte in (0..file.len()).step_by(3_997) {
        let mut damaged = file.clone();
        damaged[byte] ^= 1 << (byte % 8);
        std::fs::write(&path, &damaged).unwrap();
        match opened(&path).await {
            Ok(all) => assert_eq!(all, whole, "byte {byte}"),
            Err(error) => {
                assert!(matches!(error, MetadataError::DamagedFile { .. }), "byte {byte}: {error}");
                refused += 1;
            }
        }
        let found = check(&path).await.unwrap().damages;
        assert!(found.len() == 1 && found[0].offset <= byte as u64, "byte {byte}: {found:?}");
        let quarantine = dir.path().join("quarantine");
        let would = repair(&path, &quarantine, true).await.unwrap();
        assert_eq!((std::fs::read(&path).unwrap(), would.quarantined.len()), (damaged, 0), "a dry run changes nothing");
        let done = repair(&path, &quarantine, false).await.unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), file, "byte {byte}: {:?}", done.lines);
        assert!(!done.quarantined.is_empty());
        std::fs::remove_dir_all(quarantine).unwrap();
        assert_eq!(repair(&path, dir.path(), false).await.unwrap(), crate::MetadataRepair::default());
    }
    assert!(refused > 10, "{refused}");
    assert_eq!(opened(&path).await.unwrap(), whole);
}

#[tokio::test]
async fn i11_a_page_that_is_overwritten_takes_its_own_rows_only() {
    let dir = in_memory();
    let path = dir.path().join("metadata.sqlite");
    written(&path).await;
    let file = std::fs::read(&path).unwrap();
    let tables = std::fs::read(table_list::copy_of(&path)).unwrap();
    let (mut most, mut tagged) = (0, 0);
    for page in (1..file.len() / 4_096).step_by(3) {
        let mut damaged = file.clone();
        damaged[page * 4_096 + 100..page * 4_096 + 3_000].fill(0xee);
        std::fs::write(&path, &damaged).unwrap();
        std::fs::write(table_list::copy_of(&path), &tables).unwrap();
        let done = repair(&path, &dir.path().join("quarantine"), false).await.unwrap();
        assert!(check(&path).await.unwrap().damages.is_empty(), "page {page}: {:?}", done.lines);
        let metadata = Metadata::open(&path).await.unwrap();
        let projects = metadata.projects().await.unwrap();
        let is_first = |project: &&crate::Project| project.project_id == "0" && !project.tags.is_empty();
        tagged += projects.iter().filter(is_first).count();
        let mut runs = 0;
        for project in &projects {
            runs += metadata.runs_of_project(&project.project_id).await.unwrap().len();
        }
        let kept = runs + metadata.trashed_runs().await.unwrap().len();
        // A page of the list of tables comes back whole.
        let is_whole = kept == 60 && done.lines.iter().any(|line| line.contains("list of tables"));
        let words = format!("runs: {kept} rows kept");
        assert!(is_whole || done.lines.iter().any(|line| line.starts_with(&words)), "{:?}", done.lines);
        // What is left takes changes.
        metadata.ensure_project("q", 1).await.unwrap();
        metadata.close().await;
        most = most.max(runs);
    }
    assert_eq!(most, 59, "most pages are not of runs");
    assert!(tagged > 1, "nor of projects and their tags");
    std::fs::write(&path, &file[..5 * 4_096]).unwrap();
    assert_eq!(check(&path).await.unwrap().damages.len(), 1, "a file that ends early");
    assert!(!repair(&path, &dir.path().join("quarantine"), false).await.unwrap().lines.is_empty());
    assert!(check(&path).await.unwrap().damages.is_empty());
}

#[tokio::test]
async fn a_file_without_checksums_gets_them_at_its_next_start() {
    let dir = in_memory();
    let path = dir.path().join("metadata.sqlite");
    // As an earlier version wrote it.
    let options = SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let mut connection = options.journal_mode(sqlx::sqlite::SqliteJournalMode::Wal).connect().await.unwrap();
    MIGRATIONS.run(&mut connection).await.unwrap();
    for name in ["a", "b"] {
        let insert = sqlx::query("INSERT INTO projects (name, created_at_us) VALUES (?, 3)").bind(name);
        insert.execute(&mut connection).await.unwrap();
    }
    connection.close().await.unwrap();
    assert_eq!(prepare::state(&path).unwrap(), prepare::State::Unchecked);
    let whole = opened(&path).await.unwrap();
    let found = check(&path).await.unwrap();
    assert_eq!((found.damages.len(), found.notes.len()), (0, 1), "{found:?}");
    let metadata = Metadata::open(&path).await.unwrap();
    assert_eq!(content(&metadata).await.unwrap(), whole);
    metadata.create_project("c", 9).await.unwrap();
    metadata.close().await;
    assert!(whole_pages(&std::fs::read(&path).unwrap()));
    assert_eq!((check(&path).await.unwrap().notes.len(), prepare::state(&path).unwrap()), (0, prepare::State::Checked));
    assert_eq!(Metadata::open_read_only(&path).await.unwrap().projects().await.unwrap().len(), 3);
}

/// What a new file says.
async fn written_empty(dir: &Path) -> String {
    let metadata = Metadata::open(&dir.join("empty.sqlite")).await.unwrap();
    let all = content(&metadata).await.unwrap();
    metadata.close().await;
    all
}

/// SQLite takes the first frame that does not fit for the end of its log, and forgets what was acknowledged behind it.
#[tokio::test]
async fn i11_changes_behind_damage_in_the_log_are_not_forgotten_in_silence() {
    let dir = in_memory();
    let path = dir.path().join("metadata.sqlite");
    let metadata = Metadata::open(&path).await.unwrap();
    let project = metadata.ensure_project("p", 5).await.unwrap();
    // What is said after each change, from a file that says nothing on.
    let mut states = vec![written_empty(dir.path()).await, content(&metadata).await.unwrap()];
    for number in 0..5 {
        metadata.create_run(new_run(&format!("run-{number}"), &project.project_id), number).await.unwrap();
        states.push(content(&metadata).await.unwrap());
    }
    let (whole, before_last) = (states[6].clone(), states[5].clone());
    // As a kill leaves it: with its log.
    let killed = dir.path().join("killed");
    let log = |path: &Path| PathBuf::from(format!("{}-wal", path.display()));
    let copy = |to: &Path| {
        std::fs::copy(&path, to).unwrap();
        std::fs::copy(log(&path), log(to)).unwrap();
    };
    copy(&killed);
    metadata.close().await;
    let base = std::fs::read(&killed).unwrap();
    let frames = std::fs::read(log(&killed)).unwrap();
    let (mut refused, mut tail) = (0, 0);
    // Of the last transaction but one, all of the header that says that it ends there, too.
    let ends = |frame: &usize| frames[frame + 4..frame + 8] != [0; 4];
    let commits: Vec<usize> = (32..frames.len()).step_by(24 + 4_096).filter(ends).collect();
    let last_but_one = commits[commits.len() - 2];
    for byte in (0..frames.len()).step_by(3_001).chain(last_but_one..last_but_one + 24) {
        for suffix in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{suffix}", killed.display()));
        }
        std::fs::write(&killed, &base).unwrap();
        let mut damaged = frames.clone();
        damaged[byte] ^= 0x20;
        std::fs::write(log(&killed), &damaged).unwrap();
        match Metadata::open(&killed).await {
            Ok(metadata) => {
                // Damage to the last transaction, which cannot be told from one that a crash tore.
                let all = content(&metadata).await.unwrap();
                assert!(all == whole || all == before_last, "byte {byte}: {all}");
                metadata.close().await;
                tail += 1;
            }
            Err(MetadataError::DamagedFile { path, .. }) => {
                assert_eq!(path, log(&killed));
                refused += 1;
                let done = repair(&killed, &dir.path().join("quarantine"), false).await.unwrap();
                assert!(done.quarantined.len() == 2 && !done.lines.is_empty(), "{:?}", done.lines);
                assert!(check(&killed).await.unwrap().damages.is_empty());
                let metadata = Metadata::open(&killed).await.unwrap();
                let all = content(&metadata).await.unwrap();
                assert!(states.contains(&all), "byte {byte}: {all}");
                metadata.close().await;
            }
            Err(error) => panic!("byte {byte}: {error}"),
        }
    }
    assert!(refused > 5 && refused > tail, "{refused} refused, {tail} not");
    assert_eq!(opened(&path).await.unwrap(), whole);
}

#[test]
fn one_flipped_bit_is_turned_back_and_two_are_not() {
    let mut page: Vec<u8> = (0..4_096u32).map(|byte| (byte * 31 % 251) as u8).collect();
    pages::stamp(&mut page, 4_096);
    assert!(pages::is_good(&page, 4_096) && !pages::is_good(&page, 8_192), "good in its place alone");
    assert!(!pages::is_good(&[0; 4_096], 4_096));
    for byte in (0..page.len()).step_by(211).chain(4_084..4_096) {
        for bit in 0..8 {
            let mut damaged = page.clone();
            damaged[byte] ^= 1 << bit;
            assert!(!pages::is_good(&damaged, 4_096));
            assert!(pages::mend_bit(&mut damaged, 4_096) && damaged == page, "byte {byte} bit {bit}");
            damaged[byte] ^= 1 << bit;
            damaged[(byte + 1_000) % 4_096] ^= 1;
            assert!(!pages::is_good(&damaged, 4_096), "byte {byte} bit {bit}");
            assert!(!pages::mend_bit(&mut damaged, 4_096), "byte {byte} bit {bit}");
        }
    }
}

/// A log without its file used to be read as that of the new, empty one.
#[tokio::test]
async fn i11_a_log_without_its_file_is_refused_and_set_aside_by_a_repair() {
    let dir = in_memory();
    let path = dir.path().join("metadata.sqlite");
    std::fs::write(dir.path().join("metadata.sqlite-wal"), [7; 100]).unwrap();
    assert!(matches!(Metadata::open(&path).await, Err(MetadataError::DamagedFile { .. })));
    assert_eq!(check(&path).await.unwrap().damages.len(), 1);
    let done = repair(&path, &dir.path().join("quarantine"), false).await.unwrap();
    assert_eq!((done.quarantined.len(), done.lines.len()), (1, 2), "{done:?}");
    Metadata::open(&path).await.unwrap().close().await;
    assert!(check(&path).await.unwrap().damages.is_empty());
}

/// The layer below SQLite under what a server does: a writer, readers beside it, and checkpoints in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn i11_pages_written_beside_readers_are_all_good() {
    let dir = in_memory();
    let path = dir.path().join("metadata.sqlite");
    let metadata = Metadata::open(&path).await.unwrap();
    let project = metadata.ensure_project("p", 5).await.unwrap();
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let (metadata, id) = (metadata.clone(), project.project_id.clone());
            tokio::spawn(async move {
                let mut seen = 0;
                while seen < 300 {
                    let runs = metadata.runs_of_project(&id).await.unwrap().len();
                    assert!(runs >= seen, "{runs} after {seen}");
                    seen = runs;
                }
            })
        })
        .collect();
    for number in 0..300 {
        let run = NewRun { notes: Some("note ".repeat(200)), ..new_run(&format!("run-{number}"), &project.project_id) };
        metadata.create_run(run, number).await.unwrap();
        if number % 50 == 7 {
            sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").fetch_all(&metadata.writer).await.unwrap();
        }
    }
    for reader in readers {
        reader.await.unwrap();
    }
    // A copy of the moment, through the same layer.
    let copy = dir.path().join("copy.sqlite");
    let mut copying = MetadataCopy::open(&path, &copy).await.unwrap();
    copying.pin().await.unwrap();
    copying.finish().await.unwrap();
    check_copy(&copy).await.unwrap();
    metadata.close().await;
    let file = std::fs::read(&path).unwrap();
    assert!(file.len() > 80 * 4_096 && whole_pages(&file));
    assert!(check(&path).await.unwrap().damages.is_empty());
}

#[tokio::test]
async fn i11_a_damaged_copy_of_the_list_of_tables_is_found_and_made_anew() {
    let dir = in_memory();
    let path = dir.path().join("metadata.sqlite");
    let whole = written(&path).await;
    let copy = table_list::copy_of(&path);
    let content = std::fs::read(&copy).unwrap();
    for byte in (0..content.len()).step_by(97) {
        let mut damaged = content.clone();
        damaged[byte] ^= 1 << (byte % 8);
        std::fs::write(&copy, &damaged).unwrap();
        let found = check(&path).await.unwrap().damages;
        assert!(found.len() == 1 && found[0].path == copy, "byte {byte}: {found:?}");
        let would = repair(&path, &dir.path().join("quarantine"), true).await.unwrap();
        assert!(!would.lines.is_empty() && std::fs::read(&copy).unwrap() == damaged, "byte {byte}");
        repair(&path, &dir.path().join("quarantine"), false).await.unwrap();
        assert_eq!(std::fs::read(&copy).unwrap(), content, "byte {byte}");
        assert!(check(&path).await.unwrap().damages.is_empty());
    }
    assert_eq!(opened(&path).await.unwrap(), whole);
}

/// One sector of the first page took the names of all runs with it.
#[tokio::test]
async fn i11_a_lost_first_page_comes_back_from_an_earlier_copy_of_it() {
    let dir = in_memory();
    let path = dir.path().join("metadata.sqlite");
    written(&path).await;
    let earlier = std::fs::read(table_list::copy_of(&path)).unwrap();
    // Rows come and go since: the file grows, and pages of it are free.
    let metadata = Metadata::open(&path).await.unwrap();
    let project = metadata.ensure_project("later", 7).await.unwrap();
    for number in 0..300 {
        let mut run = new_run(&format!("later{number}"), &project.project_id);
        run.tags.insert("long".to_owned(), "x".repeat(900));
        metadata.create_run(run, number).await.unwrap();
    }
    sqlx::query("DELETE FROM tags WHERE run_id LIKE 'later1%'").execute(&metadata.writer).await.unwrap();
    metadata.close().await;
    let (file, whole) = (std::fs::read(&path).unwrap(), opened(&path).await.unwrap());
    assert_ne!(file[36..40], [0; 4], "there are free pages");
    assert_ne!(std::fs::read(table_list::copy_of(&path)).unwrap(), earlier);
    for at in [0..512, 0..4_096, 3_584..4_096] {
        let mut damaged = file.clone();
        damaged[at].fill(0);
        std::fs::write(&path, &damaged).unwrap();
        std::fs::write(table_list::copy_of(&path), &earlier).unwrap();
        assert!(!check(&path).await.unwrap().damages.is_empty() && opened(&path).await.is_err());
        let done = repair(&path, &dir.path().join("quarantine"), false).await.unwrap();
        assert!(done.lines.iter().any(|line| line.contains("page at byte 0")), "{:?}", done.lines);
        assert!(check(&path).await.unwrap().damages.is_empty());
        assert_eq!(opened(&path).await.unwrap(), whole, "{:?}", done.lines);
    }
}

/// The list of tables has become longer than a page; each page of it that was lost took every row of every table with it.
#[tokio::test]
async fn i11_a_lost_page_of_the_list_of_tables_comes_back_from_its_copy() {
    let dir = in_memory();
    let path = dir.path().join("metadata.sqlite");
    let whole = written(&path).await;
    let file = std::fs::read(&path).unwrap();
    let kept = table_list::kept(&path, &file);
    assert!(kept.len() > 1, "{}", kept.len());
    for (offset, page) in &kept {
        let at = *offset as usize;
        assert_eq!(page, &file[at..at + 4_096]);
        let mut damaged = file.clone();
        damaged[at + 8..at + 4_000].fill(0xee);
        std::fs::write(&path, &damaged).unwrap();
        assert!(opened(&path).await.is_err());
        let done = repair(&path, &dir.path().join("quarantine"), false).await.unwrap();
        assert!(done.lines.iter().any(|line| line.contains("list of tables")), "{:?}", done.lines);
        assert_eq!(std::fs::read(&path).unwrap(), file);
        assert_eq!(opened(&path).await.unwrap(), whole);
        // Without the copy all is lost, which is said.
        std::fs::write(&path, &damaged).unwrap();
        let copy = table_list::copy_of(&path);
        let content = std::fs::read(&copy).unwrap();
        std::fs::write(&copy, &content[..content.len() - 1]).unwrap();
        let done = repair(&path, &dir.path().join("quarantine"), false).await.unwrap();
        assert!(done.lines.iter().any(|line| line.contains("no project and no run is known")), "{:?}", done.lines);
        std::fs::write(&copy, content).unwrap();
    }
    std::fs::write(&path, &file).unwrap();
    // A copy of another file, or a damaged one, is none.
    let mut other = file.clone();
    let at = kept.keys().next().copied().unwrap();
    let page = &mut other[at as usize..at as usize + 4_096];
    page[3_000] ^= 1;
    pages::stamp(page, at);
    assert!(table_list::kept(&path, &other).is_empty());
    let copy = table_list::copy_of(&path);
    let mut content = std::fs::read(&copy).unwrap();
    content[20] ^= 1;
    std::fs::write(&copy, content).unwrap();
    assert!(table_list::kept(&path, &file).is_empty());
    Metadata::open(&path).await.unwrap().close().await;
    assert_eq!(table_list::kept(&path, &file), kept, "the next start writes it anew");
}
