//! A Flight client as thin as it can be: it sends what it is told to, hostile or not.

use anyhow::{Context, Result, anyhow, ensure};
use arrow_flight::{
    FlightData, FlightDescriptor, PutResult, flight_descriptor::DescriptorType,
    flight_service_client::FlightServiceClient,
};
use arrow_ipc::root_as_message;
use futures::{
    SinkExt,
    channel::mpsc::{Sender, channel},
};
use serde_json::{Value, json};
use tonic::{
    Request, Status, Streaming,
    transport::{Channel, Endpoint},
};

/// Messages that may wait between the sender and its connection.
const CHANNEL_MESSAGES: usize = 16;

/// One open stream.
pub struct FlightPut {
    sender: Option<Sender<FlightData>>,
    is_fresh: bool,
    results: Streaming<PutResult>,
}

/// What holds a connection together.
pub type FlightClient = FlightServiceClient<Channel>;

/// A connection of its own to the server at `url`.
pub async fn connect(url: &str) -> Result<FlightClient> {
    let channel = Endpoint::from_shared(url.to_owned()).context("address")?.connect().await.context("connect")?;
    Ok(FlightServiceClient::new(channel).max_encoding_message_size(usize::MAX))
}

/// The descriptor of ingest.
pub fn descriptor() -> FlightDescriptor {
    FlightDescriptor { r#type: DescriptorType::Path.into(), path: vec!["ingest".to_owned()], ..Default::default() }
}

/// The messages of an Arrow stream as Flight carries them: the first is the schema and has the descriptor.
pub fn messages(stream: &[u8]) -> Result<Vec<FlightData>> {
    let mut messages: Vec<FlightData> = Vec::new();
    let mut rest = stream;
    while rest.len() > 8 {
        let length = u32::from_le_bytes(rest[4..8].try_into()?) as usize;
        ensure!(length > 0, "bytes after the end of the stream");
        let header = rest.get(8..8 + length).context("metadata")?;
        let body_bytes = usize::try_from(root_as_message(header).map_err(|error| anyhow!("{error}"))?.bodyLength())?;
        let body = rest.get(8 + length..8 + length + body_bytes).context("body")?;
        let flight_descriptor = messages.is_empty().then(descriptor);
        messages.push(FlightData {
            flight_descriptor,
            data_header: header.to_vec().into(),
            data_body: body.to_vec().into(),
            ..Default::default()
        });
        rest = &rest[8 + length + body_bytes..];
    }
    Ok(messages)
}

/// A batch's message with its sequence.
pub fn numbered(mut message: FlightData, sequence: u64) -> FlightData {
    message.app_metadata = json!({"sequence": sequence}).to_string().into();
    message
}

impl FlightPut {
    /// Opens a stream.
    pub async fn open(client: &mut FlightClient, producer: Option<&str>) -> Result<Self> {
        let (sender, receiver) = channel(CHANNEL_MESSAGES);
        let mut request = Request::new(receiver);
        if let Some(producer) = producer {
            request.metadata_mut().insert("stepwell-producer", producer.parse().context("producer")?);
        }
        let results = client.do_put(request).await.context("DoPut")?.into_inner();
        Ok(Self { sender: Some(sender), is_fresh: true, results })
    }

    /// Waits until there is room for the message on its way to the connection. A stream that the server has ended takes
    /// nothing more; its acknowledgements say why.
    pub async fn send(&mut self, message: FlightData) -> bool {
        self.is_fresh = false;
        match &mut self.sender {
            Some(sender) => sender.send(message).await.is_ok(),
            None => false,
        }
    }

    /// Whether nothing was sent yet: the schema comes first.
    pub fn is_fresh(&self) -> bool {
        self.is_fresh
    }

    /// Says that nothing more comes.
    pub fn finish(&mut self) {
        self.sender = None;
    }

    /// The halves, to be used from two tasks.
    pub fn split(self) -> (Option<Sender<FlightData>>, Streaming<PutResult>) {
        (self.sender, self.results)
    }

    /// The next acknowledgement; `None` at the end.
    pub async fn ack(&mut self) -> Result<Option<Value>, Status> {
        let Some(result) = self.results.message().await? else { return Ok(None) };
        serde_json::from_slice(&result.app_metadata)
            .map(Some)
            .map_err(|error| Status::unknown(format!("an acknowledgement that is not JSON: {error}")))
    }
}
