-- What a blob of the data directory is called (`schemas/artifacts.md`).
CREATE TABLE artifacts (
    path TEXT NOT NULL PRIMARY KEY,
    sha256 TEXT NOT NULL CHECK (length(sha256) = 64), -- lower-case hexadecimal
    bytes BIGINT NOT NULL,
    checksums BLOB NOT NULL, -- CRC-32C of each chunk, little-endian
    written_at_us BIGINT NOT NULL
);
CREATE INDEX artifacts_of_blob ON artifacts (sha256, bytes);
