//! An artifact becomes an answer.

use std::{io, ops::Range};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::stream;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use stepwell_app::{ArtifactDownload, ArtifactInfo};
use tokio::sync::mpsc;

use super::{
    STREAM_BYTES,
    conditions::{Wanted, wanted},
    media_types::media_type,
};
use crate::{decode::Budget, problem::Problem, state::ServerState};

const NOSNIFF: (HeaderName, HeaderValue) = (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));

/// Sends what the headers of the request want of an artifact. Its first chunk is read and checked before anything is answered; where
/// a later one is damaged the connection is broken off before any byte of it, so that no client takes what it has for the whole.
pub(crate) async fn send_artifact(
    state: &ServerState,
    headers: &HeaderMap,
    download: ArtifactDownload,
) -> Result<Response, Problem> {
    let info = download.info();
    let (bytes, etag) = (info.bytes, format!("\"{}\"", info.sha256));
    let common = common_headers(&etag);
    let (status, range) = match wanted(headers, &etag, bytes) {
        Wanted::Whole => (StatusCode::OK, 0..bytes),
        Wanted::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        Wanted::NotModified => return Ok((StatusCode::NOT_MODIFIED, common).into_response()),
        Wanted::Failed => {
            let detail = "the artifact is not the one that If-Match names: ask for it anew";
            let problem = Problem::new(StatusCode::PRECONDITION_FAILED, "precondition_failed", detail);
            return Ok(problem.field("If-Match").into_response());
        }
        Wanted::Unsatisfiable => {
            let detail = format!("the artifact has {bytes} bytes: ask for some of those");
            let problem = Problem::new(StatusCode::RANGE_NOT_SATISFIABLE, "range_not_satisfiable", detail);
            let mut response = problem.field("Range").into_response();
            response.headers_mut().insert(header::CONTENT_RANGE, value(format!("bytes */{bytes}")));
            return Ok(response);
        }
    };
    let mut response = (status, common).into_response();
    let answer = response.headers_mut();
    answer.insert(header::CONTENT_LENGTH, value((range.end - range.start).to_string()));
    answer.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type(name_of(info))));
    answer.insert(header::CONTENT_DISPOSITION, value(disposition(info)));
    if status == StatusCode::PARTIAL_CONTENT {
        answer.insert(header::CONTENT_RANGE, value(format!("bytes {}-{}/{bytes}", range.start, range.end - 1)));
    }
    if !range.is_empty() {
        let mut budget = Budget::new(state.in_flight.clone(), STREAM_BYTES);
        budget.receive(STREAM_BYTES)?;
        let first = download.read(range.start).await?;
        *response.body_mut() = body(state, download, range, first, budget);
    }
    Ok(response)
}

/// No Last-Modified: its seconds would not tell two contents apart. Who keeps an answer asks each time whether it is still right, which
/// costs one row.
fn common_headers(etag: &str) -> HeaderMap {
    HeaderMap::from_iter([
        (header::ETAG, value(etag.to_owned())),
        (header::ACCEPT_RANGES, HeaderValue::from_static("bytes")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        NOSNIFF,
    ])
}

/// Always to be kept, never to be shown: what a browser shows would be a page of this server.
fn disposition(info: &ArtifactInfo) -> String {
    format!("attachment; filename*=UTF-8''{}", utf8_percent_encode(name_of(info), NON_ALPHANUMERIC))
}

fn name_of(info: &ArtifactInfo) -> &str {
    info.path.rsplit('/').next().unwrap_or(&info.path)
}

/// A task reads one chunk ahead of the connection, and gives up where nothing of it is taken for as long as a body may pause.
fn body(state: &ServerState, download: ArtifactDownload, range: Range<u64>, first: Vec<u8>, budget: Budget) -> Body {
    let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(1);
    let idle_max = state.config.body_idle_max;
    tokio::spawn(async move {
        let _budget = budget;
        let (mut at, mut chunk) = (range.start, Ok(first));
        loop {
            let piece = chunk.map_err(io::Error::other).map(|mut chunk: Vec<u8>| {
                chunk.truncate(usize::try_from(range.end - at).unwrap_or(usize::MAX));
                Bytes::from(chunk)
            });
            let taken = piece.as_ref().map_or(0, Bytes::len) as u64;
            // Without the sender the answer ends before its Content-Length, and the connection with it.
            if !matches!(tokio::time::timeout(idle_max, sender.send(piece)).await, Ok(Ok(()))) || taken == 0 {
                return;
            }
            at += taken;
            if at == range.end {
                return;
            }
            chunk = download.read(at).await;
        }
    });
    let next = |mut receiver: mpsc::Receiver<io::Result<Bytes>>| async {
        receiver.recv().await.map(|piece| (piece, receiver))
    };
    Body::from_stream(stream::unfold(receiver, next))
}

/// Text without control characters as a header.
fn value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}
