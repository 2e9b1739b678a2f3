//! What the writer is told, and what it is asked.

use stepwell_env::channel::Sender;
use stepwell_types::{Batch, ProducerSequence};
use stepwell_wal::EncodedFrame;

use crate::{ack::IngestAck, error::EngineError, lane::Lane};

/// Called once, with what became of the batch.
pub(crate) type Done = Box<dyn FnOnce(Result<IngestAck, EngineError>) + Send>;

/// Called once, with what a batch that was applied before was acknowledged with.
pub(crate) type Told = Box<dyn FnOnce(Option<IngestAck>) + Send>;

/// Everything the writer can be told.
pub(crate) enum Command {
    Ingest(Box<Ingest>),
    Ask(Box<Question>),
    Stop,
}

/// The queue has room for all that may wait, and each batch goes through it.
const _: () = assert!(size_of::<Command>() <= 16);

/// What is answered when all that was queued before is done.
pub(crate) enum Question {
    /// Freezes the active generation; the answer says whether it is on its way to the flush thread, or has to wait for room there.
    Rotate(Sender<Result<bool, EngineError>>),
    /// Nothing more: that it is done.
    Done(Sender<()>),
    /// Whether a batch of so many points was applied (I3).
    Applied(ProducerSequence, u64, Told),
}

pub(crate) struct Ingest {
    pub(crate) batch: Batch,
    pub(crate) producer: Option<ProducerSequence>,
    pub(crate) lane: Option<Lane>,
    pub(crate) frame: EncodedFrame,
    /// A number per series of the batch.
    pub(crate) names: Vec<u64>,
    /// What it counts against the queue's budget.
    pub(crate) queued_bytes: usize,
    pub(crate) done: Done,
}
