//! A client of a server that may still be starting.

use std::time::Duration;

use anyhow::{Context, Result};
use stepwell_client::Client;

const POLL: Duration = Duration::from_millis(50);

/// A client of the server at `url`, once that is ready. A server that replays its log is waited for; one that is not there, or
/// fails, is an error at once.
pub(crate) fn connect(url: &str) -> Result<Client> {
    let client = Client::new(url)?;
    let mut has_said = false;
    while !client.is_ready().with_context(|| format!("is a server at {url}?"))? {
        if !std::mem::replace(&mut has_said, true) {
            eprintln!("{url} is starting and replays its log; waiting until it is ready");
        }
        std::thread::sleep(POLL);
    }
    Ok(client)
}
