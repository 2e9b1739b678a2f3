//! The calls of Flight. One of them is ours.

use std::sync::Arc;

use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest, HandshakeResponse,
    PollInfo, PutResult, SchemaResult, Ticket, flight_service_server::FlightService,
};
use axum::http::StatusCode;
use futures::stream::BoxStream;
use tokio::sync::mpsc::unbounded_channel;
use tonic::{Request, Response, Status, Streaming};

use super::{HOLD_MAX, acknowledge, meter::Meter, reader::Reader, status};
use crate::{metrics::Door, problem::Problem, producer, state::ServerState};

type Answer<T> = Result<Response<T>, Status>;
type Answers<T> = BoxStream<'static, Result<T, Status>>;

/// The service, as one call sees it.
pub(super) struct Flight {
    state: Arc<ServerState>,
}

impl Flight {
    /// A service over the server's state.
    pub(super) fn new(state: Arc<ServerState>) -> Self {
        Self { state }
    }

    fn put(&self, request: Request<Streaming<FlightData>>) -> Result<Answers<PutResult>, Problem> {
        let app = self.state.app()?;
        if *self.state.stopping.borrow() {
            return Err(Problem::shutting_down());
        }
        let producer = producer::of_stream(request.metadata().as_ref())?;
        let meter = request.extensions().get::<Meter>().cloned().unwrap_or_else(|| Meter::new(&self.state));
        let (events, received) = unbounded_channel();
        let (state, ingest) = (self.state.clone(), app.ingest_stream(HOLD_MAX));
        let reader = Reader { state, messages: request.into_inner(), meter, producer, ingest, events };
        let open = self.state.metrics.stream_opened();
        tokio::spawn(async move {
            reader.run().await;
            drop(open);
        });
        Ok(Box::pin(acknowledge::stream(self.state.clone(), received)))
    }

    fn unimplemented<T>(&self, instead: &str) -> Result<T, Status> {
        let sentence =
            format!("Stepwell's Flight service takes DoPut with the path [\"ingest\"] and nothing else: {instead}");
        let problem = Problem::new(StatusCode::NOT_IMPLEMENTED, "unimplemented", sentence.as_str());
        self.state.metrics.refused(Door::Flight, &problem);
        Err(Status::unimplemented(sentence))
    }
}

const READ_INSTEAD: &str = "read with POST /api/v1/sql or GET /api/v1/series, both of which answer in Arrow";

#[tonic::async_trait]
impl FlightService for Flight {
    type HandshakeStream = Answers<HandshakeResponse>;
    type ListFlightsStream = Answers<FlightInfo>;
    type DoGetStream = Answers<FlightData>;
    type DoPutStream = Answers<PutResult>;
    type DoActionStream = Answers<arrow_flight::Result>;
    type ListActionsStream = Answers<ActionType>;
    type DoExchangeStream = Answers<FlightData>;

    async fn do_put(&self, request: Request<Streaming<FlightData>>) -> Answer<Self::DoPutStream> {
        self.put(request).map(Response::new).map_err(|problem| {
            self.state.metrics.refused(Door::Flight, &problem);
            status::of(&problem)
        })
    }

    async fn handshake(&self, _: Request<Streaming<HandshakeRequest>>) -> Answer<Self::HandshakeStream> {
        self.unimplemented("there is no authentication, so there is no handshake")
    }

    async fn list_flights(&self, _: Request<Criteria>) -> Answer<Self::ListFlightsStream> {
        self.unimplemented(READ_INSTEAD)
    }

    async fn get_flight_info(&self, _: Request<FlightDescriptor>) -> Answer<FlightInfo> {
        self.unimplemented(READ_INSTEAD)
    }

    async fn poll_flight_info(&self, _: Request<FlightDescriptor>) -> Answer<PollInfo> {
        self.unimplemented(READ_INSTEAD)
    }

    async fn get_schema(&self, _: Request<FlightDescriptor>) -> Answer<SchemaResult> {
        self.unimplemented("schemas/flight.md has the columns")
    }

    async fn do_get(&self, _: Request<Ticket>) -> Answer<Self::DoGetStream> {
        self.unimplemented(READ_INSTEAD)
    }

    async fn do_action(&self, _: Request<Action>) -> Answer<Self::DoActionStream> {
        self.unimplemented("runs and projects are changed with POST and PATCH below /api/v1")
    }

    async fn list_actions(&self, _: Request<Empty>) -> Answer<Self::ListActionsStream> {
        self.unimplemented("there are no actions")
    }

    async fn do_exchange(&self, _: Request<Streaming<FlightData>>) -> Answer<Self::DoExchangeStream> {
        self.unimplemented("stream batches with DoPut")
    }
}
