//! Answers that tell of many traces. A trace may have megabytes of text: what has been read of them counts as memory of those who read.

use std::sync::Arc;

use serde_json::Value;
use stepwell_app::{App, AppError, ErrorCode, Reader, Trace};

use crate::mlflow::failure::Failure;

/// A page with so much text ends, and the rest comes with the next.
const PAGE_BYTES: usize = 8 << 20;
/// What telling of a trace takes beside its texts, bytes: objects within objects.
const INFO_BYTES: usize = 4 << 10;

/// What is told so far.
pub(super) struct Told {
    pub(super) infos: Vec<Value>,
    bytes: usize,
    reader: Arc<Reader>,
    shown: fn(&Trace) -> Value,
}

impl Told {
    pub(super) fn new(reader: Arc<Reader>, shown: fn(&Trace) -> Value) -> Self {
        Self { infos: Vec::new(), bytes: 0, reader, shown }
    }

    pub(super) fn is_long(&self) -> bool {
        self.bytes >= PAGE_BYTES
    }

    /// One more trace, unless it is gone.
    pub(super) async fn tell(&mut self, app: &App, trace_id: &str) -> Result<(), Failure> {
        let trace = match app.get_trace(trace_id).await {
            Ok(trace) => trace,
            Err(error) if error.code == ErrorCode::TraceNotFound => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let bytes = trace.text_bytes();
        self.reader.hold(bytes + INFO_BYTES).map_err(AppError::from)?;
        self.bytes += bytes;
        self.infos.push((self.shown)(&trace));
        Ok(())
    }
}
