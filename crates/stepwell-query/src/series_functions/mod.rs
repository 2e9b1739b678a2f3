//! Table functions over whole series: `minmax`, `m4`, `lttb` choose points, `align` puts runs on a common grid of steps. Documented
//! in `schemas/sql_functions.md`.
//!
//! A call is read here; `table` finds the series it is about, `exec` reads them one by one.

mod exec;
mod table;

use std::sync::Arc;

use datafusion::{
    catalog::{TableFunction, TableFunctionArgs, TableFunctionImpl, TableProvider},
    common::{Result, ScalarValue, plan_err},
    logical_expr::Expr,
};
use stepwell_engine::{Reader, Snapshot};
use stepwell_kernels::Alignment;
use stepwell_types::limits::BUCKETS_MAX;

pub(crate) use table::SeriesTable;

/// Names of all of them.
pub(crate) const NAMES: [&str; 4] = ["align", "lttb", "m4", "minmax"];

/// All of them, over the series of one project. What is known of those before they are read is held by `reader`.
pub(crate) fn all(snapshot: &Snapshot, reader: &Arc<Reader>, project_id: &str) -> Vec<Arc<TableFunction>> {
    let project_id: Arc<str> = project_id.into();
    let function = |name: &'static str| {
        let (snapshot, reader) = (snapshot.clone(), reader.clone());
        let function = SeriesFunction { name, snapshot, reader, project_id: project_id.clone() };
        Arc::new(TableFunction::new(name.to_owned(), Arc::new(function)))
    };
    NAMES.map(function).into()
}

/// What becomes of each series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    MinMax { buckets: usize },
    M4 { buckets: usize },
    Lttb { points: usize },
    Align { grid: i64, alignment: Alignment },
}

/// One call: what to do to which series.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    name: &'static str,
    metric: Arc<str>,
    work: Work,
    /// `None` is all runs.
    run_ids: Option<Vec<Arc<str>>>,
}

struct SeriesFunction {
    name: &'static str,
    snapshot: Snapshot,
    reader: Arc<Reader>,
    project_id: Arc<str>,
}

impl std::fmt::Debug for SeriesFunction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl TableFunctionImpl for SeriesFunction {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let call = Call::read(self.name, args.exprs())?;
        Ok(Arc::new(SeriesTable::new(self.snapshot.clone(), self.reader.clone(), self.project_id.clone(), call)))
    }
}

impl Call {
    fn read(name: &'static str, args: &[Expr]) -> Result<Self> {
        let [metric, number, rest @ ..] = args else {
            return plan_err!("{name} wants a metric and a number, and then may name runs: {}", usage(name));
        };
        let metric = text(name, metric)?;
        let number = number_of(name, number)?;
        let (work, runs) = match name {
            "minmax" => (Work::MinMax { buckets: buckets(name, number)? }, rest),
            "m4" => (Work::M4 { buckets: buckets(name, number)? }, rest),
            "lttb" if number < 3 => return plan_err!("lttb chooses at least 3 points: {}", usage(name)),
            "lttb" => (Work::Lttb { points: buckets(name, number)? }, rest),
            _ => {
                let (alignment, runs) = alignment(name, rest)?;
                (Work::Align { grid: number, alignment }, runs)
            }
        };
        let run_ids = runs.iter().map(|run| text(name, run)).collect::<Result<Vec<_>>>()?;
        Ok(Self { name, metric, work, run_ids: (!run_ids.is_empty()).then_some(run_ids) })
    }
}

fn usage(name: &str) -> &'static str {
    match name {
        "align" => "align('loss', 100, 'last'), or 'linear', and then run ids",
        "lttb" => "lttb('loss', 500), and then run ids",
        "m4" => "m4('loss', 1000), and then run ids",
        _ => "minmax('loss', 1000), and then run ids",
    }
}

fn text(name: &str, arg: &Expr) -> Result<Arc<str>> {
    match arg {
        Expr::Literal(value, _) if let Some(Some(text)) = value.try_as_str() => Ok(text.into()),
        other => plan_err!("{name} wants a text where {other} is: {}", usage(name)),
    }
}

fn number_of(name: &str, arg: &Expr) -> Result<i64> {
    match arg {
        Expr::Literal(ScalarValue::Int64(Some(number)), _) if *number >= 1 => Ok(*number),
        other => plan_err!("{name} wants a whole number from 1 on where {other} is: {}", usage(name)),
    }
}

fn buckets(name: &str, number: i64) -> Result<usize> {
    match usize::try_from(number) {
        Ok(buckets) if buckets <= BUCKETS_MAX => Ok(buckets),
        _ => plan_err!("{name} takes at most {BUCKETS_MAX}, not {number}"),
    }
}

/// How to align, and what follows it.
fn alignment<'a>(name: &str, rest: &'a [Expr]) -> Result<(Alignment, &'a [Expr])> {
    let Some((first, runs)) = rest.split_first() else { return Ok((Alignment::Last, rest)) };
    match &*text(name, first)? {
        "last" => Ok((Alignment::Last, runs)),
        "linear" => Ok((Alignment::Linear, runs)),
        other => plan_err!("{name} aligns by 'last' or 'linear', not {other:?}: {}", usage(name)),
    }
}
