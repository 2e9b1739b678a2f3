//! Projects: create, list.

use stepwell_metadata::Project;
use stepwell_types::check_project_name;

use crate::{app::App, error::AppError};

impl App {
    /// Makes a project; its name must be new.
    pub async fn create_project(&self, name: &str) -> Result<Project, AppError> {
        self.check_writable()?;
        check_project_name(name)?;
        Ok(self.parts.metadata.create_project(name, self.now_us()).await?)
    }

    /// All projects, by name.
    pub async fn list_projects(&self) -> Result<Vec<Project>, AppError> {
        Ok(self.parts.metadata.projects().await?)
    }
}
