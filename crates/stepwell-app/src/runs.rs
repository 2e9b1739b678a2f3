//! Runs: create, read, change, list.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use stepwell_metadata::{ForkPoint, NewRun, ParamValue, ProjectRuns, Run, RunPatch};
use stepwell_types::{check_project_name, check_run_id};
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    task::block_in_place,
};
use uuid::{Builder, Uuid};

use crate::{app::App, code::ErrorCode, error::AppError, history::blocking};

/// Longest key of a param or tag, bytes.
const KEY_BYTES_MAX: usize = 1_024;

/// A run to be made; the project is made if absent, the id if not given.
#[derive(Debug, Clone, Default)]
pub struct CreateRun {
    pub project: String,
    /// Instead of the name: the id of a project that there is.
    pub project_id: Option<String>,
    pub run_id: Option<String>,
    pub name: Option<String>,
    pub params: BTreeMap<String, ParamValue>,
    pub tags: BTreeMap<String, String>,
    /// Who starts it.
    pub user_name: Option<String>,
    pub notes: Option<String>,
    pub git_commit: Option<String>,
    pub dataset_version: Option<String>,
    pub environment: Option<serde_json::Value>,
    pub started_at_us: Option<i64>,
    pub parent_run_id: Option<String>,
    pub forked_from: Option<ForkPoint>,
}

/// What runs to list.
#[derive(Debug, Clone, Default)]
pub struct ListRuns {
    pub project: String,
    /// A boolean expression over the columns of the table `runs`.
    pub filter: Option<String>,
    pub order_by: Option<String>,
    pub limit: usize,
    pub page_token: Option<String>,
}

/// One page of runs.
#[derive(Debug, Clone)]
pub struct RunPage {
    pub runs: Vec<Run>,
    /// Gives the next page, with the same project, filter and order.
    pub next_page_token: Option<String>,
}

pub(crate) fn check_keys<'a>(field: &str, keys: impl Iterator<Item = &'a String>) -> Result<(), AppError> {
    for key in keys {
        if key.is_empty() || key.len() > KEY_BYTES_MAX {
            let message = format!("a key of {field} has {} bytes; 1 to {KEY_BYTES_MAX} are allowed", key.len());
            return Err(AppError::new(ErrorCode::InvalidName, message).field(field).limit(KEY_BYTES_MAX));
        }
    }
    Ok(())
}

impl App {
    /// Makes a run.
    pub async fn create_run(&self, run: CreateRun) -> Result<Run, AppError> {
        self.check_writable()?;
        if run.project_id.is_none() {
            check_project_name(&run.project)?;
        }
        if let Some(run_id) = &run.run_id {
            check_run_id(run_id)?;
        }
        check_keys("params", run.params.keys())?;
        check_keys("tags", run.tags.keys())?;
        let now_us = self.now_us();
        let project = match &run.project_id {
            Some(project_id) => self.live_project(project_id).await?,
            None => self.parts.metadata.ensure_project(&run.project, now_us).await?,
        };
        let new = NewRun {
            run_id: run.run_id.unwrap_or_else(|| self.new_run_id(now_us)),
            project_id: project.project_id,
            name: run.name,
            started_at_us: run.started_at_us,
            params: run.params,
            tags: run.tags,
            user_name: run.user_name,
            notes: run.notes,
            git_commit: run.git_commit,
            dataset_version: run.dataset_version,
            environment: run.environment,
            parent_run_id: run.parent_run_id,
            forked_from: run.forked_from,
        };
        let since = self.parts.known_runs.since();
        let run = self.parts.metadata.create_run(new, now_us).await?;
        // Its points come next.
        self.parts.known_runs.remember(since, run.run_id.as_str().into(), run.project_id.as_str().into());
        Ok(run)
    }

    fn new_run_id(&self, now_us: i64) -> String {
        self.new_uuid(now_us).to_string()
    }

    /// An id that no run has, as 32 hexadecimal digits.
    pub fn new_plain_run_id(&self) -> String {
        self.new_uuid(self.now_us()).simple().to_string()
    }

