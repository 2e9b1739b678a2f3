//! Where a version may say that its files are. A client that could name any place would have the next one who loads the model read
//! what it could not read itself; so a source must be within the run or logged model that is named as its origin.

use percent_encoding::percent_decode_str;
use stepwell_app::{App, ModelVersion};

use super::{
    models, names,
    uri::{self, ModelUri},
    versions,
};
use crate::mlflow::{experiments, failure::Failure, run_json::run_artifact_uri};

/// Where a version comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    /// As it is kept: an alias or a stage has become the version it named.
    pub(super) source: String,
    /// Where the files are.
    pub(super) location: String,
    pub(super) run_id: Option<String>,
    pub(super) model_id: Option<String>,
}

/// What a request names as the origin; `None` is absent, which is not the same as empty.
#[derive(Clone, Copy)]
pub(super) struct Named<'a> {
    pub(super) source: &'a str,
    pub(super) run_id: Option<&'a str>,
    pub(super) model_id: Option<&'a str>,
}

/// Schemes of which a server would connect to the host in the URI, were it asked for the files.
const HOST_SCHEMES: [&str; 10] =
    ["ftp", "sftp", "hdfs", "viewfs", "http", "https", "mlflow-artifacts", "r2", "b2", "abfss"];

/// Refuses a source on a host that the request chose.
pub(super) fn check_host(source: &str) -> Result<(), Failure> {
    let (scheme, authority, _) = uri::split(source);
    if !HOST_SCHEMES.contains(&scheme.as_str()) || (scheme == "mlflow-artifacts" && authority.is_empty()) {
        return Ok(());
    }
    Err(Failure::invalid(format!(
        "'source' cannot use the '{scheme}' scheme: the '{scheme}' scheme addresses a host other than the tracking server's \
         configured artifact storage, so the server would connect to the host named in the URI. Set the \
         MLFLOW_ALLOWED_HOST_ADDRESSED_ARTIFACT_SCHEMES environment variable on the server to allow it."
    )))
}

/// Checks what a request names, and finds the files.
pub(super) async fn resolve(app: &App, named: Named<'_>) -> Result<Origin, Failure> {
    check_host(named.source)?;
    let given = |id: Option<&str>| id.filter(|id| !id.is_empty()).map(ToOwned::to_owned);
    let (scheme, authority, path) = uri::split(named.source);
    let mut origin = Origin {
        source: named.source.to_owned(),
        location: named.source.to_owned(),
        run_id: given(named.run_id),
        model_id: given(named.model_id),
    };
    let mut logged_source = None;
    if scheme == "models" {
        if !authority.is_empty() {
            return Err(Failure::invalid(format!(
                "Invalid model version source: '{}'. Registered model sources must use the active model registry.",
                named.source
            )));
        }
        match uri::parse(path).ok_or_else(|| foreign(named.source, "model_id"))? {
            ModelUri::Logged(model_id) => logged_source = Some(model_id),
            published => of_version(&mut origin, named, &version_of(app, &published).await?)?,
        }
    }
    if origin.model_id.is_some() {
        check_within_model(app, &origin, logged_source.as_deref()).await?;
    } else {
        check_within_run(app, &origin, logged_source.is_some()).await?;
    }
    if let Some(model_id) = &origin.model_id {
        let model = app.logged_model(model_id).await?.filter(|model| !model.is_deleted);
        let model = model.ok_or_else(|| no_logged_model(model_id))?;
        if logged_source.is_some() {
            origin.location = model.location;
        }
        origin.run_id = origin.run_id.or(model.source_run_id);
    }
    Ok(origin)
}

/// MLflow's words for a logged model that is not there.
pub(crate) fn no_logged_model(model_id: &str) -> Failure {
    Failure::absent(format!("Logged model with ID '{model_id}' not found."))
}

/// The version that a URI names.
async fn version_of(app: &App, uri: &ModelUri) -> Result<ModelVersion, Failure> {
    let (ModelUri::Version { name, .. }
    | ModelUri::Stage { name, .. }
    | ModelUri::Latest { name }
    | ModelUri::Alias { name, .. }) = uri
    else {
        return Err(Failure::invalid("The URI names no version."));
    };
    let model = models::find(app, name).await?;
    if names::is_prompt(&model.tags) {
        return Err(Failure::invalid(format!(
            "Invalid model version source: 'models:/{name}'. Prompt versions cannot be used as model version sources."
        )));
    }
    let stage = match uri {
        ModelUri::Version { version, .. } => return versions::find(app, name, names::version(version)?).await,
        ModelUri::Alias { alias, .. } => return versions::of_alias(app, &model, alias).await,
        ModelUri::Stage { stage, .. } => Some(names::stage(stage)?),
        _ => None,
    };
    let newest = app.newest_versions(std::slice::from_ref(name)).await?.remove(name).unwrap_or_default();
    let newest = newest.into_iter().filter(|version| stage.is_none_or(|stage| version.stage == stage));
    newest.max_by_key(|version| version.version).ok_or_else(|| {
        let of_stage = stage.map(|stage| format!(" and stage '{}'", names::stage_text(stage))).unwrap_or_default();
        Failure::absent(format!("No versions of model with name '{name}'{of_stage} found"))
    })
}

