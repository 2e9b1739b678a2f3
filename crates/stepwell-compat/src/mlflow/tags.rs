//! Tags named `mlflow.…`: kept as tags, and understood as the run's own fields; fields of runs that have no such tag are shown as one.

use std::{borrow::Cow, collections::BTreeMap};

use stepwell_app::{App, Run, RunPatch};

use super::failure::Failure;

pub(crate) const RUN_NAME: &str = "mlflow.runName";
pub(crate) const USER: &str = "mlflow.user";
pub(crate) const LOGGED_MODELS: &str = "mlflow.log-model.history";
const NOTE: &str = "mlflow.note.content";
const GIT_COMMIT: &str = "mlflow.source.git.commit";
const PARENT_RUN_ID: &str = "mlflow.parentRunId";

/// The fields of a run that tags speak of.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Fields {
    pub(crate) name: Option<String>,
    pub(crate) user_name: Option<String>,
    pub(crate) notes: Option<String>,
    pub(crate) git_commit: Option<String>,
    /// Only of a run that there is.
    pub(crate) parent_run_id: Option<String>,
}

impl Fields {
    /// What the tags say. A parent that does not exist stays a tag.
    pub(crate) async fn of(app: &App, tags: &BTreeMap<String, String>) -> Result<Self, Failure> {
        let of = |key: &str| tags.get(key).filter(|value| !value.is_empty()).cloned();
        let parent_run_id = match of(PARENT_RUN_ID) {
            Some(run_id) => app.find_run(&run_id).await?.filter(|run| run.deleted_at_us.is_none()),
            None => None,
        };
        Ok(Self {
            name: of(RUN_NAME),
            user_name: of(USER),
            // An empty one says that the notes are gone.
            notes: tags.get(NOTE).cloned(),
            git_commit: of(GIT_COMMIT),
            parent_run_id: parent_run_id.map(|run| run.run_id),
        })
    }
}

/// The change of a run that setting these tags is.
pub(crate) async fn patch(app: &App, run_id: &str, tags: BTreeMap<String, String>) -> Result<RunPatch, Failure> {
    let fields = Fields::of(app, &tags).await?;
    Ok(RunPatch {
        name: fields.name,
        user_name: fields.user_name,
        notes: fields.notes,
        git_commit: fields.git_commit,
        parent_run_id: fields.parent_run_id.filter(|parent| parent != run_id),
        tags: tags.into_iter().map(|(key, value)| (key, Some(value))).collect(),
        keeps_end: true,
        ..RunPatch::default()
    })
}

/// The change of a run that removing a tag is.
pub(crate) fn removal(key: &str) -> RunPatch {
    RunPatch {
        tags: BTreeMap::from([(key.to_owned(), None)]),
        notes: (key == NOTE).then(String::new),
        keeps_end: true,
        ..RunPatch::default()
    }
}

/// One of the tags that [`shown`] gives.
pub(crate) fn value<'a>(run: &'a Run, key: &str) -> Option<&'a str> {
    let tag = run.tags.get(key).map(String::as_str);
    let given = |value: &'a Option<String>| value.as_deref().filter(|value| !value.is_empty());
    let is_ours = !run.tags.contains_key(RUN_NAME);
    let own = |value: &'a Option<String>| tag.or(value.as_deref().filter(|_| is_ours));
    match key {
        RUN_NAME => given(&run.name).or(tag),
        NOTE => given(&run.notes).or(tag),
        USER => own(&run.user_name),
        GIT_COMMIT => own(&run.git_commit),
        PARENT_RUN_ID => own(&run.parent_run_id),
        _ => tag,
    }
}

/// All tags as MLflow's clients see them: a run has its name and its notes also where they were given by other means, and one that
/// was made by other means all that they tell of a run.
pub(crate) fn shown(run: &Run) -> BTreeMap<&str, Cow<'_, str>> {
    let mut shown: BTreeMap<&str, Cow<'_, str>> =
        run.tags.iter().map(|(key, value)| (key.as_str(), Cow::from(value))).collect();
    let own = [(USER, &run.user_name), (GIT_COMMIT, &run.git_commit), (PARENT_RUN_ID, &run.parent_run_id)];
    let is_ours = !run.tags.contains_key(RUN_NAME);
    for (key, value) in own {
        if let Some(value) = value.as_deref().filter(|_| is_ours) {
            shown.entry(key).or_insert(Cow::from(value));
        }
    }
    // Both can be changed by other means after the tag was set.
    for (key, value) in [(RUN_NAME, &run.name), (NOTE, &run.notes)] {
        match value {
            Some(value) if !value.is_empty() => drop(shown.insert(key, Cow::from(value))),
            _ => {}
        }
    }
    shown
}
