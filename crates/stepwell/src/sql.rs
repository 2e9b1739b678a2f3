//! `stepwell sql`: one query, answered by a server or from a data directory that no server need run on.

use std::{
    io::{Write, stdout},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use arrow::{array::RecordBatch, datatypes::SchemaRef};
use clap::{Args, ValueEnum};
use futures::StreamExt;
use stepwell_app::{App, AppConfig, QueryRequest};
use stepwell_client::Client;
use stepwell_env::Env;
use stepwell_query::encode::{ResultEncoder, ResultFormat};

use crate::table;

/// Arguments of `sql`.
#[derive(Debug, Args)]
pub(crate) struct SqlArgs {
    /// The query
    query: String,
    /// The server to ask
    #[arg(long, conflicts_with = "data_dir", default_value = "http://127.0.0.1:9090")]
    server: String,
    /// A data directory to read instead of asking a server; nothing in it is changed
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// The project whose tables need no schema in front
    #[arg(long)]
    project: Option<String>,
    /// How the rows are written
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
    Csv,
    Parquet,
}

/// The rows with their schema, which is there even if no row is.
struct Rows {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
}

/// Asks, and writes the answer to stdout.
pub(crate) fn run(args: &SqlArgs) -> Result<()> {
    let rows = match &args.data_dir {
        Some(data_dir) => read_directory(data_dir, args)?,
        None => ask_server(args)?,
    };
    let format = match args.format {
        Format::Table => {
            println!("{}", table::render(&rows.schema, &rows.batches)?);
            return Ok(());
        }
        Format::Json => ResultFormat::Json,
        Format::Csv => ResultFormat::Csv,
        Format::Parquet => ResultFormat::Parquet,
    };
    write_encoded(format, &rows)
}

fn ask_server(args: &SqlArgs) -> Result<Rows> {
    let client = Client::new(&args.server)?;
    let (schema, batches) = client.sql_arrow(&args.query, args.project.as_deref())?;
    Ok(Rows { schema, batches })
}

fn read_directory(data_dir: &Path, args: &SqlArgs) -> Result<Rows> {
    if !data_dir.is_dir() {
        bail!("{} is not a directory", data_dir.display());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start threads")?;
    runtime.block_on(async {
        let app =
            App::open_read_only(Env::real(), AppConfig::new(data_dir)).await.context("open the data directory")?;
        let request =
            QueryRequest { sql: args.query.clone(), project: args.project.clone(), ..QueryRequest::default() };
        let mut stream = app.sql(request).await?;
        let schema = stream.schema();
        let mut batches = Vec::new();
        while let Some(batch) = stream.next().await {
            batches.push(batch?);
        }
        Ok(Rows { schema, batches })
    })
}

fn write_encoded(format: ResultFormat, rows: &Rows) -> Result<()> {
    let mut out = stdout().lock();
    let mut encoder = ResultEncoder::new(format, rows.schema.clone())?;
    for batch in &rows.batches {
        out.write_all(&encoder.push(batch)?)?;
    }
    out.write_all(&encoder.finish()?)?;
    if format == ResultFormat::Json {
        out.write_all(b"\n")?;
    }
    out.flush().context("write to stdout")
}
