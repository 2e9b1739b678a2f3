//! `stepwell demo`: live runs through the client, three questions in SQL, one chart.

use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use stepwell_client::{Client, NewRunRequest, SeriesRequest, Writer};
use stepwell_env::{Env, Random, SeededRandom};

use crate::{
    chart::{self, Span},
    connect::connect,
    table,
};

const PROJECT: &str = "demo";

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// The server to stream to and to ask
    #[arg(long, default_value = "http://127.0.0.1:9090")]
    server: String,
    /// How long the live runs go on
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Another project to ask about, such as one that was imported before
    #[arg(long)]
    imported: Option<String>,
}

/// A run that pretends to train: exponential decay with noise, faster and noisier with a larger learning rate.
struct LiveRun {
    run_id: String,
    learning_rate: f64,
    step: i64,
}

/// The learning rates that the live runs compare.
const LEARNING_RATES: [f64; 6] = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3];

/// The questions about the live runs, each with what it is good for.
const QUESTIONS: [(&str, &str); 2] = [
    (
        "Which learning rate reaches the best accuracy? (params are typed, summaries need no points)",
        "SELECT r.name, r.params['lr'] AS lr, round(s.max, 4) AS best_accuracy, s.max_step AS at_step, s.count AS points\n\
         FROM summaries s JOIN runs r ON r.run_id = s.run_id\n\
         WHERE s.metric = 'val/accuracy' ORDER BY best_accuracy DESC LIMIT 6",
    ),
    (
        "How does the loss fall over all runs? (mean and spread by step)",
        "SELECT step / 1000 * 1000 AS from_step, count(*) AS points, round(avg(value), 4) AS mean, round(stddev(value), 4) AS spread\n\
         FROM points WHERE metric = 'train/loss' GROUP BY 1 ORDER BY 1 LIMIT 8",
    ),
];

/// The question about runs of another project, named by its schema.
fn question_about(project: &str) -> String {
    let schema = format!("\"{}\"", project.replace('"', "\"\""));
    format!(
        "SELECT r.name AS run, count(*) AS metrics, sum(s.count) AS points, min(s.first_time) AS began\n\
         FROM {schema}.summaries s JOIN {schema}.runs r ON r.run_id = s.run_id GROUP BY r.name ORDER BY r.name LIMIT 10"
    )
}

/// Streams, asks, draws.
pub(crate) fn run(args: &DemoArgs) -> Result<()> {
    let client = connect(&args.server)?;
    let env = Env::real();
    let runs = stream(&client, &env, Duration::from_secs(args.seconds))?;
    for (what, query) in QUESTIONS {
        ask(&client, what, query)?;
    }
    if let Some(project) = &args.imported {
        ask(&client, "What was imported? (another project, by its name)", &question_about(project))?;
    }
    draw(&client, &runs)
}

fn ask(client: &Client, what: &str, query: &str) -> Result<()> {
    println!("\n{what}\n\n{query}\n");
    let (schema, batches) = client.sql_arrow(query, Some(PROJECT))?;
    println!("{}", table::render(&schema, &batches)?);
    Ok(())
}

fn create_runs(client: &Client, env: &Env) -> Result<Vec<LiveRun>> {
    // The time tells the runs of several demonstrations on one server apart.
    let stamp = env.clock.now_us() / 1_000_000;
    let create = |(number, &learning_rate): (usize, &f64)| {
        let run_id = format!("demo-{stamp}-{number}");
        let mut run = NewRunRequest::new(PROJECT);
        run.run_id = Some(run_id.clone());
        run.name = Some(format!("lr {learning_rate}"));
        run.params = [("lr".to_owned(), json!(learning_rate)), ("optimizer".to_owned(), json!("sgd"))].into();
        client.create_run(&run)?;
        Ok(LiveRun { run_id, learning_rate, step: 0 })
    };
    LEARNING_RATES.iter().enumerate().map(create).collect()
}

