-- Where blobs of artifacts go, if not below the data directory (`schemas/artifacts.md`): one row, or none.
CREATE TABLE artifact_store (url TEXT NOT NULL);
