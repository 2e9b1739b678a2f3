//! Functions that make the comparison of runs short; documented in `schemas/sql_functions.md`.

mod aggregates;
mod area;
mod bounded;
mod extremes;
mod smooth;

use std::sync::Arc;

use datafusion::{
    arrow::{
        array::{ArrayRef, AsArray, PrimitiveArray},
        datatypes::ArrowPrimitiveType,
    },
    logical_expr::{AggregateUDF, WindowUDF},
};

pub(crate) use bounded::bounded;

/// All aggregate functions of ours.
pub(crate) fn aggregates() -> Vec<Arc<AggregateUDF>> {
    [aggregates::value_at(), aggregates::best("best_min", true), aggregates::best("best_max", false), area::auc()]
        .into_iter()
        .map(Arc::new)
        .collect()
}

/// What stands in for functions of the planner that answer wrong.
pub(crate) fn in_place_of_the_planners() -> Vec<Arc<AggregateUDF>> {
    vec![Arc::new(extremes::min()), Arc::new(extremes::max())]
}

/// All window functions of ours.
pub(crate) fn windows() -> Vec<Arc<WindowUDF>> {
    vec![Arc::new(smooth::smooth())]
}

/// An argument, whose type the signature has fixed.
fn column<T: ArrowPrimitiveType>(values: &[ArrayRef], at: usize) -> &PrimitiveArray<T> {
    values[at].as_primitive::<T>()
}
