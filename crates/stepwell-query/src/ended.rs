//! Work that does not yield sees by itself that its query is over.
//!
//! A task is told of its deadline, or that nobody waits for it, where it yields. A join yields when a batch of its output is
//! full; where its condition lets nothing pass that may be after hours.

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use datafusion::{
    arrow::{
        array::RecordBatch,
        datatypes::{FieldRef, Schema},
    },
    common::{
        DataFusionError, JoinType, Result, internal_datafusion_err,
        tree_node::{Transformed, TreeNode},
    },
    logical_expr::ColumnarValue,
    physical_expr::{PhysicalExpr, expressions::lit},
    physical_plan::{
        ExecutionPlan,
        coop::CooperativeExec,
        joins::{HashJoinExec, NestedLoopJoinExec, NestedLoopJoinExecBuilder, utils::JoinFilter},
        replace_children_if_necessary,
    },
};
use tokio::time::Instant;

use crate::{error::QueryError, read_once::read_once, windows::counted};

/// When a query is over. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Ended {
    is_cancelled: Arc<AtomicBool>,
    deadline: Instant,
    limit: Duration,
}

impl Ended {
    /// For a query that begins now.
    pub(crate) fn after(limit: Duration) -> Self {
        Self { is_cancelled: Arc::default(), deadline: Instant::now() + limit, limit }
    }

    /// Nobody waits for it any more.
    pub(crate) fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::Relaxed);
    }

    fn check(&self) -> Result<()> {
        let ended = match self.is_cancelled.load(Ordering::Relaxed) {
            true => QueryError::Cancelled,
            false if Instant::now() >= self.deadline => QueryError::Deadline { limit: self.limit },
            false => return Ok(()),
        };
        Err(DataFusionError::External(Box::new(ended)))
    }
}

/// Has joins yield after each batch, and see before each piece of work between two of them whether their query is over. What window
/// functions keep is counted from here on.
pub(crate) fn yielding(plan: Arc<dyn ExecutionPlan>, ended: &Ended) -> Result<Arc<dyn ExecutionPlan>> {
    let wrap = |node: Arc<dyn ExecutionPlan>| -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
        Ok(match node.children().len() {
            0 | 1 => counted(&node)?.map_or_else(|| Transformed::no(node), Transformed::yes),
            _ => Transformed::yes(Arc::new(CooperativeExec::new(watched(node, ended)?))),
        })
    };
    Ok(plan.transform_up(wrap)?.data)
}

fn watched(node: Arc<dyn ExecutionPlan>, ended: &Ended) -> Result<Arc<dyn ExecutionPlan>> {
    if let Some(join) = node.downcast_ref::<HashJoinExec>() {
        // Those whose output is rows of one side go through pairs without end as well.
        let is_of_pairs =
            matches!(join.join_type(), JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full);
        let always = || JoinFilter::new(lit(true), Vec::new(), Arc::new(Schema::empty()));
        return match join.filter().cloned().or_else(|| (!is_of_pairs).then(always)) {
            Some(filter) => join.builder().with_filter(Some(watched_filter(&filter, ended))).build_exec(),
            None => Ok(node),
        };
    }
    if let Some(join) = node.downcast_ref::<NestedLoopJoinExec>() {
        let filter = join.filter().map(|filter| watched_filter(filter, ended));
        let sides = vec![read_once(join.left().clone()), join.right().clone()];
        let join = Arc::new(NestedLoopJoinExecBuilder::from(join).with_filter(filter).build()?);
        return replace_children_if_necessary(join, sides);
    }
    Ok(node)
}

fn watched_filter(filter: &JoinFilter, ended: &Ended) -> JoinFilter {
    let watched = Watched { expr: filter.expression().clone(), ended: ended.clone() };
    JoinFilter::new(Arc::new(watched), filter.column_indices().to_vec(), filter.schema().clone())
}

/// An expression as long as its query is not over. Joins ask it about a batch of pairs at a time.
#[derive(Debug)]
struct Watched {
    expr: Arc<dyn PhysicalExpr>,
    ended: Ended,
}

impl PartialEq for Watched {
    fn eq(&self, other: &Self) -> bool {
        self.expr.eq(&other.expr)
    }
}

impl Eq for Watched {}

impl Hash for Watched {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.expr.hash(state);
    }
}

impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.expr, f)
    }
}

impl PhysicalExpr for Watched {
    fn return_field(&self, input_schema: &Schema) -> Result<FieldRef> {
        self.expr.return_field(input_schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        self.ended.check()?;
        self.expr.evaluate(batch)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.expr]
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        let expr = children.pop().ok_or_else(|| internal_datafusion_err!("Watched has a child"))?;
        Ok(Arc::new(Self { expr, ended: self.ended.clone() }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.expr.fmt_sql(f)
    }
}
