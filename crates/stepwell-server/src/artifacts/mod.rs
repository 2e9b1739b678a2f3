//! Artifacts as streams: bodies that go to the disk as they arrive, and files that go out chunk by chunk. The routes of both dialects
//! use it.

mod conditions;
mod media_types;
mod receive;
mod send;

pub(crate) use self::{
    receive::{receive_artifact, turn_away},
    send::send_artifact,
};

/// Bytes of memory that one stream may take: a chunk that is written or was read, and one on its way.
const STREAM_BYTES: usize = 512 << 10;
