//! Artifacts: paths as clients send them, lists, and uploads in parts. Bytes go past here: the server streams them.

mod path;
#[cfg(test)]
mod tests;

use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use stepwell_app::{App, AppError, ArtifactEntry, ErrorCode, PartReceipt, Reader};

pub use self::path::path_of;
use super::{
    Answer, Charge, args::Args, failure::Failure, read, registry, routes::Call, run_json::run_artifact_uri, runs,
    text::Text,
};

/// What a client asks of an upload in parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parts {
    Create,
    Complete,
    Abort,
}

/// The list of a directory of all artifacts: `GET …/mlflow-artifacts/artifacts?path=`.
pub async fn list(app: &App, query: Option<&str>) -> Answer {
    let listed = async {
        let args = Args::of_query(query.unwrap_or_default())?;
        let directory = directory_of(args.text("path")?)?;
        files(app, &app.reader(), &directory, ("", None)).await
    };
    Answer::of(listed.await)
}

/// Deletes an artifact, or a directory of them; that there is none is no failure.
pub async fn delete(app: &App, path: &str) -> Answer {
    let deleted = async {
        app.delete_artifacts(&path_of(path)?).await?;
        Ok(json!({}))
    };
    Answer::of(deleted.await.and_then(|value| Text::of(&app.reader(), &value)))
}

/// An upload in parts: `path` is the directory, the body has the name of the file. A part goes to what `url_of` gives for the id of
/// the upload and the part's number.
pub async fn parts(
    app: &App,
    what: Parts,
    path: &str,
    (body, charge): (&[u8], Charge<'_>),
    url_of: impl Fn(&str, u32) -> String,
) -> Answer {
    let done = async {
        let args = read(app, body, || Args::of_body(body, charge))?;
        let file = args.required("path")?;
        let name = file.rsplit('/').next().unwrap_or(file);
        let path = path_of(&format!("{}/{name}", path.trim_end_matches('/')))?;
        match what {
            Parts::Create => create(app, &path, &args, url_of).await,
            Parts::Complete => complete(app, &path, &args).await,
            Parts::Abort => {
                app.abort_parts(args.required("upload_id")?);
                Ok(json!({}))
            }
        }
    };
    Answer::of(done.await.and_then(|value| Text::of(&app.reader(), &value)))
}

async fn create(
    app: &App,
    path: &str,
    args: &Args<'_>,
    url_of: impl Fn(&str, u32) -> String,
) -> Result<Value, Failure> {
    let count = args.integer("num_parts")?.unwrap_or(1);
    let count =
        u32::try_from(count).map_err(|_| Failure::invalid(format!("num_parts is {count}; it must be a count.")))?;
    let upload_id = app.begin_parts(app.artifact_place(path).await?, count)?;
    let credential = |number| json!({"url": url_of(&upload_id, number), "part_number": number, "headers": {}});
    let credentials: Vec<Value> = (1..=count).map(credential).collect();
    Ok(json!({"upload_id": upload_id, "credentials": credentials}))
}

async fn complete(app: &App, path: &str, args: &Args<'_>) -> Result<Value, Failure> {
    let receipt = |part: &Args<'_>| {
        let number = part.integer("part_number")?.and_then(|number| u32::try_from(number).ok());
        let number = number.ok_or_else(|| Failure::invalid("A part has no part_number."))?;
        let sha256 = part.text("etag")?.unwrap_or_default().trim_matches('"').to_owned();
        Ok::<_, Failure>(PartReceipt { number, sha256 })
    };
    let receipts = args.objects("parts")?.iter().map(receipt).collect::<Result<Vec<_>, _>>()?;
    app.complete_parts(args.required("upload_id")?, path, &receipts).await?;
    Ok(json!({}))
}

/// What is asked about the artifacts of a run in JSON.
pub(crate) async fn route(app: &App, call: Call<'_>) -> Result<Text, Failure> {
    match (call.method, call.path) {
        ("GET", ["artifacts", "list"]) => {
            let uri = uri_of_run(app, call.args.run_id()?).await?;
            listed(app, call.reader, &uri, call.args.text("path")?).await
        }
        ("POST", ["artifacts", "presigned-upload-url"]) => Err(not_presigned("upload")),
        ("POST", ["artifacts", "presigned-download-url"]) => Err(not_presigned("download")),
        _ => call.unknown(),
    }
}

/// The list of a directory below a place that is told with it.
pub(crate) async fn listed(
    app: &App,
    reader: &Reader,
    root_uri: &str,
    directory: Option<&str>,
) -> Result<Text, Failure> {
    let directory = directory_of(directory)?;
    files(app, reader, &below(&held(root_uri)?, &directory), (&directory, Some(root_uri))).await
}

