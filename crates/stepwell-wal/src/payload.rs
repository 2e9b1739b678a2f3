//! The payload of a frame: one batch.

use std::{collections::HashMap, sync::Arc};

use ahash::RandomState;
use stepwell_types::{Batch, Lsn, ProducerSequence, SeriesKey, limits};

use crate::{
    columns::{decode_integers, decode_values, encode_integers, encode_values},
    error::WalError,
    format::{FRAME_HEADER_BYTES, FrameHeader, PAYLOAD_BYTES_MAX},
    recover::WalRecord,
};

/// A batch encoded and checksummed, lacking only its place in the log.
#[derive(Debug, Clone)]
pub struct EncodedFrame {
    payload: Vec<u8>,
    payload_crc: u32,
    points: u32,
}

impl EncodedFrame {
    /// Number of points.
    pub fn points(&self) -> usize {
        self.points as usize
    }

    /// Bytes it takes in the log.
    pub fn bytes(&self) -> usize {
        FRAME_HEADER_BYTES + self.payload.len()
    }

    /// Appends the frame as it stands at `offset` of a file.
    pub(crate) fn write(&self, first_lsn: Lsn, synced_below: Lsn, offset: u64, out: &mut Vec<u8>) {
        let header = FrameHeader {
            payload_bytes: self.payload.len() as u32,
            payload_crc: self.payload_crc,
            first_lsn: first_lsn.0,
            synced_below: synced_below.0,
            points: self.points,
        };
        out.extend_from_slice(&header.encode(offset));
        out.extend_from_slice(&self.payload);
    }
}

/// Encodes a batch; done by the caller's thread, so that the one writer only copies.
pub fn encode_frame(batch: &Batch, producer: Option<&ProducerSequence>) -> Result<EncodedFrame, WalError> {
    let mut out = Vec::with_capacity(64 + batch.len() * 12);
    match producer {
        Some(producer) => {
            put_name(&mut out, &producer.producer)?;
            out.extend_from_slice(&producer.sequence.to_le_bytes());
        }
        None => put_name(&mut out, "")?,
    }
    put_series(&mut out, batch.series())?;
    let series: Vec<i64> = batch.series_index().iter().map(|&index| i64::from(index)).collect();
    encode_integers(&series, &mut out);
    encode_integers(batch.step(), &mut out);
    encode_integers(batch.timestamp_us(), &mut out);
    encode_values(batch.value(), &mut out);
    if out.len() > PAYLOAD_BYTES_MAX {
        return Err(WalError::FrameTooLarge { actual: out.len(), limit: PAYLOAD_BYTES_MAX });
    }
    // `Batch` holds at most `BATCH_POINTS_MAX` points.
    Ok(EncodedFrame { payload_crc: crc32c::crc32c(&out), points: batch.len() as u32, payload: out })
}

fn put_name(out: &mut Vec<u8>, name: &str) -> Result<(), WalError> {
    let length = u16::try_from(name.len())
        .map_err(|_| WalError::FrameTooLarge { actual: name.len(), limit: usize::from(u16::MAX) })?;
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(name.as_bytes());
    Ok(())
}

fn put_series(out: &mut Vec<u8>, series: &[SeriesKey]) -> Result<(), WalError> {
    let mut numbers: HashMap<&str, u32, RandomState> = HashMap::default();
    let mut names: Vec<&str> = Vec::new();
    let mut rows: Vec<u8> = Vec::with_capacity(series.len() * 12);
    // The name at each place of the series before: those of one batch share the text of their project and run.
    let mut last: [Option<(&Arc<str>, u32)>; 3] = [None; 3];
    for key in series {
        for (last, name) in last.iter_mut().zip([&key.project_id, &key.metric, &key.run_id]) {
            let number = match last {
                Some((last, number)) if Arc::ptr_eq(last, name) => *number,
                _ => *numbers.entry(name).or_insert_with(|| {
                    names.push(name);
                    names.len() as u32 - 1
                }),
            };
            *last = Some((name, number));
            rows.extend_from_slice(&number.to_le_bytes());
        }
    }
    out.extend_from_slice(&(names.len() as u32).to_le_bytes());
    for name in names {
        put_name(out, name)?;
    }
    out.extend_from_slice(&(series.len() as u32).to_le_bytes());
    out.extend_from_slice(&rows);
    Ok(())
}

/// Reads a payload whose checksum has been found good; `None` if it is no batch all the same.
pub(crate) fn decode_payload(header: &FrameHeader, payload: &[u8]) -> Option<WalRecord> {
    let points = header.points as usize;
    // A value takes at least four bytes. The other columns may be of one number, nine bytes for any count: without this a frame of
    // a hundred bytes would take memory for millions of points before it is refused.
    if points > limits::BATCH_POINTS_MAX || points > payload.len() / 4 {
        return None;
    }
    let mut cursor = Cursor::new(payload);
    let name = cursor.name()?;
    let producer = match name {
        "" => None,
        name => Some(ProducerSequence { producer: name.into(), sequence: cursor.u64()? }),
    };
    let series = decode_series(&mut cursor)?;
    let index = decode_integers(&mut cursor, points)?;
    let index = index.into_iter().map(|i| u32::try_from(i).ok()).collect::<Option<Vec<u32>>>()?;
    let step = decode_integers(&mut cursor, points)?;
    let timestamp_us = decode_integers(&mut cursor, points)?;
    let value = decode_values(&mut cursor, points)?;
    if !cursor.bytes.is_empty() {
        return None;
    }
    let batch = Batch::new(series, index, step, timestamp_us, value).ok()?;
    Some(WalRecord { first_lsn: Lsn(header.first_lsn), producer, batch })
}

/// Who sent the batch of a payload, read without the rest of it.
pub(crate) fn decode_producer(payload: &[u8]) -> Option<ProducerSequence> {
    let mut cursor = Cursor::new(payload);
    let producer = cursor.name().filter(|name| !name.is_empty())?;
    Some(ProducerSequence { producer: producer.into(), sequence: cursor.u64()? })
}

fn decode_series(cursor: &mut Cursor<'_>) -> Option<Vec<SeriesKey>> {
    let count = cursor.u32()? as usize;
    // Each name takes at least its length field, each series three numbers: counts beyond the bytes are lies.
    if count > cursor.bytes.len() / 2 {
        return None;
    }
    let names = (0..count).map(|_| cursor.name().map(Arc::from)).collect::<Option<Vec<Arc<str>>>>()?;
    let count = cursor.u32()? as usize;
    if count > cursor.bytes.len() / 12 {
        return None;
    }
    let mut name = || Some(names.get(cursor.u32()? as usize)?.clone());
    (0..count).map(|_| Some(SeriesKey { project_id: name()?, metric: name()?, run_id: name()? })).collect()
}

/// Bytes not yet read.
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub(crate) fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.bytes.split_at_checked(n)?;
        self.bytes = rest;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }

    fn name(&mut self) -> Option<&'a str> {
        let length = self.array().map(u16::from_le_bytes)?;
        std::str::from_utf8(self.take(usize::from(length))?).ok()
    }
}
