//! Filters of a query as a [`PointFilter`], which scans apply exactly and prune by.

use std::{collections::BTreeSet, sync::Arc};

use datafusion::{
    logical_expr::{BinaryExpr, Expr, Operator, TableProviderFilterPushDown, expr::InList},
    scalar::ScalarValue,
};
use stepwell_types::PointFilter;

/// The filter of one project.
pub(crate) fn of_project(project_id: &Arc<str>) -> PointFilter {
    PointFilter { project_ids: Some([project_id.clone()].into()), ..PointFilter::default() }
}

/// Of each filter whether a scan applies it wholly.
pub(crate) fn support(filters: &[&Expr]) -> Vec<TableProviderFilterPushDown> {
    let support = |filter: &&Expr| match narrow(&mut PointFilter::default(), filter) {
        Some(()) => TableProviderFilterPushDown::Exact,
        None => TableProviderFilterPushDown::Unsupported,
    };
    filters.iter().map(support).collect()
}

/// Narrows `filter` by `expr`; `None`, and no change, where it cannot express it wholly.
pub(crate) fn narrow(filter: &mut PointFilter, expr: &Expr) -> Option<()> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            let mut both = filter.clone();
            narrow(&mut both, left)?;
            narrow(&mut both, right)?;
            *filter = both;
            Some(())
        }
        // The planner writes short IN lists as ORs.
        Expr::BinaryExpr(BinaryExpr { op: Operator::Or, .. }) | Expr::InList(_) => {
            let (column, names) = one_of(expr)?;
            intersect(filter, column, names)
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (&**left, &**right) {
            (Expr::Column(column), Expr::Literal(value, _)) => compare(filter, &column.name, *op, value),
            (Expr::Literal(value, _), Expr::Column(column)) => compare(filter, &column.name, op.swap()?, value),
            _ => None,
        },
        _ => None,
    }
}

/// The column and its accepted values, where `expr` is "this column is one of these texts" in any spelling.
fn one_of(expr: &Expr) -> Option<(&str, BTreeSet<Arc<str>>)> {
    let text = |item: &Expr| match item {
        Expr::Literal(value, _) => value.try_as_str()?.map(Arc::from),
        _ => None,
    };
    match expr {
        Expr::InList(InList { expr, list, negated: false }) => match &**expr {
            Expr::Column(column) => Some((&column.name, list.iter().map(text).collect::<Option<_>>()?)),
            _ => None,
        },
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            let ((column, mut names), (same, more)) = (one_of(left)?, one_of(right)?);
            names.extend(more);
            (column == same).then_some((column, names))
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => match (&**left, &**right) {
            (Expr::Column(column), value) | (value, Expr::Column(column)) => {
                Some((&column.name, [text(value)?].into()))
            }
            _ => None,
        },
        _ => None,
    }
}

pub(crate) fn compare(filter: &mut PointFilter, column: &str, op: Operator, value: &ScalarValue) -> Option<()> {
    match column {
        "metric" | "run_id" if op == Operator::Eq => {
            intersect(filter, column, [Arc::from(value.try_as_str()??)].into())
        }
        "step" => {
            let ScalarValue::Int64(Some(step)) = value else { return None };
            bound(&mut filter.step, op, *step)
        }
        "timestamp" => {
            let ScalarValue::TimestampMicrosecond(Some(us), _) = value else { return None };
            bound(&mut filter.timestamp_us, op, *us)
        }
        _ => None,
    }
}

pub(crate) fn intersect(filter: &mut PointFilter, column: &str, names: BTreeSet<Arc<str>>) -> Option<()> {
    let wanted = match column {
        "metric" => &mut filter.metrics,
        "run_id" => &mut filter.run_ids,
        _ => return None,
    };
    *wanted = Some(match wanted.take() {
        Some(before) => before.intersection(&names).cloned().collect(),
        None => names,
    });
    Some(())
}

fn bound(range: &mut (i64, i64), op: Operator, value: i64) -> Option<()> {
    // Nothing is below the least or above the greatest integer: an empty range says so.
    const EMPTY: (i64, i64) = (1, 0);
    let narrowed = match op {
        Operator::Eq => (range.0.max(value), range.1.min(value)),
        Operator::GtEq => (range.0.max(value), range.1),
        Operator::LtEq => (range.0, range.1.min(value)),
        Operator::Gt => value.checked_add(1).map_or(EMPTY, |low| (range.0.max(low), range.1)),
        Operator::Lt => value.checked_sub(1).map_or(EMPTY, |high| (range.0, range.1.min(high))),
        _ => return None,
    };
    *range = if narrowed.0 > narrowed.1 { EMPTY } else { narrowed };
    Some(())
}
