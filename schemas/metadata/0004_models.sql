-- A registered model: a name under which versions are published.
CREATE TABLE registered_models (
    registered_model_id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    description TEXT,
    created_at_us BIGINT NOT NULL,
    updated_at_us BIGINT NOT NULL,
    -- The greatest number that a version of it ever had: numbers are not used again.
    last_version BIGINT NOT NULL DEFAULT 0
);

CREATE TABLE registered_model_tags (
    registered_model_id INTEGER NOT NULL REFERENCES registered_models (registered_model_id),
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (registered_model_id, key)
);

-- `source` is as its maker named it, `location` where the files are; run_id and model_id may be of runs and models that are gone.
CREATE TABLE model_versions (
    model_version_id INTEGER PRIMARY KEY AUTOINCREMENT,
    registered_model_id INTEGER NOT NULL REFERENCES registered_models (registered_model_id),
    version BIGINT NOT NULL,
    created_at_us BIGINT NOT NULL,
    updated_at_us BIGINT NOT NULL,
    description TEXT,
    stage TEXT NOT NULL CHECK (stage IN ('none', 'staging', 'production', 'archived')),
    source TEXT NOT NULL,
    location TEXT NOT NULL,
    run_id TEXT,
    run_link TEXT,
    model_id TEXT,
    UNIQUE (registered_model_id, version)
);

CREATE TABLE model_version_tags (
    model_version_id INTEGER NOT NULL REFERENCES model_versions (model_version_id),
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (model_version_id, key)
);

CREATE TABLE model_aliases (
    registered_model_id INTEGER NOT NULL REFERENCES registered_models (registered_model_id),
    alias TEXT NOT NULL,
    version BIGINT NOT NULL,
    PRIMARY KEY (registered_model_id, alias),
    FOREIGN KEY (registered_model_id, version) REFERENCES model_versions (registered_model_id, version)
);

-- A model that a run made, from before its files are written; what is published of it is a model version.
CREATE TABLE logged_models (
    model_id TEXT NOT NULL PRIMARY KEY,
    project_id INTEGER NOT NULL REFERENCES projects (project_id),
    name TEXT NOT NULL,
    kind TEXT,
    location TEXT NOT NULL,
    source_run_id TEXT,
    status TEXT NOT NULL CHECK (status IN ('unspecified', 'pending', 'ready', 'failed')),
    created_at_us BIGINT NOT NULL,
    updated_at_us BIGINT NOT NULL,
    deleted_at_us BIGINT
);
CREATE INDEX logged_models_of_project ON logged_models (project_id, created_at_us);

CREATE TABLE logged_model_params (
    model_id TEXT NOT NULL REFERENCES logged_models (model_id),
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (model_id, key)
);

CREATE TABLE logged_model_tags (
    model_id TEXT NOT NULL REFERENCES logged_models (model_id),
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (model_id, key)
);

-- Points that were said to measure a model; the series themselves are the engine's. A value of NULL is NaN.
CREATE TABLE logged_model_metrics (
    model_id TEXT NOT NULL REFERENCES logged_models (model_id),
    metric TEXT NOT NULL,
    timestamp_us BIGINT NOT NULL,
    step BIGINT NOT NULL,
    run_id TEXT NOT NULL REFERENCES runs (run_id),
    value DOUBLE,
    dataset_name TEXT,
    dataset_digest TEXT,
    PRIMARY KEY (model_id, metric, timestamp_us, step, run_id)
);
CREATE INDEX logged_model_metrics_of_run ON logged_model_metrics (run_id);

-- Data that runs read, told apart within a project by name and digest.
CREATE TABLE datasets (
    dataset_id INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id INTEGER NOT NULL REFERENCES projects (project_id),
    name TEXT NOT NULL,
    digest TEXT NOT NULL,
    source_type TEXT NOT NULL,
    source TEXT NOT NULL,
    schema TEXT,
    profile TEXT,
    UNIQUE (project_id, name, digest)
);

CREATE TABLE run_datasets (
    input_id INTEGER PRIMARY KEY AUTOINCREMENT,
    run_id TEXT NOT NULL REFERENCES runs (run_id),
    dataset_id INTEGER NOT NULL REFERENCES datasets (dataset_id),
    UNIQUE (run_id, dataset_id)
);
CREATE INDEX run_datasets_of_dataset ON run_datasets (dataset_id);

CREATE TABLE run_dataset_tags (
    input_id INTEGER NOT NULL REFERENCES run_datasets (input_id),
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (input_id, key)
);

-- Models that a run read or made.
CREATE TABLE run_models (
    run_id TEXT NOT NULL REFERENCES runs (run_id),
    role TEXT NOT NULL CHECK (role IN ('input', 'output')),
    model_id TEXT NOT NULL,
    step BIGINT NOT NULL,
    PRIMARY KEY (run_id, role, model_id)
);

-- Who is told of changes. `events` is a JSON list of names.
CREATE TABLE webhooks (
    webhook_id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    description TEXT,
    url TEXT NOT NULL,
    events TEXT NOT NULL,
    is_active INTEGER NOT NULL,
    secret TEXT,
    created_at_us BIGINT NOT NULL,
    updated_at_us BIGINT NOT NULL
);

-- What is still to be told: written in the transaction of the change, removed when the receiver has answered.
CREATE TABLE outbox (
    outbox_id INTEGER PRIMARY KEY AUTOINCREMENT,
    webhook_id TEXT NOT NULL REFERENCES webhooks (webhook_id),
    event TEXT NOT NULL,
    data TEXT NOT NULL, -- JSON
    created_at_us BIGINT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    next_at_us BIGINT NOT NULL
);
CREATE INDEX outbox_of_webhook ON outbox (webhook_id, outbox_id);