/// Takes over where another version came from; what the request says of that must be the same.
fn of_version(origin: &mut Origin, named: Named<'_>, version: &ModelVersion) -> Result<(), Failure> {
    let is_other = |named: Option<&str>, own: &Option<String>| {
        named.is_some_and(|named| named != own.as_deref().unwrap_or_default())
    };
    if is_other(named.run_id, &version.run_id) || is_other(named.model_id, &version.model_id) {
        return Err(Failure::invalid(format!(
            "Invalid model version source: '{}'. The run_id and model_id request parameters must match the referenced model \
             version.",
            named.source
        )));
    }
    origin.source = format!("models:/{}/{}", version.name, version.version);
    origin.location.clone_from(&version.location);
    origin.run_id.clone_from(&version.run_id);
    origin.model_id.clone_from(&version.model_id);
    Ok(())
}

async fn check_within_run(app: &App, origin: &Origin, is_logged_model: bool) -> Result<(), Failure> {
    let (source, run_id) = (origin.source.as_str(), origin.run_id.as_deref());
    let (scheme, authority, path) = uri::split(source);
    let is_local = is_local(&scheme);
    if is_local {
        let root = artifact_root_of_run(app, run_id, source).await?;
        return within_local(source, root.as_deref(), "run_id");
    }
    check_path(source)?;
    match scheme.as_str() {
        "runs" => {
            let of_run = path.trim_start_matches('/').split('/').next().unwrap_or_default();
            let is_same = authority.is_empty() && run_id.is_some_and(|run_id| run_id == of_run);
            if is_same { Ok(()) } else { Err(foreign(source, "run_id")) }
        }
        "models" if is_logged_model => Err(foreign(source, "model_id")),
        _ if is_own_store(source) => {
            let root = artifact_root_of_run(app, run_id, source).await?;
            match root.is_some_and(|root| is_within(source, &root)) {
                true => Ok(()),
                false => Err(foreign(source, "run_id")),
            }
        }
        _ => Ok(()),
    }
}

async fn check_within_model(app: &App, origin: &Origin, logged_source: Option<&str>) -> Result<(), Failure> {
    let (source, model_id) = (origin.source.as_str(), origin.model_id.as_deref().unwrap_or_default());
    let (scheme, authority, _) = uri::split(source);
    let location = match app.logged_model(model_id).await? {
        Some(model) if !model.is_deleted => Some(model.location),
        _ => None,
    };
    if is_local(&scheme) {
        return within_local(source, location.as_deref(), "model_id");
    }
    check_path(source)?;
    let is_well = match scheme.as_str() {
        "models" => authority.is_empty() && logged_source.is_none_or(|source| source == model_id),
        "runs" => false,
        _ if is_own_store(source) => location.is_some_and(|root| is_within(source, &root)),
        _ => true,
    };
    if is_well { Ok(()) } else { Err(foreign(source, "model_id")) }
}

/// Where a run's files are; `None` without a run.
async fn artifact_root_of_run(app: &App, run_id: Option<&str>, source: &str) -> Result<Option<String>, Failure> {
    let Some(run_id) = run_id else { return Ok(None) };
    let run = app.find_run(run_id).await?.ok_or_else(|| foreign(source, "run_id"))?;
    let project = experiments::by_id(app, &run.project_id).await?;
    Ok(Some(run_artifact_uri(&project, run_id)))
}

fn foreign(source: &str, id: &str) -> Failure {
    Failure::invalid(format!(
        "Invalid model version source: '{source}'. The {id} request parameter must identify the resource that contains the source."
    ))
}

fn is_local(scheme: &str) -> bool {
    matches!(scheme, "" | "file")
}

