//! Arrow Flight: long-lived streams of batches, each acknowledged in turn.
//!
//! A stream's way: `meter` (bytes counted as they arrive) → `reader` (message by message: decoded by the same code as bodies,
//! queued in order, within a window) → `acknowledge` (in the same order, once durable and visible). What fails becomes a
//! `status`. `service` is the list of calls.
#![doc = include_str!("../../../../schemas/flight.md")]

mod acknowledge;
mod meter;
mod reader;
mod service;
mod status;
mod window;

use std::time::Duration;

use arrow_flight::flight_service_server::FlightServiceServer;
use axum::{
    body::Body,
    extract::{Request, State},
    http::header,
    response::{IntoResponse, Response},
};
use tonic::codegen::Service;

pub(crate) use self::reader::sequence;
use self::{meter::Meter, service::Flight};
use crate::{problem::Problem, router::Shared};

/// Where gRPC looks for the calls.
pub(crate) const ROUTE: &str = "/arrow.flight.protocol.FlightService/{call}";
/// What the paths of all calls start with.
pub(crate) const PREFIX: &str = "/arrow.flight.protocol.FlightService/";

/// What the media types of all its encodings start with.
const GRPC: &str = "application/grpc";

/// How long a stream is held back while the server has no room for it, before it is refused.
const HOLD_MAX: Duration = Duration::from_secs(30);
/// Between two looks for room.
const HOLD_PAUSE: Duration = Duration::from_millis(5);

/// Answers one call.
pub(crate) async fn serve(State(state): Shared, request: Request) -> Response {
    let media_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if !media_type.is_some_and(|given| given.starts_with(GRPC)) {
        return Problem::unsupported_media_type(media_type, GRPC).into_response();
    }
    let message_limit = state.config.body_limit_bytes;
    let meter = Meter::new(&state);
    let (mut parts, body) = request.into_parts();
    parts.extensions.insert(meter.clone());
    let request = Request::from_parts(parts, meter.count(body, &state));
    let mut service = FlightServiceServer::new(Flight::new(state)).max_decoding_message_size(message_limit);
    match service.call(request).await {
        Ok(response) => response.map(Body::new),
        Err(never) => match never {},
    }
}
