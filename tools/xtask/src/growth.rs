//! `cargo xtask growth`: how figures change with the amount of data, measured into `benches/growth.csv` and drawn from there.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};

use crate::{
    bench,
    plot::{Line, Plot, milliseconds, short},
    process::{output, root, target_dir},
};

/// One picture: its file, its title, its axis, and the curves in it with what they are called there.
struct Picture {
    file: &'static str,
    title: &'static str,
    x_title: &'static str,
    /// How values are written.
    label: fn(f64) -> String,
    curves: &'static [(&'static str, &'static str)],
}

const PICTURES: [Picture; 4] = [
    Picture {
        file: "ingest.svg",
        title: "Ingest, points per second: 10,000-point batches over HTTP",
        x_title: "series written",
        label: short,
        curves: &[("ingest_points_per_second_by_series", "")],
    },
    Picture {
        file: "size.svg",
        title: "Bytes on disk per point, the same points over more series",
        x_title: "series written",
        label: short,
        curves: &[("bytes_per_point_by_series", "")],
    },
    Picture {
        file: "queries-by-runs.svg",
        title: "Time of a query, more and more runs of 1,000 steps",
        x_title: "runs",
        label: milliseconds,
        curves: &[
            ("chart_ms_by_runs", "chart, all runs"),
            ("leaderboard_ms_by_runs", "leaderboard"),
            ("mean_by_step_ms_by_runs", "mean by step, SQL"),
        ],
    },
    Picture {
        file: "queries-by-points.svg",
        title: "Time of a query, 100 runs of more and more steps",
        x_title: "points in the table, or in the one series",
        label: milliseconds,
        curves: &[
            ("chart_ms_by_points", "chart, all runs"),
            ("leaderboard_ms_by_points", "leaderboard"),
            ("mean_by_step_ms_by_points", "mean by step, SQL"),
            ("chart_of_one_series_ms_by_points", "chart, one series"),
        ],
    },
];

/// `[--draw]` or limits of the axes: measures unless told only to draw, and draws.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let folder = root().join("benches");
    let table = folder.join("growth.csv");
    if arguments != ["--draw"] {
        let target = target_dir()?;
        bench::build()?;
        let measured = output(bench::loadgen(&target).args(["growth", "--dir"]).arg(&target).args(arguments))?;
        fs::write(&table, measured).with_context(|| format!("write {}", table.display()))?;
        eprintln!("written: {}", table.display());
    }
    let text = fs::read_to_string(&table).with_context(|| format!("read {}", table.display()))?;
    draw(&read(&text)?, &folder.join("plots"))
}

/// Curve, where on its axis, value.
type Row = (String, f64, f64);

fn read(text: &str) -> Result<Vec<Row>> {
    let mut lines = text.lines();
    ensure!(lines.next() == Some("curve,x,y"), "growth.csv starts with the names of its columns: curve,x,y");
    let row = |line: &str| -> Option<Row> {
        let (curve, rest) = line.split_once(',')?;
        let (x, y) = rest.split_once(',')?;
        Some((curve.to_owned(), x.parse().ok()?, y.parse().ok()?))
    };
    lines.map(|line| row(line).with_context(|| format!("growth.csv has the line {line:?}"))).collect()
}

fn draw(rows: &[Row], folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    for Picture { file, title, x_title, label, curves } in PICTURES {
        let points = |curve: &str| rows.iter().filter(|row| row.0 == curve).map(|row| (row.1, row.2)).collect();
        let lines = curves.iter().map(|(curve, name)| Line { name, points: points(curve) });
        let plot = Plot { title, x_title, label, lines: lines.collect() };
        let path = folder.join(file);
        fs::write(&path, plot.svg().context(file)?).with_context(|| format!("write {}", path.display()))?;
        eprintln!("written: {}", path.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measurements_are_read_and_damage_is_named() {
        let rows = read("curve,x,y\na,10,1.5\nb,100,2\n").unwrap();
        assert_eq!(rows, [("a".to_owned(), 10.0, 1.5), ("b".to_owned(), 100.0, 2.0)]);
        assert!(read("a,10,1.5\n").is_err(), "no head");
        let error = read("curve,x,y\na,10\n").unwrap_err().to_string();
        assert!(error.contains("\"a,10\""), "{error}");
    }
}
