//! Whose an artifact is: it is refused where its owner was purged while it was on its way, and nobody would remove it any more.

use stepwell_metadata::ArtifactOwner;
use stepwell_types::check_artifact_path;

use super::run_directory;
use crate::{app::App, error::AppError, traces::trace_directory};

/// Where an artifact goes, and whose it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactPlace {
    pub(super) path: String,
    pub(super) owner: Option<ArtifactOwner>,
}

impl App {
    /// The place of an artifact of a run; the run must be there.
    pub async fn artifact_of_run(&self, run_id: &str, path: &str) -> Result<ArtifactPlace, AppError> {
        let project_id = self.project_id_of_artifacts(run_id).await?;
        let path = format!("{}/{path}", run_directory(&project_id, run_id));
        check_artifact_path(&path)?;
        let owner = ArtifactOwner::Run { project_id: project_id.to_string(), run_id: run_id.to_owned() };
        Ok(ArtifactPlace { path, owner: Some(owner) })
    }

    /// The place of an artifact by its whole path. It belongs to the run, trace or project whose directory it is in, if that is there
    /// now; else to nobody.
    pub async fn artifact_place(&self, path: &str) -> Result<ArtifactPlace, AppError> {
        check_artifact_path(path)?;
        let mut place = ArtifactPlace { path: path.to_owned(), owner: None };
        for owner in owners(path) {
            if self.parts.metadata.has_artifact_owner(&owner).await? {
                place.owner = Some(owner);
                break;
            }
        }
        Ok(place)
    }
}

/// Who may own what is at a path, the nearest first.
fn owners(path: &str) -> Vec<ArtifactOwner> {
    let parts: Vec<&str> = path.split('/').collect();
    let is_number = parts[0].parse::<i64>().is_ok_and(|number| number.to_string() == parts[0]);
    if !is_number || parts.len() == 1 {
        return Vec::new();
    }
    let project_id = parts[0].to_owned();
    let is_in = |directory: String| path.strip_prefix(&directory).is_some_and(|below| below.starts_with('/'));
    let run = id_of(parts[1]).filter(|run_id| is_in(run_directory(&project_id, run_id)));
    let trace = parts.get(2).and_then(|part| id_of(part));
    let trace = trace.filter(|trace_id| is_in(trace_directory(&project_id, trace_id)));
    let run = run.map(|run_id| ArtifactOwner::Run { project_id: project_id.clone(), run_id });
    let trace = trace.map(|trace_id| ArtifactOwner::Trace { project_id: project_id.clone(), trace_id });
    run.into_iter().chain(trace).chain([ArtifactOwner::Project { project_id: project_id.clone() }]).collect()
}

/// The id that a part of a path may stand for.
fn id_of(part: &str) -> Option<String> {
    let mut id = String::with_capacity(part.len());
    let mut rest = part;
    while let Some((before, after)) = rest.split_once('~') {
        let (digits, behind) = after.split_at_checked(2)?;
        id += before;
        id.push(char::from(u8::from_str_radix(digits, 16).ok()?));
        rest = behind;
    }
    Some(id + rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_belongs_to_whom_its_directory_says() {
        let run = |run_id: &str| ArtifactOwner::Run { project_id: "1".into(), run_id: run_id.into() };
        let trace = |trace_id: &str| ArtifactOwner::Trace { project_id: "1".into(), trace_id: trace_id.into() };
        for run_id in ["r", "a/b", "..", "~2f", "traces", "models", "ünï", "artifacts"] {
            let path = format!("{}/x/y", run_directory("1", run_id));
            assert_eq!(owners(&path)[0], run(run_id), "{path}");
        }
        for trace_id in ["tr-1", "artifacts", "a/b", "~61rtifacts"] {
            let path = format!("{}/traces.json", trace_directory("1", trace_id));
            assert_eq!(owners(&path)[0], trace(trace_id), "{path}");
        }
        let project = ArtifactOwner::Project { project_id: "1".into() };
        for path in ["1/models/m-1/artifacts/MLmodel", "1/r/artifacts", "1/r~/artifacts/x", "1/r~zz/artifacts/x", "1/x"]
        {
            assert_eq!(owners(path), std::slice::from_ref(&project), "{path}");
        }
        for path in ["1", "01/r/artifacts/x", "m/file"] {
            assert_eq!(owners(path), [], "{path}");
        }
    }
}
