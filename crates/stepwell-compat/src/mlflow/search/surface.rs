//! What each kind of record has, and how MLflow names it.

use super::filter::Entity;

/// A kind of record that is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Surface {
    Runs,
    Experiments,
    RegisteredModels,
    ModelVersions,
    LoggedModels,
    /// What a trace has of metadata takes the place of params.
    Traces,
}

/// What an attribute is compared as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AttributeKind {
    Text,
    Number,
    /// An integer that filters have as quoted text.
    Id,
}

use AttributeKind::{Id, Number, Text};

/// Names of an attribute in filters, and the one it is known by.
type Attributes = &'static [(&'static str, &'static str, AttributeKind)];

const RUNS: Attributes = &[
    ("artifact_uri", "artifact_uri", Text),
    ("end_time", "end_time", Number),
    ("run_id", "run_id", Text),
    ("run_name", "run_name", Text),
    ("start_time", "start_time", Number),
    ("status", "status", Text),
    ("user_id", "user_id", Text),
    ("created", "start_time", Number),
    ("Created", "start_time", Number),
    ("run name", "run_name", Text),
    ("Run name", "run_name", Text),
    ("Run Name", "run_name", Text),
];

const EXPERIMENTS: Attributes = &[
    ("name", "name", Text),
    ("experiment_id", "experiment_id", Id),
    ("creation_time", "creation_time", Number),
    ("last_update_time", "last_update_time", Number),
];

const REGISTERED_MODELS: Attributes = &[("name", "name", Text)];

/// By which registered models are ordered; the two times are one.
const REGISTERED_MODELS_ORDER: Attributes = &[
    ("name", "name", Text),
    ("timestamp", "last_updated_timestamp", Number),
    ("last_updated_timestamp", "last_updated_timestamp", Number),
];

const MODEL_VERSIONS: Attributes = &[
    ("name", "name", Text),
    ("version_number", "version_number", Number),
    ("run_id", "run_id", Text),
    ("source_path", "source_path", Text),
];

const MODEL_VERSIONS_ORDER: Attributes = &[
    ("name", "name", Text),
    ("version_number", "version_number", Number),
    ("creation_timestamp", "creation_timestamp", Number),
    ("last_updated_timestamp", "last_updated_timestamp", Number),
];

const LOGGED_MODELS: Attributes = &[
    ("name", "name", Text),
    ("model_id", "model_id", Text),
    ("model_type", "model_type", Text),
    ("status", "status", Text),
    ("source_run_id", "source_run_id", Text),
    ("experiment_id", "experiment_id", Id),
    ("creation_time", "creation_timestamp", Number),
    ("creation_timestamp", "creation_timestamp", Number),
    ("creation_timestamp_ms", "creation_timestamp", Number),
    ("last_updated_time", "last_updated_timestamp", Number),
    ("last_updated_timestamp", "last_updated_timestamp", Number),
    ("last_updated_timestamp_ms", "last_updated_timestamp", Number),
];

const TRACES: Attributes = &[
    ("request_id", "request_id", Text),
    ("timestamp", "timestamp_ms", Number),
    ("timestamp_ms", "timestamp_ms", Number),
    ("execution_time", "execution_time_ms", Number),
    ("execution_time_ms", "execution_time_ms", Number),
    ("end_time", "end_time_ms", Number),
    ("end_time_ms", "end_time_ms", Number),
    ("status", "status", Text),
    ("name", "name", Text),
    ("run_id", "run_id", Text),
    ("client_request_id", "client_request_id", Text),
];

/// All but what a client called a request.
const TRACES_ORDER: Attributes = TRACES.split_at(10).0;

impl Surface {
    pub(super) fn attributes(self) -> Attributes {
        match self {
            Self::Runs => RUNS,
            Self::Experiments => EXPERIMENTS,
            Self::RegisteredModels => REGISTERED_MODELS,
            Self::ModelVersions => MODEL_VERSIONS,
            Self::LoggedModels => LOGGED_MODELS,
            Self::Traces => TRACES,
        }
    }

    pub(super) fn order_attributes(self) -> Attributes {
        match self {
            // All but the spellings of the name.
            Self::Runs => &RUNS[..9],
            Self::RegisteredModels => REGISTERED_MODELS_ORDER,
            Self::ModelVersions => MODEL_VERSIONS_ORDER,
            Self::Traces => TRACES_ORDER,
            Self::Experiments | Self::LoggedModels => self.attributes(),
        }
    }

    /// Attributes that IN knows; `None`: all that are text.
    pub(super) fn list_keys(self) -> Option<&'static [&'static str]> {
        match self {
            Self::Runs => Some(&["run_id"]),
            Self::Experiments => Some(&["experiment_id"]),
            Self::RegisteredModels => Some(&["name"]),
            Self::ModelVersions => Some(&["name", "run_id"]),
            Self::LoggedModels => None,
            Self::Traces => Some(&["name", "status", "request_id", "run_id", "client_request_id"]),
        }
    }

    /// The entity of a name, without its backticks.
    pub(super) fn entity(self, name: &str) -> Option<Entity> {
        match self {
            Self::Runs => match name {
                "metric" | "metrics" => Some(Entity::Metric),
                "parameter" | "parameters" | "param" | "params" => Some(Entity::Param),
                "tag" | "tags" => Some(Entity::Tag),
                "attribute" | "attributes" | "attr" | "run" => Some(Entity::Attribute),
                "dataset" | "datasets" => Some(Entity::Dataset),
                _ => None,
            },
            Self::Experiments | Self::RegisteredModels | Self::ModelVersions => match name {
                "attribute" => Some(Entity::Attribute),
                "tag" | "tags" => Some(Entity::Tag),
                _ => None,
            },
            Self::Traces => match name {
                "attribute" | "attributes" | "trace" => Some(Entity::Attribute),
                "tag" | "tags" => Some(Entity::Tag),
                "request_metadata" | "metadata" => Some(Entity::Param),
                _ => None,
            },
            Self::LoggedModels => match name {
                "attributes" => Some(Entity::Attribute),
                "metrics" => Some(Entity::Metric),
                "params" => Some(Entity::Param),
                "tags" => Some(Entity::Tag),
                _ => None,
            },
        }
    }

    /// Why an entity of that name is refused.
    pub(super) fn refused_entity(self, name: &str) -> String {
        match self {
            Self::Runs => format!(
                "Invalid entity type '{name}'. Valid values are ['metric', 'parameter', 'tag', 'attribute', 'dataset']"
            ),
            Self::Experiments | Self::RegisteredModels | Self::ModelVersions => {
                format!("Invalid entity type '{name}'. Valid entity types are ('attribute', 'tag', 'tags')")
            }
            Self::Traces => format!(
                "Invalid entity type '{name}'. Valid values are ['tag', 'request_metadata', 'attribute']; spans and assessments \
                 are not searched by this server."
            ),
            Self::LoggedModels => {
                format!("Invalid entity type: '{name}'. Expected one of ['attributes', 'metrics', 'params', 'tags'].")
            }
        }
    }

    /// Which entities know IS NULL.
    pub(super) fn knows_null(self, entity: Entity) -> bool {
        match self {
            Self::Runs | Self::Traces => matches!(entity, Entity::Tag | Entity::Param),
            Self::Experiments => entity == Entity::Tag,
            _ => false,
        }
    }
}
