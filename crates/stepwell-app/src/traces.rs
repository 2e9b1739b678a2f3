//! Traces: what a program did in answer to one request. Their spans are artifacts of their project.

use std::ops::ControlFlow;

use serde_json::Value;
use stepwell_metadata::{MetadataError, Trace, TracePatch, TraceSelection};
use stepwell_types::check_artifact_path;

use crate::{
    app::{App, to_its_end},
    artifacts::run_part,
    code::ErrorCode,
    error::AppError,
};

/// Longest id of a trace, bytes.
const TRACE_ID_BYTES_MAX: usize = 256;
/// Traces that go in one transaction, their spans included: whoever else changes metadata waits for it.
const LOT: usize = 100;
/// Longest text of a tag, a preview or a piece of metadata, bytes; what is more is refused.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// The directory of a trace's artifacts.
pub fn trace_directory(project_id: &str, trace_id: &str) -> String {
    format!("{project_id}/traces/{}/artifacts", trace_part(trace_id))
}

/// A trace id as one part of a path.
pub fn trace_part(trace_id: &str) -> String {
    match trace_id {
        // `traces/artifacts` is what a run called `traces` has.
        "artifacts" => "~61rtifacts".to_owned(),
        _ => run_part(trace_id),
    }
}

impl App {
    /// Stores a trace; one of that id that is there already is filled up. Its project must be there.
    pub async fn put_trace(&self, trace: Trace) -> Result<Trace, AppError> {
        self.check_writable()?;
        check_trace_id(&trace.trace_id)?;
        let texts = trace.metadata.values().chain(trace.tags.values());
        let texts = texts.chain(&trace.request_preview).chain(&trace.response_preview);
        check_texts(texts)?;
        Ok(self.parts.metadata.put_trace(trace, self.now_us()).await?)
    }

    /// An id for a trace that has none.
    pub fn new_trace_id(&self) -> String {
        let random = &self.parts.env.random;
        format!("{:016x}{:016x}", random.next_u64(), random.next_u64())
    }

    /// The trace of that id.
    pub async fn get_trace(&self, trace_id: &str) -> Result<Trace, AppError> {
        self.parts.metadata.trace(trace_id).await?.ok_or_else(|| AppError::trace_not_found(trace_id))
    }

    /// Shows `visit` the traces of a project that is not in the trash, those that began last first, without previews and
    /// assessments, one in memory at a time, until it breaks or fails.
    pub async fn each_trace(
        &self,
        project_id: i64,
        visit: impl FnMut(Trace) -> Result<ControlFlow<()>, AppError>,
    ) -> Result<(), AppError> {
        self.parts.metadata.each_trace(project_id, visit).await
    }

    /// Changes a trace.
    pub async fn update_trace(&self, trace_id: &str, patch: TracePatch) -> Result<Trace, AppError> {
        self.check_writable()?;
        check_texts(patch.metadata.values().chain(patch.tags.values().flatten()))?;
        Ok(self.parts.metadata.update_trace(trace_id, patch, self.now_us()).await?)
    }

    /// Changes what was thought of a trace; `edit` sees it as it is, and nobody changes it meanwhile. Where it fails nothing is changed.
    pub async fn edit_assessments<T, E: From<AppError>>(
        &self,
        trace_id: &str,
        edit: impl FnOnce(&mut Vec<Value>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.check_writable()?;
        let edit = |all: &mut Vec<Value>| edit(all).map_err(Edited::Caller);
        let edited = self.parts.metadata.edit_assessments(trace_id, self.now_us(), edit).await;
        edited.map_err(|error: Edited<E>| match error {
            Edited::Caller(error) => error,
            Edited::App(error) => error.into(),
        })
    }

    /// Deletes traces of a project for good, each with its spans. Returns how many. Where it fails some may be gone.
    pub async fn delete_traces(&self, project_id: &str, selection: &TraceSelection) -> Result<usize, AppError> {
        self.check_writable()?;
        let Ok(number) = project_id.parse::<i64>() else { return Ok(0) };
        let app = self.clone();
        // With a limit it is the oldest of all that are named that go.
        let selections = match selection.limit {
            None if !selection.trace_ids.is_empty() => {
                let some = |ids: &[String]| TraceSelection { trace_ids: ids.to_vec(), ..selection.clone() };
                selection.trace_ids.chunks(LOT).map(some).collect()
            }
            _ => vec![selection.clone()],
        };
        to_its_end(async move {
            let mut traces = 0;
            for selection in &selections {
                traces += app.delete_in_lots(number, selection).await?;
            }
            Ok(traces)
        })
        .await
    }

    /// Deletes the traces selected, the oldest first, with other changes of metadata in between.
    async fn delete_in_lots(&self, project_id: i64, selection: &TraceSelection) -> Result<usize, AppError> {
        let directory = |trace_id: &str| trace_directory(&project_id.to_string(), trace_id);
        let wanted = selection.limit.map_or(usize::MAX, |limit| limit as usize);
        let mut traces = 0;
        while traces < wanted {
            let lot = (wanted - traces).min(LOT);
            let some = TraceSelection { limit: Some(lot as u32), ..selection.clone() };
            let deleted = self.parts.metadata.delete_traces(project_id, &some, directory, self.now_us()).await?;
            traces += deleted.traces;
            self.remove_unnamed(deleted.hashes).await;
            if deleted.traces < lot {
                break;
            }
        }
        Ok(traces)
    }
}

/// Whose error it is that ended an edit.
enum Edited<E> {
    Caller(E),
    App(AppError),
}

impl<E> From<MetadataError> for Edited<E> {
    fn from(error: MetadataError) -> Self {
        Self::App(error.into())
    }
}

fn check_trace_id(trace_id: &str) -> Result<(), AppError> {
    if trace_id.len() > TRACE_ID_BYTES_MAX || check_artifact_path(&trace_directory("0", trace_id)).is_err() {
        let message = format!("a trace id has 1 to {TRACE_ID_BYTES_MAX} bytes, and no control characters");
        return Err(AppError::new(ErrorCode::InvalidName, message).field("trace_id").limit(TRACE_ID_BYTES_MAX));
    }
    Ok(())
}

fn check_texts<'a>(mut texts: impl Iterator<Item = &'a String>) -> Result<(), AppError> {
    if texts.any(|text| text.len() > TEXT_BYTES_MAX) {
        let message = format!("a text of a trace has more than {TEXT_BYTES_MAX} bytes; store it as an artifact");
        return Err(AppError::new(ErrorCode::InvalidValue, message).field("trace").limit(TEXT_BYTES_MAX));
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;
