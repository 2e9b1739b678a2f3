//! Deletion: into the trash, back out of it, or for good; metrics and old points at once for good.

use std::{
    collections::BTreeSet,
    sync::{Arc, Weak},
    time::Duration,
};

use stepwell_engine::Deletion;
use stepwell_metadata::{Project, Run, TrashChange, TrashedProject, TrashedRun};
use stepwell_types::{check_metric, check_run_id};

use crate::{
    app::{App, Parts, to_its_end},
    artifacts::run_directory,
    code::ErrorCode,
    error::AppError,
    history::blocking,
};

/// How often points older than their project keeps them are deleted.
const RETENTION_EVERY: Duration = Duration::from_secs(3_600);
const DAY_US: i64 = 86_400_000_000;
/// A hundred years.
const KEEP_DAYS_MAX: i64 = 36_500;

/// What is in the trash.
#[derive(Debug, Clone, Default)]
pub struct Trash {
    pub runs: Vec<TrashedRun>,
    pub projects: Vec<TrashedProject>,
}

impl App {
    /// Puts a run into the trash: no surface shows it or its points, and it takes none.
    pub async fn delete_run(&self, run_id: &str) -> Result<(), AppError> {
        check_run_id(run_id)?;
        let run_id = run_id.to_owned();
        self.change_trash(move |app| async move {
            let changed = app.parts.metadata.trash_run(&run_id, app.now_us()).await;
            // Also where it failed: nobody knows how far it came.
            app.parts.known_runs.forget_run(&run_id);
            Ok(changed?)
        })
        .await
    }

    /// Takes a run out of the trash, with all it had.
    pub async fn restore_run(&self, run_id: &str) -> Result<Run, AppError> {
        check_run_id(run_id)?;
        let run_id = run_id.to_owned();
        self.change_trash(move |app| async move { Ok(app.parts.metadata.restore_run(&run_id, app.now_us()).await?) })
            .await
    }

    /// Deletes a run that is in the trash, its points and artifacts, for good.
    pub async fn purge_run(&self, run_id: &str) -> Result<(), AppError> {
        let run_id = run_id.to_owned();
        self.purge(move |app| async move {
            let trashed = app.parts.metadata.trashed_runs().await?;
            let Some(run) = trashed.into_iter().find(|run| run.run_id == run_id) else {
                return Err(AppError::not_in_trash("run", &run_id));
            };
            // Points first: should the server end in between, the run is still in the trash and can be purged again.
            app.purge_points(&run.project_id, Some(&run_id)).await?;
            let artifacts = run_directory(&run.project_id, &run_id);
            Ok(app.parts.metadata.purge_run(&run_id, &artifacts, app.now_us()).await?)
        })
        .await
    }

    /// Puts a project into the trash, with all of its runs.
    pub async fn delete_project(&self, name: &str) -> Result<(), AppError> {
        let project_id = self.project(name).await?.project_id;
        self.delete_project_by_id(&project_id).await
    }

    /// The same by its id.
    pub async fn delete_project_by_id(&self, project_id: &str) -> Result<(), AppError> {
        let project_id = project_id.to_owned();
        self.change_trash(move |app| async move {
            let changed = app.parts.metadata.trash_project(&project_id, app.now_us()).await;
            app.parts.known_runs.forget_project(&project_id);
            Ok(changed?)
        })
        .await
    }

    /// Takes a project out of the trash. Runs that were deleted one by one stay there.
    pub async fn restore_project(&self, name: &str) -> Result<Project, AppError> {
        match self.find_project(name).await? {
            Some(project) if project.deleted_at_us.is_some() => {
                self.restore_project_by_id(&project.project_id, false).await
            }
            _ => Err(AppError::not_in_trash("project", name)),
        }
    }

    /// The same by its id; with `with_runs` all of its runs come back.
    pub async fn restore_project_by_id(&self, project_id: &str, with_runs: bool) -> Result<Project, AppError> {
        let project_id = project_id.to_owned();
        self.change_trash(move |app| async move {
            Ok(app.parts.metadata.restore_project(&project_id, with_runs, app.now_us()).await?)
        })
        .await
    }

    /// Deletes a project that is in the trash, its runs, their points and all artifacts, for good.
    pub async fn purge_project(&self, name: &str) -> Result<(), AppError> {
        let name = name.to_owned();
        self.purge(move |app| async move {
            let trashed = app.parts.metadata.trashed_projects().await?;
            let Some(project) = trashed.into_iter().find(|project| project.name == name) else {
                return Err(AppError::not_in_trash("project", &name));
            };
            app.purge_points(&project.project_id, None).await?;
            Ok(app.parts.metadata.purge_project(&name, &project.project_id, app.now_us()).await?)
        })
        .await
    }

