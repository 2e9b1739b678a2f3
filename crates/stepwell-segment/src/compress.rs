//! Pages as zstd frames (RFC 8878), which any reader of Parquet decodes.

use bytes::Bytes;
use parquet::errors::ParquetError;
use zstd::zstd_safe::{
    CCtx, CParameter, DCtx, InBuffer, OutBuffer, ResetDirective, compress_bound, get_error_name,
    get_frame_content_size, zstd_sys::ZSTD_EndDirective,
};

/// A page as it is stored.
pub(crate) struct Frame {
    pub(crate) bytes: Vec<u8>,
    /// Bytes that come out of it.
    pub(crate) raw_len: usize,
}

/// A context of zstd, for frames of one level.
pub(crate) struct Compressor {
    context: CCtx<'static>,
}

impl Compressor {
    pub(crate) fn new(zstd_level: i32) -> Result<Self, ParquetError> {
        let mut context = CCtx::try_create().ok_or_else(no_memory)?;
        context.set_parameter(CParameter::CompressionLevel(zstd_level)).map_err(failed)?;
        Ok(Self { context })
    }

    /// For pages of up to `page_bytes` that hold the same bytes again, far apart: the whole page is searched for them. Readers
    /// need a window of that size, which all give who decode a page at once, and the others up to 128 MiB.
    pub(crate) fn far(zstd_level: i32, page_bytes: usize) -> Result<Self, ParquetError> {
        let mut compressor = Self::new(zstd_level)?;
        let window_log = page_bytes.next_power_of_two().ilog2().clamp(WINDOW_LOG.0, WINDOW_LOG.1);
        for parameter in [CParameter::WindowLog(window_log), CParameter::EnableLongDistanceMatching(true)] {
            compressor.context.set_parameter(parameter).map_err(failed)?;
        }
        Ok(compressor)
    }

    pub(crate) fn compress(&mut self, raw: &[u8]) -> Result<Frame, ParquetError> {
        let mut bytes = Vec::with_capacity(compress_bound(raw.len()));
        self.context.compress2(&mut bytes, raw).map_err(failed)?;
        Ok(Frame { bytes, raw_len: raw.len() })
    }

    /// One frame of `parts`, one after the other, each in blocks of its own: zstd has one code of symbols for a block, so that
    /// parts of different kinds in one block would spoil each other's.
    pub(crate) fn compress_parts(&mut self, parts: &[Vec<u8>]) -> Result<Frame, ParquetError> {
        let raw_len = parts.iter().map(Vec::len).sum();
        self.context.reset(ResetDirective::SessionOnly).map_err(failed)?;
        self.context.set_pledged_src_size(Some(raw_len as u64)).map_err(failed)?;
        let mut bytes = Vec::with_capacity(compress_bound(raw_len) + parts.len() * BLOCK_BYTES_MAX);
        for part in parts {
            self.put(part, &mut bytes, ZSTD_EndDirective::ZSTD_e_flush)?;
        }
        self.put(&[], &mut bytes, ZSTD_EndDirective::ZSTD_e_end)?;
        Ok(Frame { bytes, raw_len })
    }

    fn put(&mut self, part: &[u8], out: &mut Vec<u8>, end: ZSTD_EndDirective) -> Result<(), ParquetError> {
        let mut input = InBuffer::around(part);
        loop {
            let at = out.len();
            let left = self.context.compress_stream2(&mut OutBuffer::around_pos(out, at), &mut input, end);
            match left.map_err(failed)? {
                0 => return Ok(()),
                left => out.reserve(left),
            }
        }
    }
}

/// A context of zstd that takes frames apart.
pub(crate) struct Decompressor {
    context: DCtx<'static>,
}

impl Decompressor {
    pub(crate) fn new() -> Result<Self, ParquetError> {
        let context = DCtx::try_create().ok_or_else(no_memory)?;
        Ok(Self { context })
    }

    /// The content of a frame that says how long that is, as all do which are made at once. No memory is taken for one that says
    /// more than pages hold.
    pub(crate) fn decompress(&mut self, frame: &[u8]) -> Result<Bytes, ParquetError> {
        let unsaid = || ParquetError::General("a zstd frame does not say how long its content is".to_owned());
        let raw_len = get_frame_content_size(frame).ok().flatten().ok_or_else(unsaid)?;
        let raw_len = usize::try_from(raw_len).ok().filter(|&bytes| bytes <= PAGE_BYTES_MAX).ok_or_else(too_large)?;
        let mut raw = Vec::with_capacity(raw_len);
        self.context.decompress(&mut raw, frame).map_err(failed)?;
        Ok(Bytes::from(raw))
    }
}

/// Largest page, bytes, uncompressed. Dictionaries of names, the largest that are written, stay below half of it.
const PAGE_BYTES_MAX: usize = 64 << 20;
/// Logarithms of the windows that zstd knows and readers accept.
const WINDOW_LOG: (u32, u32) = (10, 27);
/// What a block takes beside its content, at most.
const BLOCK_BYTES_MAX: usize = 18;

fn no_memory() -> ParquetError {
    ParquetError::General("no memory for zstd".to_owned())
}

fn too_large() -> ParquetError {
    ParquetError::General(format!("a zstd frame says that it holds more than {PAGE_BYTES_MAX} bytes"))
}

fn failed(code: usize) -> ParquetError {
    ParquetError::General(format!("zstd: {}", get_error_name(code)))
}
