-- The directory that was made the owner: its inode and when that was made, which a copy of it does not share. NULL where the file system
-- does not say, or nobody looked yet.
ALTER TABLE artifact_store ADD COLUMN directory TEXT;
