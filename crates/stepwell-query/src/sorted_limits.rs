//! Sorts that keep their limit to themselves.
//!
//! Where rows come in order already the planner drops a sort and has what brings partitions together, some operators below, keep that
//! order; the limit of the sort it hands to that as well. Of `(SELECT * FROM points LIMIT 1000) WHERE … ORDER BY step LIMIT 10` ten
//! rows would so be left before the filter. While it decides, such a limit stands above its sort; a later rule brings both together
//! again.

use std::sync::Arc;

use datafusion::{
    common::{
        Result,
        tree_node::{Transformed, TreeNode},
    },
    config::ConfigOptions,
    physical_expr::Distribution,
    physical_optimizer::PhysicalOptimizerRule,
    physical_plan::{
        ExecutionPlan, coalesce_partitions::CoalescePartitionsExec, limit::GlobalLimitExec,
        repartition::RepartitionExec, sorts::sort::SortExec,
    },
};

/// The planner's rule that places and drops sorts, for sorts without such limits.
#[derive(Debug)]
pub(crate) struct LimitsAboveSorts {
    pub(crate) rule: Arc<dyn PhysicalOptimizerRule + Send + Sync>,
}

impl PhysicalOptimizerRule for LimitsAboveSorts {
    fn name(&self) -> &str {
        self.rule.name()
    }

    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let part = |node: Arc<dyn ExecutionPlan>| -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
            let sort = node.downcast_ref::<SortExec>().filter(|sort| !sort.preserve_partitioning());
            Ok(match sort.and_then(|sort| Some((sort, sort.fetch()?))) {
                Some((sort, fetch)) if merges_below(sort.input()) => {
                    let whole = Arc::new(sort.with_fetch(None));
                    Transformed::yes(Arc::new(GlobalLimitExec::new(whole, 0, Some(fetch))))
                }
                _ => Transformed::no(node),
            })
        };
        self.rule.optimize(plan.transform_up(part)?.data, config)
    }

    fn schema_check(&self) -> bool {
        self.rule.schema_check()
    }
}

/// Whether partitions come together somewhere below `node` on the way of the order that it has, or are made to.
fn merges_below(node: &Arc<dyn ExecutionPlan>) -> bool {
    let is_exchange = node.is::<CoalescePartitionsExec>() || node.is::<RepartitionExec>();
    let keeps_order = node.maintains_input_order();
    let wanted = node.input_distribution_requirements().into_per_child();
    let mut inputs = node.children().into_iter().zip(keeps_order).zip(wanted);
    inputs.any(|((input, keeps_order), wanted)| {
        (keeps_order || is_exchange)
            && (matches!(wanted, Distribution::SinglePartition)
                || node.is::<CoalescePartitionsExec>()
                || merges_below(input))
    })
}
