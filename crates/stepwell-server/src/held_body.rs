//! Long answers that are made before they are sent: their bytes count as memory of those who read until the client has taken them (I9).

use std::{convert::Infallible, sync::Arc};

use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, header},
    response::Response,
};
use futures::stream;
use stepwell_app::Reader;

/// What the connection is handed at a time; it asks for more as the client reads.
const SLICE_BYTES: usize = 64 << 10;

/// An answer of `bytes`, which `reader` has counted. It does so until the client has read all but the end of them.
pub(crate) fn response(bytes: Vec<u8>, reader: Arc<Reader>) -> Response {
    let length = bytes.len();
    let slices = stream::unfold((Bytes::from(bytes), reader), |(mut rest, reader)| async move {
        let slice = rest.split_to(rest.len().min(SLICE_BYTES));
        (!slice.is_empty()).then_some((Ok::<_, Infallible>(slice), (rest, reader)))
    });
    let mut response = Response::new(Body::from_stream(slices));
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    response
}
