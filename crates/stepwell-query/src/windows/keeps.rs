//! What a window operator keeps, read off its expressions.

use std::sync::Arc;

use datafusion::{
    arrow::datatypes::DataType,
    common::{
        Result, ScalarValue,
        tree_node::{TreeNode, TreeNodeRecursion},
    },
    logical_expr::{WindowFrameBound, WindowFrameUnits},
    physical_expr::{
        PhysicalExpr,
        expressions::{Column, Literal},
        window::{PlainAggregateWindowExpr, SlidingAggregateWindowExpr, StandardWindowExpr, WindowExpr},
    },
    physical_plan::windows::WindowUDFExpr,
};

use super::{TEXT_BYTES_MAX, is_fixed};
use crate::plan_check::literal_bytes;

/// An answer while it is made: a value of its own, and two arrays of them.
const ANSWER_BYTES: usize = size_of::<ScalarValue>() + 32;
/// More for each member of an answer that is a struct: it has an array of its own.
const MEMBER_BYTES: usize = 512;
/// A row that no partition has.
const FAR: usize = 1 << 40;

/// What an operator keeps of its rows.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Keeps {
    /// Rows behind those that it has answered; `None` for all.
    pub(super) behind: Option<usize>,
    /// How often each column may be copied: once as it is, and wherever an expression has it.
    pub(super) copies: Vec<usize>,
    /// Of each row, besides its columns.
    pub(super) row_bytes: usize,
    /// Columns whose values are answers: of such a column the longest may be that of each row.
    pub(super) answers: Vec<usize>,
}

impl Keeps {
    /// Of an operator over `columns` columns that answers before the end of its input (`is_bounded`) or not.
    pub(super) fn of(exprs: &[Arc<dyn WindowExpr>], is_bounded: bool, columns: usize) -> Result<Self> {
        let mut keeps =
            Self { behind: is_bounded.then_some(0), copies: vec![1; columns], row_bytes: 0, answers: Vec::new() };
        for expr in exprs {
            keeps.add(expr.as_ref())?;
            keeps.behind = match keeps.behind {
                Some(behind) => rows_behind(expr.as_ref())?.map(|own| own.max(behind)),
                None => None,
            };
        }
        Ok(keeps)
    }

    fn add(&mut self, expr: &dyn WindowExpr) -> Result<()> {
        let parts = expr.all_expressions();
        for part in parts.args.iter().chain(&parts.partition_by_exprs).chain(&parts.order_by_exprs) {
            // A column as it is copies nothing.
            if part.downcast_ref::<Column>().is_none() {
                let copies = &mut self.copies;
                self.row_bytes +=
                    each(part, |column| copies.get_mut(column).into_iter().for_each(|copies| *copies += 1))?;
            }
        }
        let field = expr.field()?;
        self.row_bytes += ANSWER_BYTES;
        if let DataType::Struct(members) = field.data_type() {
            self.row_bytes += MEMBER_BYTES * members.len();
        }
        if !is_fixed(field.data_type()) {
            self.row_bytes += TEXT_BYTES_MAX as usize;
            for arg in &parts.args {
                each(arg, |column| self.answers.push(column))?;
            }
        }
        Ok(())
    }
}

/// Goes through the columns of an expression, and adds up the bytes of its literals.
fn each(expr: &Arc<dyn PhysicalExpr>, mut of_column: impl FnMut(usize)) -> Result<usize> {
    let mut literals = 0;
    expr.apply(|part| {
        if let Some(column) = part.downcast_ref::<Column>() {
            of_column(column.index());
        } else if let Some(literal) = part.downcast_ref::<Literal>() {
            literals += literal_bytes(literal.value()) as usize;
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(literals)
}

/// Rows behind the one it answers that an operator which need not wait for the end keeps for `expr`.
fn rows_behind(expr: &dyn WindowExpr) -> Result<Option<usize>> {
    let frame = expr.get_window_frame();
    if let Some(function) = expr.as_any().downcast_ref::<StandardWindowExpr>() {
        let function = function.get_standard_func_expr();
        let evaluator = function.create_evaluator()?;
        if !evaluator.uses_window_frame() {
            return Ok(Some(FAR - evaluator.get_range(FAR, FAR + 1)?.start));
        }
        let is_first =
            function.as_any().downcast_ref::<WindowUDFExpr>().is_some_and(|known| known.fun().name() == "first_value");
        if frame.start_bound.is_unbounded() {
            return Ok(is_first.then_some(0));
        }
    }
    let plain = expr.as_any().downcast_ref::<PlainAggregateWindowExpr>().map(|plain| plain.get_aggregate_expr());
    let sliding =
        || expr.as_any().downcast_ref::<SlidingAggregateWindowExpr>().map(|sliding| sliding.get_aggregate_expr());
    if let Some(aggregate) = plain.or_else(sliding) {
        // Distinct values and medians: the aggregate keeps what the operator lets go.
        let is_list = |kind: &DataType| matches!(kind, DataType::List(_) | DataType::LargeList(_));
        if aggregate.state_fields()?.iter().any(|state| is_list(state.data_type())) {
            return Ok(None);
        }
    }
    Ok(match (&frame.start_bound, frame.units) {
        (start, _) if start.is_unbounded() => Some(0),
        (WindowFrameBound::Preceding(ScalarValue::UInt64(Some(rows))), WindowFrameUnits::Rows) => {
            usize::try_from(*rows).ok()
        }
        (WindowFrameBound::CurrentRow | WindowFrameBound::Following(_), WindowFrameUnits::Rows) => Some(0),
        // Any number of rows may be as far from the current one.
        _ => None,
    })
}
