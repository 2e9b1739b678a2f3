//! Every error code of the use cases, once: status, whether to retry, what to do.

use stepwell_types::ErrorKind;

/// A stable, machine-readable reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    InvalidName,
    InvalidValue,
    TooManyPoints,
    TooManySeries,
    TooManyMetrics,
    RunNotFound,
    ProjectNotFound,
    RunExists,
    ProjectExists,
    ParamConflict,
    RegisteredModelNotFound,
    RegisteredModelExists,
    ModelVersionNotFound,
    LoggedModelNotFound,
    WebhookNotFound,
    InTrash,
    NotInTrash,
    ArtifactNotFound,
    ArtifactInTheWay,
    UploadNotFound,
    TraceNotFound,
    SqlSyntax,
    NotAQuery,
    UnknownTable,
    UnknownColumn,
    InvalidQuery,
    QueryTooComplex,
    QueryMemory,
    QueriesBusy,
    QueryDeadline,
    QueryFailed,
    QueueFull,
    DiskFull,
    FlushFails,
    WalFailed,
    ShuttingDown,
    ReadOnly,
    DataDamaged,
    FileUnreadable,
    Internal,
}

/// (code, name, HTTP status, what the caller does)
type Row = (ErrorCode, &'static str, u16, &'static str);

const TABLE: [Row; 40] = [
    (ErrorCode::InvalidName, "invalid_name", 400, "Correct the name; `field` says which, `limit` how long it may be."),
    (ErrorCode::InvalidValue, "invalid_value", 400, "Correct the value of `field`."),
    (ErrorCode::TooManyPoints, "too_many_points", 413, "Send the batch in parts."),
    (
        ErrorCode::TooManySeries,
        "too_many_series",
        422,
        "Log to another run, or delete metrics; `row` has the first series past `limit`, the operator's `series_per_run_max`.",
    ),
    (
        ErrorCode::TooManyMetrics,
        "too_many_metrics",
        422,
        "Use metrics that exist, or delete some; `row` has the first past `limit`, the operator's `metrics_per_project_max`.",
    ),
    (ErrorCode::RunNotFound, "run_not_found", 404, "Create the run first; the batch was refused whole."),
    (ErrorCode::ProjectNotFound, "project_not_found", 404, "Correct the project's name; `nearest` may have it."),
    (ErrorCode::RunExists, "run_exists", 409, "Use the run that exists, or another run_id."),
    (ErrorCode::ProjectExists, "project_exists", 409, "Use the project that exists, or another name."),
    (ErrorCode::ParamConflict, "param_conflict", 409, "Params are set once; log what changes as a metric or a tag."),
    (ErrorCode::RegisteredModelNotFound, "registered_model_not_found", 404, "Correct the registered model's name."),
    (
        ErrorCode::RegisteredModelExists,
        "registered_model_exists",
        409,
        "Use the registered model that exists, or another name.",
    ),
    (ErrorCode::ModelVersionNotFound, "model_version_not_found", 404, "Correct the version; it may have been deleted."),
    (
        ErrorCode::LoggedModelNotFound,
        "logged_model_not_found",
        404,
        "Correct the model's id; it may have been deleted.",
    ),
    (ErrorCode::WebhookNotFound, "webhook_not_found", 404, "Correct the webhook's id; it may have been deleted."),
    (ErrorCode::InTrash, "in_trash", 409, "Restore it, or purge it, or use another name."),
    (
        ErrorCode::NotInTrash,
        "not_in_trash",
        404,
        "Delete it first, or correct its name; GET /api/v1/trash lists the trash.",
    ),
    (
        ErrorCode::ArtifactNotFound,
        "artifact_not_found",
        404,
        "Correct the path; a list of the directory has what there is.",
    ),
    (
        ErrorCode::ArtifactInTheWay,
        "artifact_in_the_way",
        409,
        "Use another path: an artifact has nothing below it; or delete what `detail` names.",
    ),
    (
        ErrorCode::UploadNotFound,
        "upload_not_found",
        404,
        "Begin the upload in parts anew: it was ended, or the server restarted.",
    ),
    (ErrorCode::TraceNotFound, "trace_not_found", 404, "Correct the trace id."),
    (ErrorCode::SqlSyntax, "sql_syntax", 400, "Correct the SQL at `position`."),
    (ErrorCode::NotAQuery, "not_a_query", 403, "Send one SELECT; this surface changes nothing."),
    (ErrorCode::UnknownTable, "unknown_table", 404, "Correct the table's name; `nearest` may have it."),
    (ErrorCode::UnknownColumn, "unknown_column", 400, "Correct the column's name; `nearest` may have it."),
    (ErrorCode::InvalidQuery, "invalid_query", 400, "Correct the query."),
    (ErrorCode::QueryTooComplex, "query_too_complex", 400, "Simplify the query; `limit` says how far."),
    (
        ErrorCode::QueryMemory,
        "query_memory",
        422,
        "Ask for less: narrow the query or aggregate earlier in it; fewer series, buckets or steps.",
    ),
    (ErrorCode::QueriesBusy, "queries_busy", 503, "Ask the same again after `Retry-After`."),
    (ErrorCode::QueryDeadline, "query_deadline", 422, "Narrow the query by project, metric, run or step."),
    (ErrorCode::QueryFailed, "query_failed", 400, "Correct the query: it met a value that it cannot work with."),
    (ErrorCode::QueueFull, "queue_full", 429, "Send the same batch again after `Retry-After`."),
    (ErrorCode::DiskFull, "disk_full", 503, "Free space; then send the same batch again."),
    (
        ErrorCode::FlushFails,
        "flush_fails",
        503,
        "Send the same batch again after `Retry-After`; an operator looks at what `detail` names.",
    ),
    (ErrorCode::WalFailed, "wal_failed", 503, "An operator looks at the disk and restarts the server; reads go on."),
    (ErrorCode::ShuttingDown, "shutting_down", 503, "Send the same batch again when the server is back."),
    (ErrorCode::ReadOnly, "read_only", 403, "Send the change to the server that owns the data directory."),
    (ErrorCode::DataDamaged, "data_damaged", 500, "An operator looks at the file that the message names."),
    (
        ErrorCode::FileUnreadable,
        "file_unreadable",
        503,
        "Ask again: the file that the message names is tried anew; if it stays so, an operator looks at it.",
    ),
    (ErrorCode::Internal, "internal", 500, "An operator looks at the log."),
];

