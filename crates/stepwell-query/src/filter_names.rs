//! Where filters that go down a plan mean another column than they did above.
//!
//! The planner hands a filter from an operator to the one below by the names of its columns, and takes the first column of that
//! name. Of `points p JOIN points q` both sides have a `run_id`: the keys of a join above, which are of `q`, would come down as those
//! of `p`, and the scan of `p` would leave out points that the query asks for. While filters are handed down, each operator whose
//! names mislead so has a node above it that holds back the filters that use such a name.
//!
//! So have those that stop after a number of rows, for all filters: below it a filter would choose which rows are the first.

use std::{any::Any, collections::HashSet, fmt, sync::Arc};

use datafusion::{
    common::{
        JoinSide, JoinType, Result, internal_err,
        tree_node::{Transformed, TreeNode, TreeNodeRecursion},
    },
    config::ConfigOptions,
    execution::{SendableRecordBatchStream, TaskContext},
    physical_expr::{PhysicalExpr, expressions::Column},
    physical_optimizer::{
        PhysicalOptimizerRule, ensure_requirements::EnsureRequirements, filter_pushdown::FilterPushdown,
        optimizer::PhysicalOptimizer,
    },
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties,
        filter_pushdown::{ChildFilterDescription, FilterDescription, FilterPushdownPhase},
        joins::HashJoinExec,
    },
};

use crate::sorted_limits::LimitsAboveSorts;

type Rule = Arc<dyn PhysicalOptimizerRule + Send + Sync>;

/// The planner's own rules, of which those that hand filters down do so by names that are right, and the one about sorts leaves limits
/// where they are.
pub(crate) fn planner_rules() -> Vec<Rule> {
    let mended = |rule: Rule| -> Rule {
        let known: &dyn Any = rule.as_ref();
        if known.is::<FilterPushdown>() {
            Arc::new(ByRightNames { rule })
        } else if known.is::<EnsureRequirements>() {
            Arc::new(LimitsAboveSorts { rule })
        } else {
            rule
        }
    };
    PhysicalOptimizer::new().rules.into_iter().map(mended).collect()
}

#[derive(Debug)]
struct ByRightNames {
    rule: Rule,
}

impl PhysicalOptimizerRule for ByRightNames {
    fn name(&self) -> &str {
        self.rule.name()
    }

    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let hold_back = |node: Arc<dyn ExecutionPlan>| -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
            let (names, is_limit) = (misleading_names(&node), node.fetch().is_some());
            if names.is_empty() && !is_limit {
                return Ok(Transformed::no(node));
            }
            let schema = node.schema();
            let fields = schema.fields().iter().enumerate();
            let passes = |name: &String| !is_limit && !names.contains(name);
            let passing = fields.filter(|(_, field)| passes(field.name())).map(|(place, _)| place).collect();
            Ok(Transformed::yes(Arc::new(HoldBack { input: node, passing })))
        };
        let let_go = |node: Arc<dyn ExecutionPlan>| -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
            let below = node.downcast_ref::<HoldBack>().map(|hold_back| hold_back.input.clone());
            Ok(below.map_or_else(|| Transformed::no(node), Transformed::yes))
        };
        let held = plan.transform_up(hold_back)?;
        let optimized = self.rule.optimize(held.data, config)?;
        if !held.transformed { Ok(optimized) } else { Ok(optimized.transform_up(let_go)?.data) }
    }

    fn schema_check(&self) -> bool {
        self.rule.schema_check()
    }
}

/// Names of columns of `node` that would come down from it as others.
fn misleading_names(node: &Arc<dyn ExecutionPlan>) -> HashSet<String> {
    let (mut seen, mut names) = (HashSet::new(), HashSet::new());
    let schema = node.schema();
    for field in schema.fields() {
        if !seen.insert(field.name().as_str()) {
            names.insert(field.name().clone());
        }
    }
    names.extend(node.downcast_ref::<HashJoinExec>().into_iter().flat_map(misleading_keys));
    names
}

/// A filter on a key of a semi join goes to both sides, to the other one by the name that the key has on this.
fn misleading_keys(join: &HashJoinExec) -> Vec<String> {
    let shown = match join.join_type() {
        JoinType::LeftSemi => JoinSide::Left,
        JoinType::RightSemi => JoinSide::Right,
        _ => return Vec::new(),
    };
    let name = |key: &Arc<dyn PhysicalExpr>| Some(key.downcast_ref::<Column>()?.name().to_owned());
    let differing = join.on().iter().filter_map(|(left, right)| {
        let (left, right) = (name(left), name(right));
        let (own, other) = if shown == JoinSide::Left { (left, right) } else { (right, left) };
        own.filter(|own| other.as_ref() != Some(own))
    });
    differing.collect()
}

/// What it stands above, for filters that use the columns at some places only. It is gone before the plan runs.
#[derive(Debug)]
struct HoldBack {
    input: Arc<dyn ExecutionPlan>,
    passing: HashSet<usize>,
}

impl DisplayAs for HoldBack {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HoldBack")
    }
}

impl ExecutionPlan for HoldBack {
    fn name(&self) -> &str {
        "HoldBack"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.is_empty()) {
            (Some(input), true) => Ok(Arc::new(Self { input, passing: self.passing.clone() })),
            _ => internal_err!("HoldBack has one child"),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        self.input.execute(partition, context)
    }

    fn gather_filters_for_pushdown(
        &self,
        _phase: FilterPushdownPhase,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        _config: &ConfigOptions,
    ) -> Result<FilterDescription> {
        let child = match self.passing.is_empty() {
            // Also those that are about no column.
            true => ChildFilterDescription::all_unsupported(&filters),
            false => {
                let passing = self.passing.clone();
                ChildFilterDescription::from_child_with_allowed_indices(&filters, passing, &self.input)?
            }
        };
        Ok(FilterDescription::new().with_child(child))
    }
}
