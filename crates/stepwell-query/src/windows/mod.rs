//! What window functions keep counts as memory of their query.
//!
//! The planner's operators ask nobody for memory: one whose frame goes to the end keeps all of its input, makes a copy of it and all of
//! its answers beside, and hands them out as one batch. So each stands between two nodes: the lower counts what goes in, the upper lets
//! go of what the operator has no more use for, and hands out batches of the usual size.

mod exec;
mod held;
mod keeps;

pub(crate) use exec::counted;

use datafusion::{
    arrow::datatypes::DataType,
    logical_expr::{Expr, Window, WindowFunctionDefinition},
};

use crate::{error::QueryError, plan_check::literal_bytes};

/// Longest text that may stand in the call of a window function that answers texts.
const TEXT_BYTES_MAX: u64 = 32;

/// Refuses what would make a list or a text for each row out of many of them, and answers whose length is known only once they are made.
pub(crate) fn check(window: &Window) -> Result<(), QueryError> {
    let answers = window.schema.fields().iter().skip(window.input.schema().fields().len());
    for (expr, answer) in window.window_expr.iter().zip(answers) {
        let mut expr = expr;
        while let Expr::Alias(alias) = expr {
            expr = &alias.expr;
        }
        let Expr::WindowFunction(call) = expr else { continue };
        if is_fixed(answer.data_type()) {
            continue;
        }
        let name = call.fun.name();
        if matches!(call.fun, WindowFunctionDefinition::AggregateUDF(_)) && !["min", "max"].contains(&name) {
            let message =
                format!("{name} over a window would make a list or a text for each row; use it with GROUP BY");
            return Err(QueryError::Plan { message });
        }
        let is_plain = |arg: &Expr| match arg {
            Expr::Column(_) => true,
            other => other.as_literal().is_some_and(|value| literal_bytes(value) <= TEXT_BYTES_MAX),
        };
        if !call.params.args.iter().all(is_plain) {
            let message = format!(
                "{name} over a window takes texts and lists from columns, and literals of {TEXT_BYTES_MAX} bytes: make others a column \
                 in a subquery"
            );
            return Err(QueryError::Plan { message });
        }
    }
    Ok(())
}

/// Whether all values of the type are as long.
pub(crate) fn is_fixed(data_type: &DataType) -> bool {
    match data_type {
        DataType::Null | DataType::Boolean => true,
        DataType::Struct(fields) => fields.iter().all(|field| is_fixed(field.data_type())),
        other => other.is_primitive(),
    }
}
