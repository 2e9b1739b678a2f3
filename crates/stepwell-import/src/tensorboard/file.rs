//! One event file by itself, without a server.

use std::io::{self, Read, Seek};

use super::{
    record::{Item, RecordReader},
    scalars::{RunState, Scalar},
};

/// Bytes of an event file that were passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedRecord {
    pub offset: u64,
    pub bytes: u64,
    pub reason: String,
}

/// Hands the scalars in the first `len` bytes of an event file to `each`, in file order, as an import would send them. Returns
/// what cannot be read.
pub fn read_event_file(
    input: impl Read + Seek,
    len: u64,
    mut each: impl FnMut(&Scalar<'_>),
) -> io::Result<Vec<DamagedRecord>> {
    let (mut reader, mut state) = (RecordReader::new(input, len), RunState::default());
    let mut damaged = Vec::new();
    while let Some(item) = reader.next()? {
        match item {
            Item::Record { data, offset, end } => {
                if let Err(reason) = state.read(&data, |scalar| each(&scalar)) {
                    damaged.push(DamagedRecord { offset, bytes: end - offset, reason });
                }
            }
            Item::Damage { offset, bytes, reason } => {
                damaged.push(DamagedRecord { offset, bytes, reason: reason.to_owned() });
            }
        }
    }
    Ok(damaged)
}
