//! Files of a newer program.

use super::{
    rot::{in_memory, written},
    salvage::{overwrite, pages_of, run},
    *,
};
use crate::repair;

/// A repair would have left out the tables that it does not know, without a word of it; a start named a migration and not the file.
#[tokio::test]
async fn i12_a_file_of_a_newer_program_is_named_and_neither_served_nor_repaired() {
    let dir = in_memory();
    let path = dir.path().join("metadata.sqlite");
    written(&path).await;
    for statement in [
        "CREATE TABLE of_later (row INTEGER)",
        "INSERT INTO of_later VALUES (7)",
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (1000, 'later', 1, x'00', 1)",
    ] {
        run(&path, statement).await;
    }
    let refused = |told: MetadataError| {
        let said = told.to_string();
        assert!(said.contains("metadata.sqlite has format version 1000, this program reads up to 1"), "{said}");
        assert!(said.ends_with("use a newer program"), "{said}");
    };
    refused(Metadata::open(&path).await.map(|_| ()).unwrap_err());
    refused(Metadata::open_read_only(&path).await.map(|_| ()).unwrap_err());
    let tags = pages_of(&path, "tags").await;
    overwrite(&path, &[tags.iter().find(|page| page.is_leaf).unwrap().number]);
    let damaged = std::fs::read(&path).unwrap();
    for _ in 0..2 {
        refused(repair(&path, &dir.path().join("quarantine"), false).await.map(|_| ()).unwrap_err());
        assert!(std::fs::read(&path).unwrap() == damaged);
    }
}
