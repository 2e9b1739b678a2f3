//! The settings as types.

use std::{net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

use anyhow::{Context, Result, bail};

use super::{
    flags::ServeFlags,
    layers::{self, Values},
    memory::Memory,
};

/// Everything `serve` was told, checked. Field meanings: the table of knobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) data_dir: PathBuf,
    pub(crate) listen: SocketAddr,
    pub(crate) connections_max: usize,
    pub(crate) head_timeout: Duration,
    pub(crate) body_idle: Duration,
    pub(crate) memory: Memory,
    pub(crate) flush_age: Duration,
    pub(crate) wal_retain_bytes: u64,
    pub(crate) series_per_run_max: usize,
    pub(crate) metrics_per_project_max: usize,
    pub(crate) query_spill_bytes: u64,
    pub(crate) query_timeout: Duration,
    pub(crate) artifacts_url: Option<String>,
    pub(crate) artifacts_take_over: Option<String>,
    pub(crate) webhook_private: bool,
    pub(crate) log_filter: String,
    pub(crate) log_json: bool,
}

impl Settings {
    /// Reads flags, environment and file.
    pub(crate) fn resolve(flags: &ServeFlags) -> Result<Self> {
        // A variable that is not Unicode cannot be one of ours: their names and values are text.
        let environment =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self::from_layers(flags, environment)
    }

    pub(super) fn from_layers(flags: &ServeFlags, environment: impl Iterator<Item = (String, String)>) -> Result<Self> {
        let values = layers::merge(flags, environment)?;
        let settings = Self {
            data_dir: get(&values, "data_dir")?,
            listen: get(&values, "listen")?,
            connections_max: get(&values, "connections_max")?,
            head_timeout: Duration::from_secs(get(&values, "head_timeout_seconds")?),
            body_idle: Duration::from_secs(get(&values, "body_idle_seconds")?),
            memory: Memory::resolve(&values)?,
            flush_age: Duration::from_secs(get(&values, "flush_age_seconds")?),
            wal_retain_bytes: get(&values, "wal_retain_bytes")?,
            series_per_run_max: get(&values, "series_per_run_max")?,
            metrics_per_project_max: get(&values, "metrics_per_project_max")?,
            query_spill_bytes: get(&values, "query_spill_bytes")?,
            query_timeout: Duration::from_secs(get(&values, "query_timeout_seconds")?),
            artifacts_url: Some(get::<String>(&values, "artifacts_url")?).filter(|url| !url.is_empty()),
            artifacts_take_over: Some(get::<String>(&values, "artifacts_take_over")?).filter(|owner| !owner.is_empty()),
            webhook_private: get(&values, "webhook_private")?,
            log_filter: get(&values, "log_filter")?,
            log_json: get::<String>(&values, "log_format")? == "json",
        };
        if !settings.listen.ip().is_loopback() && !get::<bool>(&values, "allow_remote")? {
            bail!(
                "`listen` is {}, which other machines can reach, and Stepwell has no authentication yet; listen on 127.0.0.1, \
                 or give --allow-remote where something in front decides who may connect",
                settings.listen
            );
        }
        Ok(settings)
    }
}

pub(super) fn get<T: FromStr<Err: std::error::Error + Send + Sync + 'static>>(
    values: &Values,
    name: &str,
) -> Result<T> {
    let text = values.get(name).with_context(|| format!("`{name}` is not a knob"))?;
    text.parse().with_context(|| format!("`{name}` is {text:?}"))
}
