//! Arrays have no size in their type: a cast to `BIGINT[2000000000]` would make room for so many elements in each row, whatever the
//! row has, in one piece that nothing counts.
//!
//! Refused where a type is read and not in the plan: constants among the arguments of a table function are computed before there is
//! one.

use datafusion::{
    arrow::datatypes::FieldRef,
    common::{Result, plan_err},
    logical_expr::planner::TypePlanner,
    sql::sqlparser::ast::{ArrayElemTypeDef, DataType},
};

/// Refuses array types of a fixed size and leaves all others to the planner.
#[derive(Debug)]
pub(crate) struct NoSizedArrays;

impl TypePlanner for NoSizedArrays {
    /// The planner asks about the parts of a type too.
    fn plan_type_field(&self, sql_type: &DataType) -> Result<Option<FieldRef>> {
        match sql_type {
            DataType::Array(ArrayElemTypeDef::SquareBracket(element, Some(_))) => {
                plan_err!("the type {sql_type} has a size, which array types have not here: write {element}[]")
            }
            _ => Ok(None),
        }
    }
}