    /// Runs a change of the trash to its end, and lets no other come between: cut in two, or mixed with another, what the metadata
    /// has in the trash and what the engine hides would differ until the next change or start. For that nothing that can fail comes
    /// after what was committed, either.
    async fn change_trash<T, F>(&self, change: impl FnOnce(Self) -> F) -> Result<T, AppError>
    where
        T: Send + 'static,
        F: Future<Output = Result<TrashChange<T>, AppError>> + Send + 'static,
    {
        self.check_writable()?;
        let (app, changed) = (self.clone(), change(self.clone()));
        to_its_end(async move {
            let _alone = app.parts.trash.lock().await;
            let changed = changed.await;
            app.parts.recent.forget_all();
            let TrashChange { done, trashed } = changed?;
            app.hide(trashed);
            Ok(done)
        })
        .await
    }

    /// Purges, then removes the blobs that nobody names now. Others may change the trash by then: in an object store that may take long.
    async fn purge<F>(&self, change: impl FnOnce(Self) -> F + Send + 'static) -> Result<(), AppError>
    where
        F: Future<Output = Result<TrashChange<BTreeSet<String>>, AppError>> + Send + 'static,
    {
        let app = self.clone();
        to_its_end(async move {
            let hashes = app.change_trash(change).await?;
            app.remove_unnamed(hashes).await;
            Ok(())
        })
        .await
    }

    /// Deletes all points of a run or project in the trash, those on their way included.
    async fn purge_points(&self, project_id: &str, run_id: Option<&str>) -> Result<(), AppError> {
        // From here on nobody finds the run. Who found it before has queued his points by then, and the deletion comes behind them.
        match run_id {
            Some(run_id) => self.parts.known_runs.forget_run(run_id),
            None => self.parts.known_runs.forget_project(project_id),
        }
        self.parts.queueing.next_turn().await;
        self.forget_steps(project_id, run_id);
        self.delete_points(project_id, None, run_id, None).await
    }

    /// What is in the trash.
    pub async fn trash(&self) -> Result<Trash, AppError> {
        let metadata = &self.parts.metadata;
        Ok(Trash { runs: metadata.trashed_runs().await?, projects: metadata.trashed_projects().await? })
    }

    /// Deletes the points so far of one metric in all runs of a project, for good.
    pub async fn delete_metric(&self, project: &str, metric: &str) -> Result<(), AppError> {
        self.check_writable()?;
        check_metric(metric)?;
        let project = self.project(project).await?;
        self.parts.metadata.note_deleted_metric(&project.name, metric, self.now_us()).await?;
        self.delete_points(&project.project_id, Some(metric), None, None).await
    }

    /// Sets for how many days a project keeps its points by their timestamps; `None` is for ever. Older ones are deleted now.
    pub async fn set_retention(&self, project: &str, keep_days: Option<i64>) -> Result<Project, AppError> {
        self.check_writable()?;
        if keep_days.is_some_and(|days| !(1..=KEEP_DAYS_MAX).contains(&days)) {
            let message = format!("keep_days must be 1 to {KEEP_DAYS_MAX}, or null to keep all");
            return Err(AppError::new(ErrorCode::InvalidValue, message).field("keep_days"));
        }
        self.project(project).await?;
        let keep_us = keep_days.map(|days| days * DAY_US);
        let project = self.parts.metadata.set_retention(project, keep_us, self.now_us()).await?;
        self.expire(&project).await?;
        Ok(project)
    }

    async fn expire(&self, project: &Project) -> Result<(), AppError> {
        let Some(keep_us) = project.retention_us else { return Ok(()) };
        let before_us = self.now_us().saturating_sub(keep_us);
        self.delete_points(&project.project_id, None, None, Some(before_us)).await
    }

    async fn delete_points(
        &self,
        project_id: &str,
        metric: Option<&str>,
        run_id: Option<&str>,
        before_us: Option<i64>,
    ) -> Result<(), AppError> {
        let name = |name: &str| -> Arc<str> { name.into() };
        let deletion =
            Deletion { project_id: name(project_id), metric: metric.map(name), run_id: run_id.map(name), before_us };
        let parts = self.parts.clone();
        // The commit syncs the disk. Forgotten in the same go: a caller that goes away does not end the deletion.
        blocking(move || {
            let deleted = parts.engine.delete(deletion);
            parts.recent.forget_all();
            Ok(deleted?)
        })
        .await
    }

    /// Tells the engine which runs are in the trash at the start.
    pub(crate) async fn hide_trash(&self) -> Result<(), AppError> {
        self.hide(self.parts.metadata.trashed_runs().await?);
        Ok(())
    }

    fn hide(&self, trashed: Vec<TrashedRun>) {
        self.parts.engine.hide(trashed.into_iter().map(|run| (run.project_id.into(), run.run_id.into())).collect());
    }
}

/// Applies the retention of all projects now and then, until the application is gone.
pub(crate) async fn keep_expiring(parts: Weak<Parts>) {
    let mut due = tokio::time::interval(RETENTION_EVERY);
    loop {
        due.tick().await;
        let Some(parts) = parts.upgrade() else { return };
        let app = App { parts };
        let expired = async {
            for project in app.parts.metadata.projects().await? {
                app.expire(&project).await?;
            }
            Ok::<_, AppError>(())
        };
        if let Err(error) = expired.await {
            tracing::warn!(
                %error,
                "points past their retention were not deleted; correct what the error names: it is tried again in an hour"
            );
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
