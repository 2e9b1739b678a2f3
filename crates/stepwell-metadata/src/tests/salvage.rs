//! What a repair keeps of metadata whose pages were overwritten (I11).

use std::path::Path;

use sqlx::{ConnectOptions, Connection, Row, SqliteConnection, sqlite::SqliteConnectOptions};

use super::{
    rot::{in_memory, written},
    *,
};
use crate::{MetadataRepair, check, repair, salvage::TABLES};

const PAGE_BYTES: usize = 4_096;

/// A page of a table, as SQLite itself tells of it.
struct TablePage {
    number: usize,
    is_leaf: bool,
}

/// The file past the layer that checks pages.
async fn plain(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(path).connect().await.unwrap()
}

async fn pages_of(path: &Path, table: &str) -> Vec<TablePage> {
    let mut connection = plain(path).await;
    let rows = sqlx::query("SELECT pageno, pagetype FROM dbstat WHERE name = ? ORDER BY pageno").bind(table);
    let rows = rows.fetch_all(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let page = |row: &sqlx::sqlite::SqliteRow| TablePage {
        number: row.get::<i64, _>(0) as usize,
        is_leaf: row.get::<&str, _>(1) == "leaf",
    };
    rows.iter().map(page).collect()
}

fn overwrite(path: &Path, pages: &[usize]) {
    let mut file = std::fs::read(path).unwrap();
    for number in pages {
        file[(number - 1) * PAGE_BYTES..][..PAGE_BYTES].fill(0xee);
    }
    std::fs::write(path, file).unwrap();
}

async fn repaired(path: &Path) -> MetadataRepair {
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
    metadata.purge_project("gone", 6).await.unwrap();
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