/// A path on a disk must be within the files of the origin, which must be on a disk as well.
fn within_local(source: &str, root: Option<&str>, id: &str) -> Result<(), Failure> {
    let parts = |uri: &str| {
        let path = decoded(uri::split(uri).2);
        let parts: Vec<String> =
            path.split('/').filter(|part| !matches!(*part, "" | ".")).map(ToOwned::to_owned).collect();
        path.starts_with('/').then_some(parts).filter(|parts| !parts.iter().any(|part| part == ".."))
    };
    let is_origin_known = root.is_some();
    let root = root.filter(|root| is_local(&uri::split(root).0)).and_then(parts);
    let is_within = match (parts(source), root) {
        (Some(source), Some(root)) => !root.is_empty() && source.starts_with(&root),
        _ => false,
    };
    if is_within {
        return Ok(());
    }
    let shown = if is_origin_known { decoded(uri::split(source).2) } else { source.to_owned() };
    Err(Failure::invalid(format!(
        "Invalid model version source: '{shown}'. To use a local path as a model version source, the {id} request parameter has \
         to be specified and the local path has to be contained within the artifact directory of the run specified by the {id}."
    )))
}

/// Refuses a path that leads elsewhere than it looks.
fn check_path(source: &str) -> Result<(), Failure> {
    let plain = decoded(source).replace('+', " ");
    let path = uri::split(&plain).2;
    let is_odd = path.contains('\0')
        || plain.split('/').any(|part| part == "..")
        || path.split('/').any(|part| part == ".")
        || !path.starts_with('/')
        || path.trim_end_matches('/').is_empty();
    if !is_odd {
        return Ok(());
    }
    Err(Failure::invalid(format!(
        "Invalid model version source: '{source}'. If supplying a source as an http, https, local file path, ftp, objectstore, or \
         mlflow-artifacts uri, an absolute path must be provided without relative path references present. Please provide an \
         absolute path."
    )))
}

/// A text whose percent signs are undone until there are none to undo.
fn decoded(text: &str) -> String {
    let mut text = text.to_owned();
    loop {
        let next = percent_decode_str(&text).decode_utf8_lossy().into_owned();
        // Each round makes it shorter, or changes nothing.
        if next.len() >= text.len() {
            return text;
        }
        text = next;
    }
}

/// Whether a source is in the server's own store of artifacts.
fn is_own_store(source: &str) -> bool {
    let (scheme, _, parts) = normal(source);
    let route = ["api", "2.0", "mlflow-artifacts", "artifacts"];
    match scheme.as_str() {
        "mlflow-artifacts" => true,
        "http" | "https" => parts.windows(route.len()).any(|window| window == route),
        _ => false,
    }
}

fn is_within(source: &str, root: &str) -> bool {
    let (source, root) = (normal(source), normal(root));
    source.0 == root.0 && source.1 == root.1 && !root.2.is_empty() && source.2.starts_with(&root.2)
}

/// A URI as it is compared.
fn normal(uri: &str) -> (String, String, Vec<String>) {
    let (scheme, authority, path) = uri::split(uri);
    let parts = path.split('/').filter(|part| !part.is_empty()).map(decoded).collect();
    (scheme, authority.to_lowercase(), parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_lead_elsewhere_are_refused() {
        for source in [
            "mlflow-artifacts://host:9/../../x",
            "http://host/api/2.0/mlflow-artifacts/artifacts/../..",
            "s3:/bucket/models/../other",
            "mlflow-artifacts://host/..%2f..%2f..",
            "mlflow-artifacts:/1/%252e%252e/x",
            "s3://bucket/a/./b",
            "http://host/api/2.0/mlflow-artifacts/artifacts%00",
            "dbfs:relative",
            "gs://bucket",
        ] {
            assert!(check_path(source).is_err(), "{source}");
        }
        for source in ["s3://bucket/a//b/", "mlflow-artifacts:/1/a/artifacts/model", "runs:/a/b", "gs://b/m"] {
            assert_eq!(check_path(source), Ok(()), "{source}");
        }
    }

    #[test]
    fn a_source_is_within_the_files_of_its_origin_or_not() {
        let root = "mlflow-artifacts:/1/run/artifacts";
        assert!(is_within("mlflow-artifacts:/1/run/artifacts/model", root));
        assert!(is_within("mlflow-artifacts:/1/r%75n/artifacts", root));
        for source in
            ["mlflow-artifacts:/1/run/artifactsx", "mlflow-artifacts://h/1/run/artifacts", "mlflow-artifacts:/1"]
        {
            assert!(!is_within(source, root), "{source}");
        }
        assert!(within_local("/data/run/artifacts/m", Some("file:///data/run/artifacts"), "run_id").is_ok());
        for (source, root) in [
            ("/data/run/../x", Some("/data")),
            ("/other", Some("/data")),
            ("data/x", Some("/data")),
            ("/data/x", None),
            ("/data/x", Some(root)),
            ("/x", Some("/")),
        ] {
            assert!(within_local(source, root, "run_id").is_err(), "{source}");
        }
        assert!(is_own_store("https://h/prefix/api/2.0/mlflow-artifacts/artifacts/x") && !is_own_store("https://h/x"));
    }
}
