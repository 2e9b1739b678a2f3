-- Of the object store, what its owner is called there; NULL in a copy that was restored, which does not own it.
ALTER TABLE artifact_store ADD COLUMN owner TEXT;