/// Logs steps of all runs as fast as the outbox takes them, for a while; each point is acknowledged at the end.
fn stream(client: &Client, env: &Env, how_long: Duration) -> Result<Vec<LiveRun>> {
    let mut runs = create_runs(client, env)?;
    let writer = client.writer()?;
    let random = SeededRandom::new(7);
    let bar = ProgressBar::new(how_long.as_millis().try_into().unwrap_or(u64::MAX));
    bar.set_style(ProgressStyle::with_template("streaming {wide_bar} {elapsed} {msg}")?);
    let began = env.clock.monotonic();
    let mut points = 0_u64;
    loop {
        let elapsed = env.clock.monotonic() - began;
        if elapsed >= how_long {
            break;
        }
        for run in &mut runs {
            points += run.log(&writer, env, &random)?;
        }
        bar.set_position(elapsed.as_millis().try_into().unwrap_or(u64::MAX));
        bar.set_message(format!("{points} points"));
        // A pace at which a person can watch, well below what the server takes.
        std::thread::sleep(Duration::from_millis(20));
    }
    writer.close()?;
    let elapsed = env.clock.monotonic() - began;
    bar.finish_and_clear();
    for run in &runs {
        client.finish_run(&run.run_id)?;
    }
    println!("{points} points of {} live runs, all acknowledged after {:.1} s", runs.len(), elapsed.as_secs_f64());
    Ok(runs)
}

/// Steps that a run logs each time it is its turn.
const STEPS_PER_TURN: i64 = 50;

impl LiveRun {
    fn log(&mut self, writer: &Writer, env: &Env, random: &SeededRandom) -> Result<u64> {
        let mut points = 0;
        for _ in 0..STEPS_PER_TURN {
            let noise = (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64 - 0.5;
            let progress = 1.0 - (-(self.step as f64) * self.learning_rate / 60.0).exp();
            let loss = 2.3 * (1.0 - progress) + 0.05 + noise * (0.05 + self.learning_rate);
            let rate = ("lr", self.learning_rate);
            writer.log(&self.run_id, self.step, env.clock.now_us(), &[("train/loss", loss), rate])?;
            points += 2;
            if self.step % 50 == 0 {
                // Too large a rate never gets good: the curve flattens lower.
                let accuracy = 0.98 * progress / (1.0 + self.learning_rate * self.learning_rate * 4.0) + noise * 0.01;
                writer.log(&self.run_id, self.step, env.clock.now_us(), &[("val/accuracy", accuracy)])?;
                points += 1;
            }
            self.step += 1;
        }
        Ok(points)
    }
}

/// Buckets of the chart: one for each column of dots.
const CHART_BUCKETS: u64 = 140;

/// Draws the loss of the middle run from at most [`CHART_BUCKETS`] buckets.
fn draw(client: &Client, runs: &[LiveRun]) -> Result<()> {
    let run = runs.get(runs.len() / 2).context("no run")?;
    let request = SeriesRequest {
        project: PROJECT.to_owned(),
        run_ids: vec![run.run_id.clone()],
        metrics: vec!["train/loss".to_owned()],
        buckets: Some(CHART_BUCKETS),
        ..SeriesRequest::default()
    };
    let answer = client.series(&request)?;
    let series = answer.series.first().context("the answer has no series")?;
    let names = if series.raw { ["step", "value", "value"] } else { ["first_step", "min", "max"] };
    let [x, low, high] = names.map(|name| series.floats(name));
    let spans: Vec<Span> = x.iter().zip(&low).zip(&high).map(|((&x, &low), &high)| Span { x, low, high }).collect();
    println!(
        "\ntrain/loss of the run with lr {}: {} points in {} buckets, extremes exact\n",
        run.learning_rate,
        series.points,
        spans.len()
    );
    println!("{}", chart::draw(&spans, 70, 10));
    Ok(())
}
