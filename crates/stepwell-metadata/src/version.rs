//! The version of a file: an older program does not know all that a newer one wrote there.

use std::path::Path;

use sqlx::{Row, SqliteConnection};

use crate::{error::MetadataError, store::MIGRATIONS};

/// Refuses a file with migrations that this program does not have. One whose version cannot be read passes: that it is damaged is told by
/// whoever needs the rest.
pub(crate) async fn refuse_newer(connection: &mut SqliteConnection, path: &Path) -> Result<(), MetadataError> {
    let newest = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or_default();
    // A file that is just made has no such table.
    let row = sqlx::query("SELECT max(version) FROM _sqlx_migrations").fetch_one(connection).await;
    match row.and_then(|row| row.try_get::<Option<i64>, _>(0)) {
        Ok(Some(actual)) if actual > newest => Err(MetadataError::Newer { path: path.to_owned(), actual, newest }),
        _ => Ok(()),
    }
}
