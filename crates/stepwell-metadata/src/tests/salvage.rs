//! What a repair keeps of metadata whose pages were overwritten (I11).

use std::{ops::RangeInclusive, path::Path};

use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row, SqliteConnection, sqlite::SqliteConnectOptions};

use super::{
    rot::{in_memory, written},
    traces::trace,
    *,
};
use crate::{MetadataRepair, check, repair, salvage::TABLES, store::checked, table_list::copy_of};

pub(super) const PAGE_BYTES: usize = 4_096;

/// A page of a table, as SQLite itself tells of it.
pub(super) struct TablePage {
    pub(super) number: usize,
    pub(super) is_leaf: bool,
    pub(super) rows: i64,
}

/// The file past the layer that checks pages.
async fn plain(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(path).connect().await.unwrap()
}

pub(super) async fn pages_of(path: &Path, table: &str) -> Vec<TablePage> {
    let mut connection = plain(path).await;
    let rows = sqlx::query(
        "SELECT pageno, pagetype, ncell FROM dbstat WHERE name = ? AND pagetype != 'overflow' ORDER BY pageno",
    )
    .bind(table);
    let rows = rows.fetch_all(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let page = |row: &sqlx::sqlite::SqliteRow| TablePage {
        number: row.get::<i64, _>(0) as usize,
        is_leaf: row.get::<&str, _>(1) == "leaf",
        rows: row.get(2),
    };
    rows.iter().map(page).collect()
}

pub(super) fn overwrite(path: &Path, pages: &[usize]) {
    let mut file = std::fs::read(path).unwrap();
    for number in pages {
        file[(number - 1) * PAGE_BYTES..][..PAGE_BYTES].fill(0xee);
    }
    std::fs::write(path, file).unwrap();
}

pub(super) async fn run(path: &Path, statement: &'static str) {
    let mut connection = checked(SqliteConnectOptions::new().filename(path)).unwrap().connect().await.unwrap();
    sqlx::query(statement).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

pub(super) async fn rows_of(path: &Path, table: &str) -> i64 {
    let mut connection = plain(path).await;
    let count = AssertSqlSafe(format!("SELECT count(*) FROM {table} NOT INDEXED"));
    let count = sqlx::query(count).fetch_one(&mut connection).await.unwrap().get(0);
    connection.close().await.unwrap();
    count
}

async fn row_numbers(path: &Path, table: &str) -> Vec<i64> {
    let mut connection = plain(path).await;
    let numbers = AssertSqlSafe(format!("SELECT rowid FROM {table} NOT INDEXED"));
    let rows = sqlx::query(numbers).fetch_all(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// Row numbers of a table that are told to be lost.
fn told(done: &MetadataRepair, table: &str) -> Vec<RangeInclusive<i64>> {
    let is_of_table = |line: &&String| line.starts_with(&format!("{table}: "));
    let line = done.lines.iter().find(is_of_table).unwrap();
    let Some((_, words)) = line.split_once("row numbers ") else {
        assert!(line.ends_with("none is lost"), "{line}");
        return Vec::new();
    };
    let (ranges, _) = words.split_once(" are lost").unwrap();
    let range = |words: &str| match words.strip_prefix("from ") {
        Some(low) => low.trim_end_matches(" on").parse().unwrap()..=i64::MAX,
        None => {
            let (low, high) = words.split_once(" to ").unwrap();
            low.parse().unwrap()..=high.parse().unwrap()
        }
    };
    ranges.split(", ").map(range).collect()
}

pub(super) async fn repaired(path: &Path) -> MetadataRepair {
    let done = repair(path, &path.with_extension("quarantine"), false).await.unwrap();
    assert!(check(path).await.unwrap().damages.is_empty(), "{:?}", done.lines);
    done
}

/// A repair forgot where the artifacts are, and the next start removed every object that no row names.
#[tokio::test]
async fn i11_a_repair_knows_where_the_artifacts_are_and_which_ids_were_given() {
    const URL: &str = "s3://team/stepwell";
    let dir = in_memory();
    let path = dir.path().join("metadata.sqlite");
    written(&path).await;
    let metadata = Metadata::open(&path).await.unwrap();
    metadata.set_artifact_store(URL, 3).await.unwrap();
    let gone = metadata.create_project("gone", 4).await.unwrap();
    metadata.trash_project(&gone.project_id, 5).await.unwrap();
    metadata.purge_project("gone", &gone.project_id, 6).await.unwrap();
    metadata.close().await;
    let file = std::fs::read(&path).unwrap();
    // With the row itself overwritten the audit knows.
    for table in ["runs", "artifact_store"] {
        std::fs::write(&path, &file).unwrap();
        let leaf = pages_of(&path, table).await.into_iter().find(|page| page.is_leaf).unwrap();
        overwrite(&path, &[leaf.number]);
        let done = repaired(&path).await;
        let metadata = Metadata::open(&path).await.unwrap();
        assert_eq!(metadata.artifact_store().await.unwrap().as_deref(), Some(URL), "{:?}", done.lines);
        let next = metadata.create_project("next", 7).await.unwrap();
        let id = |project: &crate::Project| project.project_id.parse::<i64>().unwrap();
        assert!(id(&next) > id(&gone), "{next:?} after {gone:?}");
        metadata.close().await;
    }
}

#[tokio::test]
async fn every_table_has_its_rows_copied() {
    let dir = in_memory();
    let path = dir.path().join("metadata.sqlite");
    Metadata::open(&path).await.unwrap().close().await;
    let mut connection = plain(&path).await;
    let names = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT GLOB 'sqlite_*' AND name != '_sqlx_migrations'";
    let rows = sqlx::query(names).fetch_all(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let mut names: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let mut copied = TABLES.to_vec();
    names.sort();
    copied.sort();
    assert_eq!(names, copied);
}

/// Projects that are only traced have no runs; what was kept of them went with their rows in `projects`.
#[tokio::test]
async fn i11_a_project_whose_row_is_lost_is_made_anew_for_whatever_is_left_of_it() {
    let dir = in_memory();
    let path = dir.path().join("metadata.sqlite");
    let metadata = Metadata::open(&path).await.unwrap();
    let mut ids = Vec::new();
    for name in ["traced", "models", "data", "tagged", "nothing"] {
        ids.push(metadata.create_project(name, 1).await.unwrap().project_id);
    }
    let trace = metadata.put_trace(trace("t", &ids[0], Vec::new()), 2).await.unwrap();
    let model = "INSERT INTO logged_models (model_id, project_id, name, location, status, created_at_us, updated_at_us) \
                 VALUES ('m', ?, 'model', 'x', 'ready', 1, 1)";
    sqlx::query(model).bind(&ids[1]).execute(&metadata.writer).await.unwrap();
    let dataset =
        "INSERT INTO datasets (project_id, name, digest, source_type, source) VALUES (?, 'd', '1', 'local', 'x')";
    sqlx::query(dataset).bind(&ids[2]).execute(&metadata.writer).await.unwrap();
    metadata.tag_project(&ids[3], BTreeMap::from([("team".into(), Some("vision".into()))]), 3).await.unwrap();
    metadata.close().await;
    let lost: Vec<usize> = pages_of(&path, "projects").await.iter().map(|page| page.number).collect();
    overwrite(&path, &lost);
    let done = repaired(&path).await;
    let metadata = Metadata::open(&path).await.unwrap();
    let projects = metadata.projects().await.unwrap();
    let names: Vec<&str> = projects.iter().map(|project| project.name.as_str()).collect();
    let expected: Vec<String> = ids[..4].iter().map(|id| format!("recovered-{id}")).collect();
    assert_eq!(names, expected, "{:?}", done.lines);
    assert_eq!(metadata.trace("t").await.unwrap(), Some(trace));
    assert_eq!(metadata.logged_models(&ids[1..2]).await.unwrap().len(), 1);
    let datasets = sqlx::query("SELECT count(*) FROM datasets").fetch_one(&metadata.readers).await.unwrap();
    assert_eq!((datasets.get::<i64, _>(0), projects[3].tags.len()), (1, 1));
    metadata.close().await;
}

/// The row before a lost page went with it, and all rows of a table with the page that led to them.
#[tokio::test]
async fn i11_a_lost_page_takes_its_own_rows_and_an_interior_one_takes_none() {
    let dir = in_memory();
    let path = dir.path().join("metadata.sqlite");
    written(&path).await;
    let file = std::fs::read(&path).unwrap();
    let (mut leaves, mut interior) = (0, 0);
    for table in ["runs", "tags", "params", "audit", "projects"] {
        let before = rows_of(&path, table).await;
        for page in pages_of(&path, table).await {
            overwrite(&path, &[page.number]);
            let done = repaired(&path).await;
            // Of lost projects those are made anew of which other rows are left, which here are all.
            let lost = if page.is_leaf && table != "projects" { page.rows } else { 0 };
            let number = page.number;
            assert_eq!(rows_of(&path, table).await, before - lost, "page {number} of {table}: {:?}", done.lines);
            if table != "runs" {
                assert_eq!(rows_of(&path, "runs").await, 60, "page {number} of {table}: {:?}", done.lines);
            }
            *(if page.is_leaf { &mut leaves } else { &mut interior }) += 1;
            std::fs::write(&path, &file).unwrap();
        }
    }
    assert!(leaves > 5 && interior > 1, "{leaves} leaves, {interior} interior pages");
    assert!(pages_of(&path, "runs").await.iter().any(|page| !page.is_leaf), "runs have an interior page");
}

/// Nothing names a leaf that is lost together with the page that led to it: none was told to be lost.
#[tokio::test]
async fn i11_a_leaf_that_is_lost_with_the_page_that_led_to_it_is_told() {
    let dir = in_memory();
    let path = dir.path().join("metadata.sqlite");
    written(&path).await;
    let (file, before) = (std::fs::read(&path).unwrap(), row_numbers(&path, "runs").await);
    let pages = pages_of(&path, "runs").await;
    let (leaves, interior): (Vec<_>, Vec<_>) = pages.iter().partition(|page| page.is_leaf);
    assert!(leaves.len() > 2 && interior.len() == 1, "{} leaves", leaves.len());
    for leaf in leaves {
        std::fs::write(&path, &file).unwrap();
        overwrite(&path, &[interior[0].number, leaf.number]);
        let done = repaired(&path).await;
        let (after, told) = (row_numbers(&path, "runs").await, told(&done, "runs"));
        assert_eq!((before.len() - after.len()) as i64, leaf.rows, "{:?}", done.lines);
        for number in &before {
            let is_told = told.iter().any(|range| range.contains(number));
            assert_eq!(is_told, !after.contains(number), "row {number}: {:?}", done.lines);
        }
    }
    // Where no leaf is lost, none is told.
    std::fs::write(&path, &file).unwrap();
    overwrite(&path, &[interior[0].number]);
    assert!(told(&repaired(&path).await, "runs").is_empty());
}

/// Tables of more than two levels, of which a page at each is lost; what was deleted before does not come back with them.
#[tokio::test]
async fn i11_lost_interior_pages_of_several_tables_are_made_anew_and_bring_nothing_back() {
    let dir = in_memory();
    let path = dir.path().join("metadata.sqlite");
    written(&path).await;
    let many = "WITH RECURSIVE n (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n WHERE n < 2999) \
                INSERT INTO tags SELECT 'run-1', 'k' || n, printf('%.*c', 900 + 9000 * (n % 50 = 0), 'x') FROM n";
    run(&path, many).await;
    run(&path, "DELETE FROM tags WHERE rowid BETWEEN 500 AND 700").await;
    run(&path, "DELETE FROM params WHERE rowid > 200").await;
    let (tags, params) = (rows_of(&path, "tags").await, rows_of(&path, "params").await);
    let file = std::fs::read(&path).unwrap();
    assert_ne!(file[36..40], [0; 4], "there are free pages");
    let interior = |pages: Vec<TablePage>| pages.into_iter().filter(|page| !page.is_leaf).map(|page| page.number);
    let of_tags: Vec<usize> = interior(pages_of(&path, "tags").await).collect();
    let of_params: Vec<usize> = interior(pages_of(&path, "params").await).collect();
    assert!(of_tags.len() > 2 && of_params.len() == 1, "{of_tags:?} {of_params:?}");
    let all = [&of_tags[..], &of_params[..]].concat();
    for lost in of_tags.iter().map(|page| vec![*page]).chain([of_tags.clone(), all]) {
        std::fs::write(&path, &file).unwrap();
        overwrite(&path, &lost);
        let done = repaired(&path).await;
        let found = (rows_of(&path, "tags").await, rows_of(&path, "params").await);
        assert_eq!(found, (tags, params), "{lost:?}: {:?}", done.lines);
    }
    // Of pages that may be free ones none is taken.
    std::fs::write(&path, &file).unwrap();
    let trunk = u32::from_be_bytes(file[32..36].try_into().unwrap()) as usize;
    overwrite(&path, &[of_params[0], trunk]);
    let done = repaired(&path).await;
    assert_eq!(rows_of(&path, "params").await, 0);
    assert!(done.lines.iter().any(|line| line.contains("left out")), "{:?}", done.lines);
}

/// The first page came back without its list of free pages, and deleted rows with the page that led to theirs.
#[tokio::test]
async fn i11_a_lost_first_page_brings_no_deleted_rows_back() {
    let dir = in_memory();
    let path = dir.path().join("metadata.sqlite");
    written(&path).await;
    let many = "WITH RECURSIVE n (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n WHERE n < 999) \
                INSERT INTO params SELECT 'run-1', 'k' || n, 'string', printf('%.*c', 300, 'x') FROM n";
    run(&path, many).await;
    let metadata = Metadata::open(&path).await.unwrap();
    let opened = std::fs::read(copy_of(&path)).unwrap();
    sqlx::query("DELETE FROM params WHERE rowid > 200").execute(&metadata.writer).await.unwrap();
    metadata.close().await;
    let closed = std::fs::read(copy_of(&path)).unwrap();
    let (file, params) = (std::fs::read(&path).unwrap(), rows_of(&path, "params").await);
    assert_ne!(file[36..40], [0; 4], "there are free pages");
    let interior = pages_of(&path, "params").await.into_iter().find(|page| !page.is_leaf).unwrap().number;
    // As a stop leaves the copy, and as a kill does: of the moment of the start.
    for (copy, kept) in [(closed, params), (opened, 0)] {
        std::fs::write(&path, &file).unwrap();
        std::fs::write(copy_of(&path), copy).unwrap();
        overwrite(&path, &[1, interior]);
        let done = repaired(&path).await;
        let found = (rows_of(&path, "params").await, rows_of(&path, "runs").await);
        assert_eq!(found, (kept, 60), "{:?}", done.lines);
        let is_told = done.lines.iter().any(|line| line.starts_with("which pages are free is not known"));
        assert_eq!(is_told, kept == 0, "{:?}", done.lines);
    }
}

/// The first version that adds a column would have lost the whole table of a file from before it.
#[tokio::test]
async fn i11_a_file_of_an_earlier_version_keeps_its_rows() {
    let dir = in_memory();
    let path = dir.path().join("metadata.sqlite");
    written(&path).await;
    run(&path, "ALTER TABLE runs DROP COLUMN scheduled").await;
    let leaf = pages_of(&path, "tags").await.into_iter().find(|page| page.is_leaf).unwrap();
    overwrite(&path, &[leaf.number]);
    let done = repaired(&path).await;
    assert_eq!(rows_of(&path, "runs").await, 60, "{:?}", done.lines);
    let scheduled = "SELECT scheduled FROM runs";
    sqlx::query(scheduled).fetch_all(&mut plain(&path).await).await.unwrap();
}