    /// UUIDv7 (RFC 9562): rises with time, so that runs sort by their making.
    fn new_uuid(&self, now_us: i64) -> Uuid {
        let millis = u64::try_from(now_us / 1_000).unwrap_or(0);
        let mut random = [0; 10];
        let words = [self.parts.env.random.next_u64(), self.parts.env.random.next_u64()];
        random[..8].copy_from_slice(&words[0].to_le_bytes());
        random[8..].copy_from_slice(&words[1].to_le_bytes()[..2]);
        Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    }

    /// All runs of a project, those in the trash included, by run id; mostly from memory.
    pub async fn project_runs(&self, project_id: &str) -> Result<ProjectRuns, AppError> {
        Ok(self.parts.metadata.cached_runs(project_id).await?)
    }

    /// Runs work that takes a while beside the threads that answer.
    pub async fn beside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, AppError> {
        blocking(move || Ok(work())).await
    }

    /// Runs work that takes a while and needs what its caller has: what else waits for this thread goes on at another.
    pub fn in_place<T>(&self, work: impl FnOnce() -> T) -> T {
        match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
            Ok(RuntimeFlavor::MultiThread) => block_in_place(work),
            // There is no other.
            _ => work(),
        }
    }

    /// Reads a run, also if it or its project is in the trash.
    pub async fn find_run(&self, run_id: &str) -> Result<Option<Run>, AppError> {
        Ok(self.parts.metadata.find_run(run_id).await?)
    }

    /// Reads a run.
    pub async fn get_run(&self, run_id: &str) -> Result<Run, AppError> {
        check_run_id(run_id)?;
        self.parts.metadata.run(run_id).await?.ok_or_else(|| AppError::run_not_found(run_id))
    }

    /// Changes a run, or nothing of it.
    pub async fn update_run(&self, run_id: &str, patch: RunPatch) -> Result<Run, AppError> {
        self.check_writable()?;
        check_run_id(run_id)?;
        check_keys("params", patch.params.keys())?;
        check_keys("tags", patch.tags.keys())?;
        Ok(self.parts.metadata.update_run(run_id, patch, self.now_us()).await?)
    }

    /// A page of the runs of a project. A page token belongs to one project, filter and order. Runs made or changed between
    /// two pages can shift what the next one shows.
    pub async fn list_runs(&self, list: ListRuns) -> Result<RunPage, AppError> {
        let project = self.project(&list.project).await?;
        let fingerprint = {
            let mut hasher = DefaultHasher::new();
            (&project.project_id, &list.filter, &list.order_by).hash(&mut hasher);
            hasher.finish()
        };
        let offset = match &list.page_token {
            Some(token) => offset_of(token, fingerprint)?,
            None => 0,
        };
        let (filter, order_by) = (list.filter.as_deref(), list.order_by.as_deref());
        let engine = self.parts.engine.clone();
        let snapshot = move || engine.snapshot();
        let wanted = list.limit + 1;
        let mut ids = self.parts.query.run_ids(snapshot, &project.name, filter, order_by, wanted, offset).await?;
        let has_more = ids.len() > list.limit;
        ids.truncate(list.limit);
        let all = self.project_runs(&project.project_id).await?;
        let run = |run_id: &String| {
            let place = all.binary_search_by(|run| run.run_id.cmp(run_id)).ok()?;
            Some(Run::clone(&all[place])).filter(|run| run.deleted_at_us.is_none())
        };
        let runs = ids.iter().filter_map(run).collect();
        let next_page_token = has_more.then(|| format!("{fingerprint:016x}{:x}", offset + list.limit));
        Ok(RunPage { runs, next_page_token })
    }
}

fn offset_of(token: &str, fingerprint: u64) -> Result<usize, AppError> {
    let offset = token
        .strip_prefix(&format!("{fingerprint:016x}"))
        .filter(|rest| !rest.starts_with('+'))
        .and_then(|rest| usize::from_str_radix(rest, 16).ok());
    offset.ok_or_else(|| {
        let message = "the page token is not one that this project, filter and order gave; ask for the first page anew";
        AppError::new(ErrorCode::InvalidValue, message).field("page_token")
    })
}
