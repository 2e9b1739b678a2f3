//! Answers that tell of many traces. A trace may have megabytes of text, or of short values: what has been read of them counts as memory of
//! those who read.

use std::sync::Arc;

use serde_json::Value;
use stepwell_app::{App, AppError, ErrorCode, Reader, Trace};

use super::info;
use crate::mlflow::failure::Failure;

/// A page that takes so much ends, and the rest comes with the next.
const PAGE_BYTES: usize = 8 << 20;
/// What telling of a trace takes beside its texts, pairs and assessments, bytes: objects within objects.
const INFO_BYTES: usize = 4 << 10;
/// The same of a tag that is a member of an object: its share of a node, and two texts.
const MEMBER_BYTES: usize = 200;

/// What is told so far.
pub(super) struct Told {
    pub(super) infos: Vec<Value>,
    bytes: usize,
    reader: Arc<Reader>,
    shown: fn(Trace) -> Value,
    /// What a tag or a piece of metadata takes beside its texts.
    pair_bytes: usize,
}

impl Told {
    /// In the words of MLflow 3.
    pub(super) fn v3(reader: &Arc<Reader>) -> Self {
        Self { infos: Vec::new(), bytes: 0, reader: reader.clone(), shown: info::v3, pair_bytes: MEMBER_BYTES }
    }

    /// In the words of MLflow 2.
    pub(super) fn v2(reader: &Arc<Reader>) -> Self {
        Self { shown: info::v2, pair_bytes: Trace::PAIR_BYTES, ..Self::v3(reader) }
    }

    pub(super) fn is_long(&self) -> bool {
        self.bytes >= PAGE_BYTES
    }

    /// One more trace, unless it is gone.
    pub(super) async fn tell(&mut self, app: &App, trace_id: &str) -> Result<(), Failure> {
        match app.get_trace(trace_id).await {
            Ok(trace) => {
                let info = self.one(trace)?;
                self.infos.push(info);
                Ok(())
            }
            Err(error) if error.code == ErrorCode::TraceNotFound => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// What is told of a trace.
    pub(super) fn one(&mut self, trace: Trace) -> Result<Value, Failure> {
        let bytes = INFO_BYTES + trace.tree_bytes(self.pair_bytes);
        self.reader.hold(bytes).map_err(AppError::from)?;
        self.bytes += bytes;
        Ok((self.shown)(trace))
    }
}
