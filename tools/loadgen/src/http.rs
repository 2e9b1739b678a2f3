//! One HTTP connection, as light as a client can be: the generator shares its cores with the server that it measures.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response, StatusCode, Uri,
    body::{Bytes, Incoming},
    client::conn::http1::{SendRequest, handshake},
    header,
};
use hyper_util::rt::TokioIo;
use stepwell_client::ARROW_STREAM;
use stepwell_types::ProducerSequence;
use tokio::net::TcpStream;

/// Wait before a lost connection is made anew, and after a refusal that does not say how long.
const RETRY_DELAY: Duration = Duration::from_millis(200);

/// Where a batch goes.
pub(crate) enum Door {
    /// An Arrow stream, numbered.
    Ingest(ProducerSequence),
    /// A call of MLflow's clients.
    Mlflow,
}

/// What became of a batch.
pub(crate) enum Answer {
    Acknowledged,
    /// Refused for now, or the connection was lost: to be sent again after this time.
    Passing(Duration),
}

/// A connection to a server, made when it is first needed and again when it is lost.
pub(crate) struct HttpConnection {
    authority: String,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl HttpConnection {
    /// To the server at `url`.
    pub(crate) fn new(url: &str) -> Result<Self> {
        let uri: Uri = url.parse().with_context(|| format!("{url} is no URL"))?;
        let authority = uri.authority().with_context(|| format!("{url} names no server"))?.to_string();
        Ok(Self { authority, sender: None })
    }

    /// Sends a batch once. An error is a refusal that sending it again does not change.
    pub(crate) async fn ingest(&mut self, body: Bytes, door: &Door) -> Result<Answer> {
        let Ok(response) = self.send(body, door).await else {
            self.sender = None;
            return Ok(Answer::Passing(RETRY_DELAY));
        };
        let status = response.status();
        let retry_after = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = retry_after.and_then(|text| text.parse().ok()).map_or(RETRY_DELAY, Duration::from_secs);
        // Read to its end, so that the connection can be used again.
        let Ok(answer) = response.into_body().collect().await else {
            self.sender = None;
            return Ok(Answer::Passing(RETRY_DELAY));
        };
        match status {
            StatusCode::OK => Ok(Answer::Acknowledged),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Ok(Answer::Passing(retry_after)),
            _ => bail!("a batch was refused with {status}: {}", String::from_utf8_lossy(&answer.to_bytes())),
        }
    }

    async fn send(&mut self, body: Bytes, door: &Door) -> Result<Response<Incoming>> {
        let request = match door {
            Door::Ingest(sequence) => Request::post("/api/v1/ingest")
                .header(header::CONTENT_TYPE, ARROW_STREAM)
                .header("Stepwell-Producer", &*sequence.producer)
                .header("Stepwell-Sequence", sequence.sequence),
            Door::Mlflow => {
                Request::post("/api/2.0/mlflow/runs/log-batch").header(header::CONTENT_TYPE, "application/json")
            }
        };
        let request = request.header(header::HOST, &self.authority).body(Full::new(body))?;
        Ok(self.sender().await?.send_request(request).await?)
    }

    /// Connects now rather than with the first batch.
    pub(crate) async fn connect(&mut self) -> Result<()> {
        self.sender().await.map(drop)
    }

    async fn sender(&mut self) -> Result<&mut SendRequest<Full<Bytes>>> {
        let sender = match self.sender.take() {
            Some(sender) if !sender.is_closed() => sender,
            _ => {
                let stream = TcpStream::connect(&self.authority).await?;
                stream.set_nodelay(true)?;
                let (sender, connection) = handshake(TokioIo::new(stream)).await?;
                // It ends with the sender; an error of it is the sender's too.
                tokio::spawn(async move { drop(connection.await) });
                sender
            }
        };
        let sender = self.sender.insert(sender);
        sender.ready().await?;
        Ok(sender)
    }
}
