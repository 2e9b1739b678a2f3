//! Metadata that end early (I11).

use sqlx::Row;

use super::{
    rot::{in_memory, written},
    salvage::{PAGE_BYTES, TablePage, pages_of, repaired, rows_of, run},
    *,
};
use crate::table_list::copy_of;

/// SQLite reads nothing of a file that has fewer pages than its header says: one page too few took all rows of all tables.
#[tokio::test]
async fn i11_a_file_that_is_cut_loses_the_rows_of_the_missing_pages_only() {
    let dir = in_memory();
    let path = dir.path().join("metadata.sqlite");
    written(&path).await;
    let (file, tables) = (std::fs::read(&path).unwrap(), std::fs::read(copy_of(&path)).unwrap());
    let (pages, of_runs) = (file.len() / PAGE_BYTES, pages_of(&path, "runs").await);
    // Whole pages and parts of one in turn.
    for (left, rest) in (1..pages).rev().step_by(2).zip([0, 1_000].into_iter().cycle()) {
        std::fs::write(&path, &file[..left * PAGE_BYTES + rest]).unwrap();
        std::fs::write(copy_of(&path), &tables).unwrap();
        let done = repaired(&path).await;
        let missing = of_runs.iter().filter(|page| page.is_leaf && page.number > left);
        let kept = 60 - missing.map(|page| page.rows).sum::<i64>();
        assert_eq!(rows_of(&path, "runs").await, kept, "{left} pages: {:?}", done.lines);
        let words = format!("it has {left} of {pages} pages");
        assert!(done.lines.iter().any(|line| line.starts_with(&words)), "{left} pages: {:?}", done.lines);
    }
}

/// SQLite fills up with zeros what is missing of the last page, and served those as rows.
#[tokio::test]
async fn i11_a_part_of_a_page_is_refused() {
    let dir = in_memory();
    let path = dir.path().join("metadata.sqlite");
    written(&path).await;
    let many = "WITH RECURSIVE n (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n WHERE n < 400) \
                INSERT INTO tags SELECT 'run-1', 'k' || n, printf('%.*c', 900, 'x') FROM n";
    run(&path, many).await;
    let file = std::fs::read(&path).unwrap();
    let is_last = |page: &TablePage| page.is_leaf && page.number * PAGE_BYTES == file.len();
    assert!(pages_of(&path, "tags").await.iter().any(is_last), "the last page has rows");
    for missing in [0, 1, 100, 2_000, 4_095] {
        std::fs::write(&path, &file[..file.len() - missing]).unwrap();
        let metadata = Metadata::open_read_only(&path).await.unwrap();
        let bytes = sqlx::query("SELECT sum(length(value)) FROM tags NOT INDEXED");
        let bytes = bytes.fetch_one(&metadata.readers).await.map_err(MetadataError::from);
        let bytes = bytes.map(|row| row.get::<i64, _>(0));
        metadata.close().await;
        match bytes {
            Ok(bytes) => assert_eq!((missing, bytes), (0, 401 * 900 + 60 * 6)),
            Err(error) => {
                assert!(missing > 0 && matches!(error, MetadataError::DamagedFile { .. }), "{missing}: {error}")
            }
        }
    }
}
