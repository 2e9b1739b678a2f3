//! Hard limits of the data model. Limits an operator may set live in the server's configuration.

/// Longest run id, bytes of UTF-8.
pub const RUN_ID_BYTES_MAX: usize = 768;
/// Longest metric name, bytes of UTF-8.
pub const METRIC_BYTES_MAX: usize = 1_024;
/// Longest project name, bytes of UTF-8.
pub const PROJECT_NAME_BYTES_MAX: usize = 2_000;
/// Longest producer name, ASCII characters.
pub const PRODUCER_BYTES_MAX: usize = 128;
/// Longest logical path of an artifact, bytes of UTF-8.
pub const ARTIFACT_PATH_BYTES_MAX: usize = 4_096;
/// Longest part of one, between two `/`, bytes of UTF-8.
pub const ARTIFACT_PART_BYTES_MAX: usize = 1_024;
/// Most points in one batch.
pub const BATCH_POINTS_MAX: usize = 4_000_000;
/// Most buckets a series request may ask for.
pub const BUCKETS_MAX: usize = 100_000;
/// Most series a series request may name (runs × metrics).
pub const SERIES_PER_REQUEST_MAX: usize = 10_000;