fn not_presigned(what: &str) -> Failure {
    Failure::invalid(format!(
        "Presigned {what} is not supported for proxied artifact storage (artifact URI scheme: mlflow-artifacts). This endpoint \
         requires a direct cloud storage artifact URI."
    ))
}

/// The artifact of a run that a query string names, of `get-artifact` and `upload-artifact`.
pub async fn of_run(app: &App, query: Option<&str>) -> Result<String, Failure> {
    let args = Args::of_query(query.unwrap_or_default())?;
    let path = path_of(args.required("path")?)?;
    Ok(below(&held(&uri_of_run(app, args.run_id()?).await?)?, &path))
}

/// The artifact of a version of a registered model that a query string names.
pub async fn of_model_version(app: &App, query: Option<&str>) -> Result<String, Failure> {
    let args = Args::of_query(query.unwrap_or_default())?;
    let path = path_of(args.required("path")?)?;
    let answer = registry::download_uri(app, &args).await?;
    Ok(below(&held(answer["artifact_uri"].as_str().unwrap_or_default())?, &path))
}

async fn uri_of_run(app: &App, run_id: &str) -> Result<String, Failure> {
    let run = runs::by_id(app, run_id).await?;
    Ok(run_artifact_uri(&runs::project_of(app, &run).await?, &run.run_id))
}

/// The directory that a URI means, if it is one of this server's.
pub(crate) fn held(uri: &str) -> Result<String, Failure> {
    let below = match uri.split_once(':') {
        Some(("mlflow-artifacts", rest)) => Some(rest.strip_prefix("//").map_or(rest, |rest| {
            // After two slashes comes a host, and that is whoever is asked.
            rest.find('/').map_or("", |at| &rest[at..])
        })),
        Some(("http" | "https", rest)) => rest.split_once("/api/2.0/mlflow-artifacts/artifacts/").map(|found| found.1),
        _ => None,
    };
    match below {
        Some(path) => path::directory_of(path.trim_start_matches('/')),
        None => {
            Err(Failure::invalid(format!("The artifacts are at {uri}, which this server does not hold; ask there.")))
        }
    }
}

/// Why there is nothing to download at a path: a directory is another refusal than nothing.
pub async fn absent(app: &App, path: &str, error: AppError) -> Failure {
    if error.code != ErrorCode::ArtifactNotFound {
        return error.into();
    }
    match app.is_artifact_directory(path).await {
        Ok(true) => Failure::invalid(format!("Artifact path refers to a directory, not a file: '{path}'")),
        Ok(false) => Failure::absent(format!("No such artifact: '{path}'")),
        Err(error) => error.into(),
    }
}

/// A directory that may be absent: the top.
fn directory_of(path: Option<&str>) -> Result<String, Failure> {
    match path {
        None | Some("") => Ok(String::new()),
        Some(path) => path::directory_of(path),
    }
}

fn below(root: &str, path: &str) -> String {
    if path.is_empty() { root.to_owned() } else { format!("{root}/{path}") }
}

/// A list of files, written one by one: a directory may have a million.
#[derive(Serialize)]
struct Files<'a> {
    /// As protocol buffers in JSON have it: not there if empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<Entries<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    root_uri: Option<&'a str>,
}

/// Entries, and the directory that their paths are told with.
struct Entries<'a>(&'a [ArtifactEntry], &'a str);

#[derive(Serialize)]
struct FileJson {
    path: String,
    is_dir: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_size: Option<u64>,
}

impl Serialize for Entries<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let &Self(entries, directory) = self;
        serializer.collect_seq(entries.iter().map(|entry| match entry {
            ArtifactEntry::Directory(name) => {
                FileJson { path: below_or_top(directory, name), is_dir: true, file_size: None }
            }
            ArtifactEntry::File(name, bytes) => {
                FileJson { path: below_or_top(directory, name), is_dir: false, file_size: Some(*bytes) }
            }
        }))
    }
}

/// The list of a directory, with paths below another.
async fn files(
    app: &App,
    reader: &Reader,
    directory: &str,
    (shown_below, root_uri): (&str, Option<&str>),
) -> Result<Text, Failure> {
    let entries = app.artifacts_in(directory).await?;
    let files = (!entries.is_empty()).then_some(Entries(&entries, shown_below));
    Text::of(reader, &Files { files, root_uri })
}

fn below_or_top(directory: &str, name: &str) -> String {
    if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") }
}
