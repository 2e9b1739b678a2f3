//! Aggregation by runs: points come series by series, so that rows of one group stand together, and what is the same for all
//! of them is done once. Results are those of the planner's own aggregation, whose functions do the work.

mod exec;
mod keys;
mod table;

use std::sync::Arc;

use datafusion::{
    common::{
        Result,
        tree_node::{Transformed, TreeNode},
    },
    config::ConfigOptions,
    physical_optimizer::PhysicalOptimizerRule,
    physical_plan::{
        ExecutionPlan,
        aggregates::{AggregateExec, AggregateMode},
    },
};

use self::exec::RunAggregateExec;

/// Replaces the first stage of aggregations right above a scan of points.
#[derive(Debug)]
pub(crate) struct AggregateRuns;

impl PhysicalOptimizerRule for AggregateRuns {
    fn name(&self) -> &str {
        "AggregateRuns"
    }

    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let replace = |node: Arc<dyn ExecutionPlan>| {
            let by_runs = node.downcast_ref::<AggregateExec>().map(by_runs).transpose()?.flatten();
            Ok(by_runs.map_or_else(|| Transformed::no(node), Transformed::yes))
        };
        Ok(plan.transform_up(replace)?.data)
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The same by runs, where that can be done. An aggregation in one stage becomes one in two.
fn by_runs(aggregate: &AggregateExec) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    if !matches!(aggregate.mode(), AggregateMode::Single | AggregateMode::SinglePartitioned) {
        return Ok(RunAggregateExec::of(aggregate).map(|by_runs| Arc::new(by_runs) as _));
    }
    let stage = |mode, group_by, filters: &[_], input| {
        AggregateExec::try_new(
            mode,
            group_by,
            aggregate.aggr_expr().to_vec(),
            filters.to_vec(),
            input,
            aggregate.input_schema(),
        )
    };
    let (group_by, filters) = (aggregate.group_expr(), aggregate.filter_expr());
    let first = stage(AggregateMode::Partial, group_by.clone(), filters, aggregate.input().clone())?;
    let first = first.with_limit_options(aggregate.limit_options());
    let Some(by_runs) = RunAggregateExec::of(&first) else { return Ok(None) };
    let last = stage(AggregateMode::Final, group_by.as_final(), filters, Arc::new(by_runs))?;
    Ok(Some(Arc::new(last)))
}
