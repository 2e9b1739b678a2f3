//! Filters that a query finds while it runs, such as the keys of a join's other side, as far as a [`PointFilter`] says them.

use std::{collections::BTreeSet, sync::Arc};

use datafusion::{
    logical_expr::Operator,
    physical_expr::{
        PhysicalExpr,
        expressions::{BinaryExpr, CaseExpr, Column, DynamicFilterPhysicalExpr, InListExpr, Literal},
    },
    scalar::ScalarValue,
};
use stepwell_types::PointFilter;

use crate::pushdown::{compare, intersect};

/// A filter that every point passes for which `expr` is true, as far as is known now; `None` if there is no such point.
pub(crate) fn bounds_of(expr: &Arc<dyn PhysicalExpr>) -> Option<PointFilter> {
    if let Some(dynamic) = expr.downcast_ref::<DynamicFilterPhysicalExpr>() {
        return match dynamic.current() {
            Ok(current) => bounds_of(&current),
            Err(_) => Some(PointFilter::default()),
        };
    }
    if let Some(literal) = expr.downcast_ref::<Literal>() {
        let is_never = matches!(literal.value(), ScalarValue::Boolean(None | Some(false)));
        return (!is_never).then(PointFilter::default);
    }
    if let Some(binary) = expr.downcast_ref::<BinaryExpr>() {
        return match binary.op() {
            Operator::And => Some(both(bounds_of(binary.left())?, bounds_of(binary.right())?)),
            Operator::Or => either(bounds_of(binary.left()), bounds_of(binary.right())),
            _ => Some(comparison(binary).unwrap_or_default()),
        };
    }
    if let Some(case) = expr.downcast_ref::<CaseExpr>() {
        // A join in partitions asks in each for the keys of that partition.
        let otherwise = case.else_expr().and_then(bounds_of);
        return case.when_then_expr().iter().map(|(_, then)| bounds_of(then)).fold(otherwise, either);
    }
    Some(expr.downcast_ref::<InListExpr>().and_then(one_of).unwrap_or_default())
}

fn comparison(expr: &BinaryExpr) -> Option<PointFilter> {
    let mut filter = PointFilter::default();
    let column = |side: &Arc<dyn PhysicalExpr>| Some(side.downcast_ref::<Column>()?.name().to_owned());
    let value = |side: &Arc<dyn PhysicalExpr>| Some(side.downcast_ref::<Literal>()?.value().clone());
    let (left, right, op) = (expr.left(), expr.right(), *expr.op());
    match column(left) {
        Some(column) => compare(&mut filter, &column, op, &value(right)?)?,
        None => compare(&mut filter, &column(right)?, op.swap()?, &value(left)?)?,
    }
    Some(filter)
}

fn one_of(expr: &InListExpr) -> Option<PointFilter> {
    if expr.negated() {
        return None;
    }
    let name = |item: &Arc<dyn PhysicalExpr>| item.downcast_ref::<Literal>()?.value().try_as_str()?.map(Arc::from);
    let names: BTreeSet<Arc<str>> = expr.list().iter().map(name).collect::<Option<_>>()?;
    let mut filter = PointFilter::default();
    intersect(&mut filter, expr.expr().downcast_ref::<Column>()?.name(), names)?;
    Some(filter)
}

/// What passes both.
pub(crate) fn both(a: PointFilter, b: PointFilter) -> PointFilter {
    type NameSet = Option<BTreeSet<Arc<str>>>;
    let names = |a: NameSet, b: NameSet| match (a, b) {
        (Some(a), Some(b)) => Some(a.intersection(&b).cloned().collect()),
        (a, b) => a.or(b),
    };
    let range = |a: (i64, i64), b: (i64, i64)| (a.0.max(b.0), a.1.min(b.1));
    PointFilter {
        project_ids: names(a.project_ids, b.project_ids),
        metrics: names(a.metrics, b.metrics),
        run_ids: names(a.run_ids, b.run_ids),
        step: range(a.step, b.step),
        timestamp_us: range(a.timestamp_us, b.timestamp_us),
    }
}

/// At least what passes one of the two.
fn either(a: Option<PointFilter>, b: Option<PointFilter>) -> Option<PointFilter> {
    type NameSet = Option<BTreeSet<Arc<str>>>;
    let names = |a: NameSet, b: NameSet| Some(a?.union(&b?).cloned().collect());
    let range = |a: (i64, i64), b: (i64, i64)| (a.0.min(b.0), a.1.max(b.1));
    let (a, b) = match (a, b) {
        (Some(a), Some(b)) => (a, b),
        (a, b) => return a.or(b),
    };
    Some(PointFilter {
        project_ids: names(a.project_ids, b.project_ids),
        metrics: names(a.metrics, b.metrics),
        run_ids: names(a.run_ids, b.run_ids),
        step: range(a.step, b.step),
        timestamp_us: range(a.timestamp_us, b.timestamp_us),
    })
}

#[cfg(test)]
mod tests {
    use datafusion::{
        arrow::datatypes::{DataType, Field, Schema},
        physical_expr::expressions::{binary, case, in_list, lit},
    };

    use super::*;

    fn names(list: &[&str]) -> Option<BTreeSet<Arc<str>>> {
        Some(list.iter().map(|name| Arc::from(*name)).collect())
    }

    #[test]
    fn a_filter_is_never_narrower_than_what_it_is_made_of() {
        let schema = Schema::new(vec![
            Field::new("run_id", DataType::Utf8View, false),
            Field::new("step", DataType::Int64, false),
        ]);
        let column = |at: usize| Arc::new(Column::new(schema.field(at).name(), at)) as Arc<dyn PhysicalExpr>;
        let runs = |list: &[&str]| {
            let items = list.iter().map(|name| lit(ScalarValue::Utf8View(Some((*name).to_owned()))));
            in_list(column(0), items.collect(), &false, &schema).unwrap()
        };
        let step = |op, value: i64| binary(column(1), op, lit(value), &schema).unwrap();
        let join = |a, op, b| binary(a, op, b, &schema).unwrap();

        let keys = join(step(Operator::GtEq, 3), Operator::And, runs(&["a", "b"]));
        let found = bounds_of(&keys).unwrap();
        assert_eq!((found.run_ids, found.step), (names(&["a", "b"]), (3, i64::MAX)));
        let either = bounds_of(&join(keys.clone(), Operator::Or, step(Operator::Lt, 1))).unwrap();
        assert_eq!((either.run_ids, either.step), (None, (i64::MIN, i64::MAX)));
        let parts = vec![(lit(0), runs(&["a"])), (lit(1), runs(&["b"]))];
        let partitioned = case(Some(column(1)), parts, Some(lit(false))).unwrap();
        assert_eq!(bounds_of(&partitioned).unwrap().run_ids, names(&["a", "b"]));
        assert_eq!(bounds_of(&lit(false)), None);
        assert_eq!(bounds_of(&column(0)), Some(PointFilter::default()), "what it does not know it does not filter by");

        let dynamic = Arc::new(DynamicFilterPhysicalExpr::new(vec![column(0)], lit(true)));
        let expr: Arc<dyn PhysicalExpr> = dynamic.clone();
        assert_eq!(bounds_of(&expr), Some(PointFilter::default()));
        dynamic.update(runs(&["b"])).unwrap();
        assert_eq!(bounds_of(&expr).unwrap().run_ids, names(&["b"]));
    }
}
