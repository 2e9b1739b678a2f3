//! The two nodes between which a window operator stands.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use datafusion::{
    common::{Result, internal_datafusion_err, internal_err, tree_node::TreeNodeRecursion},
    execution::{SendableRecordBatchStream, TaskContext, memory_pool::MemoryConsumer},
    physical_expr::PhysicalExpr,
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, replace_children_if_necessary,
        stream::RecordBatchStreamAdapter,
        windows::{BoundedWindowAggExec, WindowAggExec},
    },
};
use futures::{TryStreamExt, stream};

use super::{held::Held, keeps::Keeps};

/// `node` between two that count, if it is a window operator.
pub(crate) fn counted(node: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let (exprs, input, is_bounded) = if let Some(window) = node.downcast_ref::<WindowAggExec>() {
        (window.window_expr(), window.input(), false)
    } else if let Some(window) = node.downcast_ref::<BoundedWindowAggExec>() {
        (window.window_expr(), window.input(), true)
    } else {
        return Ok(None);
    };
    let keeps = Keeps::of(exprs, is_bounded, input.schema().fields().len())?;
    let window = Arc::new(Window { keeps, begun: Mutex::default() });
    let below = Edge { input: input.clone(), side: Side::Below, window: window.clone() };
    let operator = replace_children_if_necessary(node.clone(), vec![Arc::new(below)])?;
    Ok(Some(Arc::new(Edge { input: operator, side: Side::Above, window })))
}

/// What both nodes know.
#[derive(Debug)]
struct Window {
    keeps: Keeps,
    /// Partitions that are begun above the operator and not yet below it.
    begun: Mutex<HashMap<usize, Arc<Held>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Below,
    Above,
}

#[derive(Debug)]
struct Edge {
    input: Arc<dyn ExecutionPlan>,
    side: Side,
    window: Arc<Window>,
}

impl Edge {
    /// Rows on their way into the operator.
    fn below(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let begun = self.window.begun.lock().unwrap_or_else(PoisonError::into_inner).remove(&partition);
        let held = begun.ok_or_else(|| internal_datafusion_err!("partition {partition} of a window is not begun"))?;
        let window = self.window.clone();
        let rows = self.input.execute(partition, context)?;
        let counted = rows.and_then(move |batch| std::future::ready(held.take(&batch, &window.keeps).map(|()| batch)));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), counted)))
    }

    /// Rows with the answers.
    fn above(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let reservation = MemoryConsumer::new("the rows that a window function keeps").register(context.memory_pool());
        let (held, batch_rows) = (Arc::new(Held::new(reservation)), context.session_config().batch_size().max(1));
        self.window.begun.lock().unwrap_or_else(PoisonError::into_inner).insert(partition, held.clone());
        let (answers, window) = (self.input.execute(partition, context)?, self.window.clone());
        // Its end drops what is held, also where the stream lives on.
        let sliced = stream::try_unfold((answers, None, held), move |(mut answers, rest, held)| {
            let window = window.clone();
            async move {
                let batch = match rest {
                    Some(rest) => rest,
                    None => {
                        let Some(batch) = answers.try_next().await? else { return Ok(None) };
                        held.answer(batch.num_rows(), &window.keeps);
                        batch
                    }
                };
                let rows = batch.num_rows().min(batch_rows);
                let rest = (batch.num_rows() > rows).then(|| batch.slice(rows, batch.num_rows() - rows));
                Ok(Some((batch.slice(0, rows), (answers, rest, held))))
            }
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), sliced)))
    }
}

impl DisplayAs for Edge {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl ExecutionPlan for Edge {
    fn name(&self) -> &str {
        match self.side {
            Side::Below => "WindowInput",
            Side::Above => "WindowAnswers",
        }
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
            (Some(input), true) => Ok(Arc::new(Self { input, side: self.side, window: self.window.clone() })),
            _ => internal_err!("{} has one child", self.name()),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        match self.side {
            Side::Below => self.below(partition, context),
            Side::Above => self.above(partition, context),
        }
    }
}
