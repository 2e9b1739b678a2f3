//! The side that a join without equality holds in memory is read once.
//!
//! Where that side does not fit, the planner's join reads it again to spill it, and then answers with each partition of the other side
//! apart: what finds no partner in one comes out of it as if it had none in any. What is in memory cannot be read again at all.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use datafusion::{
    common::{DataFusionError, Result, internal_err, tree_node::TreeNodeRecursion},
    execution::{SendableRecordBatchStream, TaskContext},
    physical_expr::PhysicalExpr,
    physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties},
};

/// `input`, of one partition, as long as nobody reads it a second time: then the query is over memory.
pub(crate) fn read_once(input: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    Arc::new(ReadOnce { input, is_read: AtomicBool::new(false) })
}

#[derive(Debug)]
struct ReadOnce {
    input: Arc<dyn ExecutionPlan>,
    is_read: AtomicBool,
}

impl DisplayAs for ReadOnce {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReadOnce")
    }
}

impl ExecutionPlan for ReadOnce {
    fn name(&self) -> &str {
        "ReadOnce"
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
            (Some(input), true) => Ok(read_once(input)),
            _ => internal_err!("ReadOnce has one child"),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        if self.is_read.swap(true, Ordering::Relaxed) {
            let message = "the smaller side of a join without equality does not fit, and is not spilled";
            return Err(DataFusionError::ResourcesExhausted(message.to_owned()));
        }
        self.input.execute(partition, context)
    }
}
