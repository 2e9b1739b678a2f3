//! `Content-Encoding`: zstd and gzip, bounded while they decompress.

use std::io::{Read, Write};

use super::{Budget, DecodeCode, DecodeError};

/// Largest zstd window, as a power of two: the 8 MiB that RFC 9659 allows for content encoding.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// Decompressed bytes asked for at once; the budget is charged in these steps.
const CHUNK_BYTES: usize = 64 * 1024;

/// How the body was compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ContentEncoding {
    /// Not at all.
    Identity,
    /// RFC 8878.
    Zstd,
    /// RFC 1952.
    Gzip,
}

impl ContentEncoding {
    /// Reads the header's value; absent means identity.
    pub(crate) fn parse(header: Option<&[u8]>) -> Result<Self, DecodeError> {
        let text = header.unwrap_or_default().trim_ascii();
        match text.to_ascii_lowercase().as_slice() {
            b"" | b"identity" => Ok(Self::Identity),
            b"zstd" => Ok(Self::Zstd),
            b"gzip" | b"x-gzip" => Ok(Self::Gzip),
            _ => Err(DecodeError::new(
                DecodeCode::UnsupportedEncoding,
                format!(
                    "Content-Encoding {:?} is not supported: use zstd, gzip or none",
                    String::from_utf8_lossy(text)
                ),
            )
            .field("Content-Encoding")),
        }
    }

    /// Undoes the compression. Decoded bytes are charged to the budget before they are allocated; input is bounded by the
    /// body limit, so that zstd's skippable frames, which decode to nothing, are bounded too.
    pub(crate) fn decode(self, body: Vec<u8>, budget: &mut Budget) -> Result<Vec<u8>, DecodeError> {
        match self {
            Self::Identity => Ok(body),
            Self::Zstd => read_bounded(zstd_reader(&body)?, budget),
            Self::Gzip => read_bounded(flate2::read::MultiGzDecoder::new(body.as_slice()), budget),
        }
    }
}

fn zstd_reader(body: &[u8]) -> Result<impl Read + '_, DecodeError> {
    let mut reader = zstd::stream::read::Decoder::with_buffer(body).map_err(|error| damaged(&error))?;
    reader.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(|error| damaged(&error))?;
    Ok(reader)
}

fn read_bounded(mut reader: impl Read, budget: &mut Budget) -> Result<Vec<u8>, DecodeError> {
    let mut decoded = Vec::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match reader.read(&mut chunk) {
            Ok(0) => return Ok(decoded),
            Ok(bytes) => {
                budget.decode(bytes)?;
                decoded.write_all(&chunk[..bytes]).map_err(|error| damaged(&error))?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(damaged(&error)),
        }
    }
}

fn damaged(error: &std::io::Error) -> DecodeError {
    DecodeError::new(
        DecodeCode::MalformedEncoding,
        format!("the body does not decompress as its Content-Encoding says: {error}"),
    )
    .field("Content-Encoding")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::InFlight;

    fn budget(bytes: usize) -> Budget {
        Budget::new(InFlight::new(1 << 30), bytes)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap()
    }

    #[test]
    fn both_encodings_round_trip() {
        let text = b"points ".repeat(100_000);
        for (encoding, body) in
            [(ContentEncoding::Zstd, zstd::encode_all(&text[..], 3).unwrap()), (ContentEncoding::Gzip, gzip(&text))]
        {
            assert_eq!(encoding.decode(body, &mut budget(1 << 20)).unwrap(), text);
        }
        assert_eq!(ContentEncoding::parse(Some(b" ZSTD ")).unwrap(), ContentEncoding::Zstd);
        assert_eq!(ContentEncoding::parse(Some(b"br")).unwrap_err().code, DecodeCode::UnsupportedEncoding);
    }

    #[test]
    fn i9_bombs_stop_at_the_budget() {
        let zeros = vec![0; 32 << 20];
        for (encoding, body) in
            [(ContentEncoding::Zstd, zstd::encode_all(&zeros[..], 3).unwrap()), (ContentEncoding::Gzip, gzip(&zeros))]
        {
            let mut budget = budget(1 << 20);
            let error = encoding.decode(body, &mut budget).unwrap_err();
            assert_eq!((error.code, error.limit), (DecodeCode::DecodedTooLarge, Some(1 << 20)));
        }
    }

    #[test]
    fn a_zstd_window_past_the_limit_is_refused() {
        let mut writer = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        writer.window_log(27).unwrap();
        writer.write_all(&[7; 1000]).unwrap();
        let body = writer.finish().unwrap();
        let error = ContentEncoding::Zstd.decode(body, &mut budget(1 << 20)).unwrap_err();
        assert_eq!(error.code, DecodeCode::MalformedEncoding);
    }

    #[test]
    fn truncated_and_foreign_bytes_are_refused() {
        let body = zstd::encode_all(&b"hello hello hello"[..], 3).unwrap();
        for cut in 1..body.len() {
            let error = ContentEncoding::Zstd.decode(body[..cut].to_vec(), &mut budget(1 << 20)).unwrap_err();
            assert_eq!(error.code, DecodeCode::MalformedEncoding);
        }
        let body = gzip(b"hello hello hello");
        for cut in 1..body.len() {
            assert!(ContentEncoding::Gzip.decode(body[..cut].to_vec(), &mut budget(1 << 20)).is_err());
        }
    }

    #[test]
    fn skippable_frames_decode_to_nothing() {
        let mut body = [0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4].repeat(1000);
        body.extend(zstd::encode_all(&b"x"[..], 3).unwrap());
        assert_eq!(ContentEncoding::Zstd.decode(body, &mut budget(1 << 20)).unwrap(), b"x");
    }
}