impl ErrorCode {
    fn row(self) -> &'static Row {
        // The table has a row for every code, which a test holds.
        TABLE.iter().find(|row| row.0 == self).unwrap_or(&TABLE[TABLE.len() - 1])
    }

    /// The code as text.
    pub fn as_str(self) -> &'static str {
        self.row().1
    }

    /// The HTTP status.
    pub fn http_status(self) -> u16 {
        self.row().2
    }

    /// What the caller should do, coarsely.
    pub fn kind(self) -> ErrorKind {
        match (self, self.http_status()) {
            (Self::DataDamaged, _) => ErrorKind::DataDamaged,
            (_, 404) => ErrorKind::NotFound,
            (_, 409) => ErrorKind::Conflict,
            (_, 429 | 503) => ErrorKind::Unavailable,
            (_, 500) => ErrorKind::Internal,
            _ => ErrorKind::InvalidCall,
        }
    }
}

/// Codes that the HTTP layer gives before a use case is reached, for the index.
const HTTP_TABLE: [(&str, u16, &str); 23] = [
    ("malformed_arrow", 400, "Correct the Arrow stream; `detail` says where it breaks."),
    ("malformed_json", 400, "Correct the JSON; `row` is the line."),
    ("malformed_encoding", 400, "The body is not what `Content-Encoding` says."),
    ("missing_field", 400, "Add the column, member or header that `field` names."),
    ("unknown_field", 400, "Remove or correct the column, member or parameter that `field` names."),
    ("wrong_type", 400, "Give `field` the type that `detail` names."),
    ("out_of_range", 400, "Give a number that the column can hold."),
    ("null_value", 400, "Give `row` a value in `field`."),
    ("body_incomplete", 400, "The connection ended within the body; send it again."),
    ("unknown_route", 404, "See `/api/v1/openapi.json` for what there is."),
    ("method_not_allowed", 405, "Use a method that `Allow` names."),
    ("not_acceptable", 406, "Ask for a media type that `detail` names."),
    ("request_timeout", 408, "Send the body without long pauses."),
    ("precondition_failed", 412, "Ask for the artifact anew: it is not the one that `If-Match` names."),
    ("body_too_large", 413, "Send it in parts of at most `limit` bytes."),
    ("decoded_too_large", 413, "Send it in parts that decode to at most `limit` bytes."),
    ("unsupported_media_type", 415, "Send a `Content-Type` that `detail` names."),
    ("unsupported_encoding", 415, "Compress with zstd or gzip, or not at all; artifacts not at all."),
    ("range_not_satisfiable", 416, "Ask for bytes that the artifact has; `Content-Range` says how many."),
    ("not_ready", 503, "The server is replaying its log; try again."),
    ("too_many_connections", 503, "Use fewer connections, or let the operator raise `connections_max`; try again."),
    ("storage_failed", 503, "An operator looks at the disk and restarts the server."),
    ("metadata_fails", 503, "Of `/ready`: an operator looks at metadata.sqlite and its disk; no restart is needed."),
];

/// The index of codes, as committed in `schemas/errors.md`.
pub fn errors_markdown() -> String {
    let mut text = String::from(
        "# Error codes\n\nGenerated. A refusal is `application/problem+json` with `code`, `status`, \
         `detail`, and where it applies `row` (from 1), `field`, `limit`, `position`, `nearest`. \
         Over Flight it is a gRPC status with the same (`flight.md`).\n\n\
         | code | status | send again unchanged? | what to do |\n| --- | --- | --- | --- |\n",
    );
    for (code, name, status, advice) in TABLE {
        let retry = if code.kind() == ErrorKind::Unavailable { "yes, later" } else { "no" };
        text += &format!("| `{name}` | {status} | {retry} | {advice} |\n");
    }
    text += "\nOf the network's layer, before a use case is reached (a Flight message is a body here):\n\n\
             | code | status | what to do |\n| --- | --- | --- |\n";
    for (name, status, advice) in HTTP_TABLE {
        text += &format!("| `{name}` | {status} | {advice} |\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_index_is_this_table() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas/errors.md");
        if std::env::var_os("UPDATE_SCHEMAS").is_some() {
            std::fs::write(&path, errors_markdown()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), errors_markdown(), "run `cargo xtask schemas`");
        for (i, row) in TABLE.iter().enumerate() {
            assert_eq!(TABLE.iter().position(|other| other.0 == row.0 || other.1 == row.1), Some(i), "{}", row.1);
            assert_eq!(row.0 as usize, i, "{} is in the order of the enum, so none is missing", row.1);
        }
        assert_eq!(ErrorCode::Internal as usize + 1, TABLE.len());
    }
}
