//! All that a directory can be asked.

use std::collections::BTreeSet;

use anyhow::Result;
use arrow::{
    array::{AsArray, RecordBatch},
    compute::cast,
    datatypes::{DataType, Float64Type, Int64Type, TimestampMicrosecondType, UInt64Type},
};
use stepwell_engine::{ChartRequest, Engine, EngineError, Snapshot};
use stepwell_env::SimDisk;
use stepwell_segment::Names;
use stepwell_types::{ErrorKind, PointFilter, SeriesKey};

use crate::directory::{config, env};

/// One point, its value by its bits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Row {
    pub(crate) lsn: u64,
    pub(crate) key: SeriesKey,
    pub(crate) step: i64,
    pub(crate) timestamp_us: i64,
    pub(crate) bits: u64,
}

pub(crate) type Rows = BTreeSet<Row>;

/// An answer, or the error in its place. Whether the error is of the kind that says damage comes first in its text.
pub(crate) type Answer<T> = Result<T, String>;

/// What is asked of each series that a whole directory has, and of all together.
pub(crate) struct Answers {
    pub(crate) scan: Answer<Rows>,
    pub(crate) others: Vec<Other>,
    /// Damaged places that the engine has counted.
    pub(crate) damaged: u64,
}

/// Something else that is asked than a scan.
pub(crate) struct Other {
    pub(crate) what: String,
    /// Whose it is; `None` of all series together.
    pub(crate) key: Option<SeriesKey>,
    /// Whether it is of all metrics of the run.
    pub(crate) is_of_run: bool,
    /// A text, for it is only compared.
    pub(crate) answer: Answer<String>,
}

/// What begins the text of an error that names damage.
pub(crate) const DAMAGE: &str = "damage: ";

pub(crate) fn text(error: &EngineError) -> String {
    let kind = if error.kind() == ErrorKind::DataDamaged { DAMAGE } else { "other: " };
    format!("{kind}{error}")
}

impl Answers {
    /// Opens the directory for reading, and asks.
    pub(crate) fn read(disk: &SimDisk) -> Result<Self> {
        let engine = Engine::open_read_only(env(disk), config())?;
        Ok(Self::of(&engine))
    }

    pub(crate) fn of(engine: &Engine) -> Self {
        let snapshot = engine.snapshot();
        let mut others = Vec::new();
        let summaries = snapshot.summaries(&PointFilter::default());
        others.push(Other { what: "summaries".to_owned(), key: None, is_of_run: false, answer: said(summaries) });
        for (project, metric, run) in [("1", "loss", "a"), ("1", "acc", "b"), ("1", "gone", "a"), ("2", "loss", "c")] {
            let key = SeriesKey::new(project, metric, run);
            let name = format!("{project}/{metric}/{run}");
            let mut asked = |what: String, is_of_run, answer| {
                others.push(Other { what, key: Some(key.clone()), is_of_run, answer });
            };
            asked(format!("series {name}"), false, said(snapshot.series(&key, &PointFilter::default())));
            asked(format!("last step {name}"), true, said(snapshot.last_step(project, run)));
            for buckets in [8, 40] {
                let request = ChartRequest { series: vec![key.clone()], from_step: None, to_step: None, buckets };
                asked(format!("chart {name} {buckets}"), false, said(snapshot.chart(&request)));
            }
        }
        Self { scan: scan(&snapshot), others, damaged: engine.stats().damaged }
    }

    /// Whether nothing failed.
    pub(crate) fn is_right(&self) -> bool {
        self.scan.is_ok() && self.others.iter().all(|other| other.answer.is_ok())
    }

    /// The first answer of those that count which is given and is not that of `whole`.
    pub(crate) fn first_other(&self, whole: &Self, counts: impl Fn(&Other) -> bool) -> Option<&str> {
        let is_wrong =
            |(now, before): &(&Other, &Other)| counts(now) && now.answer.is_ok() && now.answer != before.answer;
        Some(&self.others.iter().zip(&whole.others).find(is_wrong)?.0.what)
    }

    /// All errors.
    pub(crate) fn errors(&self) -> impl Iterator<Item = &String> {
        let others = self.others.iter().filter_map(|other| other.answer.as_ref().err());
        self.scan.as_ref().err().into_iter().chain(others)
    }
}

fn said<T: std::fmt::Debug>(result: Result<T, EngineError>) -> Answer<String> {
    result.map(|answer| format!("{answer:?}")).map_err(|error| text(&error))
}

fn scan(snapshot: &Snapshot) -> Answer<Rows> {
    let mut rows = Rows::new();
    for part in snapshot.scan(&PointFilter::default()) {
        let batches = part.open(&[0, 1, 2, 3, 4, 5, 6], Names::Views, 1_000).map_err(|error| text(&error))?;
        for batch in batches {
            let batch = batch.map_err(|error| text(&error))?;
            for row in rows_of(&batch).map_err(|error| format!("other: {error}"))? {
                // The LSN tells points apart: one twice is a fault.
                if !rows.insert(row) {
                    return Err("other: a point is there twice".to_owned());
                }
            }
        }
    }
    Ok(rows)
}

fn rows_of(batch: &RecordBatch) -> Result<Vec<Row>> {
    let names = [0, 1, 2].map(|column| cast(batch.column(column), &DataType::Utf8));
    let [project, metric, run] = names;
    let (project, metric, run) = (project?, metric?, run?);
    let text = |names: &arrow::array::ArrayRef, row| names.as_string::<i32>().value(row).to_owned();
    let row = |i| Row {
        lsn: batch.column(6).as_primitive::<UInt64Type>().value(i),
        key: SeriesKey::new(text(&project, i), text(&metric, i), text(&run, i)),
        step: batch.column(3).as_primitive::<Int64Type>().value(i),
        timestamp_us: batch.column(4).as_primitive::<TimestampMicrosecondType>().value(i),
        bits: batch.column(5).as_primitive::<Float64Type>().value(i).to_bits(),
    };
    Ok((0..batch.num_rows()).map(row).collect())
}
