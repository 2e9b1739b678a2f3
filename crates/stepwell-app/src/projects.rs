//! Projects: create, read, name, tag, list.

use std::collections::BTreeMap;

use stepwell_metadata::{NewProject, Project};
use stepwell_types::check_project_name;

use crate::{app::App, code::ErrorCode, error::AppError, runs::check_keys};

impl App {
    /// Makes a project; its name must be new.
    pub async fn create_project(&self, project: impl Into<NewProject>) -> Result<Project, AppError> {
        self.check_writable()?;
        let project = project.into();
        check_project_name(&project.name)?;
        check_keys("tags", project.tags.keys())?;
        Ok(self.parts.metadata.create_project(project, self.now_us()).await?)
    }

    /// All projects, by name.
    pub async fn list_projects(&self) -> Result<Vec<Project>, AppError> {
        Ok(self.parts.metadata.projects().await?)
    }

    /// All projects, those in the trash included, by id.
    pub async fn all_projects(&self) -> Result<Vec<Project>, AppError> {
        Ok(self.parts.metadata.all_projects().await?)
    }

    /// The project of that name, also if it is in the trash.
    pub async fn find_project(&self, name: &str) -> Result<Option<Project>, AppError> {
        Ok(self.parts.metadata.find_project(name).await?)
    }

    /// The project of that id, also if it is in the trash.
    pub async fn project_by_id(&self, project_id: &str) -> Result<Option<Project>, AppError> {
        Ok(self.parts.metadata.project_by_id(project_id).await?)
    }

    /// The project with id 0, for runs that name none: made when it is first asked for. It may be in the trash.
    pub async fn first_project(&self) -> Result<Option<Project>, AppError> {
        match self.parts.metadata.project_by_id("0").await? {
            None if !self.parts.is_read_only => {
                Ok(Some(self.parts.metadata.ensure_first_project(self.now_us()).await?))
            }
            project => Ok(project),
        }
    }

    /// Gives a project another name, which must be free.
    pub async fn rename_project(&self, project_id: &str, name: &str) -> Result<Project, AppError> {
        self.check_writable()?;
        check_project_name(name)?;
        Ok(self.parts.metadata.rename_project(project_id, name, self.now_us()).await?)
    }

    /// Sets tags of a project, or removes those that are `None`.
    pub async fn tag_project(
        &self,
        project_id: &str,
        tags: BTreeMap<String, Option<String>>,
    ) -> Result<Project, AppError> {
        self.check_writable()?;
        check_keys("tags", tags.keys())?;
        Ok(self.parts.metadata.tag_project(project_id, tags, self.now_us()).await?)
    }

    /// The project of that id, which must not be in the trash.
    pub(crate) async fn live_project(&self, project_id: &str) -> Result<Project, AppError> {
        match self.project_by_id(project_id).await? {
            None => {
                Err(AppError::new(ErrorCode::ProjectNotFound, format!("there is no project with id {project_id:?}"))
                    .field("project_id"))
            }
            Some(project) if project.deleted_at_us.is_some() => {
                let message = format!("the project {:?} is in the trash; restore it first", project.name);
                Err(AppError::new(ErrorCode::InTrash, message).field("project_id"))
            }
            Some(project) => Ok(project),
        }
    }
}
