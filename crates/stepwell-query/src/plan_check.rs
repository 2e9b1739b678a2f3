//! A second look at a query, as planned: that it reads our tables and nothing else, and that pushing its filters down, which
//! writes each alias out, does not blow it up.

use datafusion::{
    catalog::{MemTable, TableProvider},
    common::{
        Column, TableReference,
        tree_node::{TreeNode, TreeNodeRecursion},
    },
    datasource::source_as_provider,
    error::Result,
    logical_expr::{Expr, LogicalPlan, TableScan},
    prelude::SQLOptions,
};

use crate::{
    error::QueryError, points_table::PointsTable, series_functions::SeriesTable, summaries_table::SummariesTable,
};

/// Parts of one expression once the aliases in it are written out.
const EXPRESSION_PARTS_MAX: u64 = 16_384;

/// Refuses a plan that changes, writes or reads anything but our tables, or that optimising would blow up.
pub(crate) fn check_plan(plan: &LogicalPlan) -> Result<(), QueryError> {
    let read_only = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    let refused = || QueryError::NotAQuery { what: "this statement".to_owned() };
    read_only.verify_plan(plan).map_err(|_| refused())?;
    let mut fault = None;
    plan.apply_with_subqueries(|node| {
        fault = match node {
            LogicalPlan::Copy(_) | LogicalPlan::Dml(_) | LogicalPlan::Ddl(_) => Some(refused()),
            LogicalPlan::TableScan(scan) if !is_ours(scan)? => {
                Some(QueryError::UnknownTable { name: scan.table_name.to_string(), nearest: Vec::new() })
            }
            _ => None,
        };
        Ok(if fault.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })
    .map_err(|error| QueryError::from_datafusion(error, 0, true))?;
    if let Some(fault) = fault {
        return Err(fault);
    }
    column_parts(plan)?;
    Ok(())
}

fn is_ours(scan: &TableScan) -> Result<bool> {
    let schema = match &scan.table_name {
        TableReference::Bare { .. } => None,
        TableReference::Partial { schema, .. } | TableReference::Full { schema, .. } => Some(schema.as_ref()),
    };
    let provider = source_as_provider(&scan.source)?;
    let provider: &dyn TableProvider = provider.as_ref();
    Ok(provider.is::<PointsTable>()
        || provider.is::<SummariesTable>()
        || provider.is::<SeriesTable>()
        || provider.is::<MemTable>()
        || schema == Some("information_schema"))
}

/// Per output column of `plan` the parts of the expression that it is, down to the nearest node that filters stop at.
fn column_parts(plan: &LogicalPlan) -> Result<Vec<u64>, QueryError> {
    let inputs = plan.inputs().into_iter().map(column_parts).collect::<Result<Vec<_>, _>>()?;
    let below: Vec<u64> = inputs.concat();
    for expr in plan.expressions() {
        parts(&expr, plan, &below)?;
    }
    let columns = plan.schema().fields().len();
    Ok(match plan {
        LogicalPlan::Projection(projection) => {
            projection.expr.iter().map(|expr| parts(expr, plan, &below)).collect::<Result<_, _>>()?
        }
        LogicalPlan::Aggregate(aggregate) if aggregate.group_expr.len() <= columns => {
            let mut all =
                aggregate.group_expr.iter().map(|expr| parts(expr, plan, &below)).collect::<Result<Vec<_>, _>>()?;
            all.resize(columns, 1);
            all
        }
        LogicalPlan::Union(_) => {
            (0..columns).map(|i| inputs.iter().filter_map(|input| input.get(i)).copied().max().unwrap_or(1)).collect()
        }
        // Filters, joins, sorts and their kind hand columns through.
        _ if below.len() == columns => below,
        _ => vec![below.iter().copied().max().unwrap_or(1); columns],
    })
}

/// Parts of `expr`, an expression of `plan`, with the columns of its inputs written out. Literals are none: a long list of
/// them is long, but grows nowhere.
fn parts(expr: &Expr, plan: &LogicalPlan, below: &[u64]) -> Result<u64, QueryError> {
    let (mut total, mut fault) = (0u64, None);
    expr.apply(|part| {
        let weight = match part {
            Expr::Literal(..) => 0,
            Expr::Column(column) => place_of(column, plan).and_then(|at| below.get(at).copied()).unwrap_or(1),
            _ => 1,
        };
        total = total.saturating_add(weight);
        if let Some(subquery) = subquery_of(part) {
            fault = fault.take().or(column_parts(subquery).err());
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .map_err(|error| QueryError::from_datafusion(error, 0, true))?;
    match fault {
        Some(fault) => Err(fault),
        None if total > EXPRESSION_PARTS_MAX => Err(QueryError::TooComplex {
            what: "parts in one expression, aliases written out",
            actual: usize::try_from(total).unwrap_or(usize::MAX),
            limit: EXPRESSION_PARTS_MAX as usize,
        }),
        None => Ok(total),
    }
}

/// Where a column is among those of all inputs of `plan`.
fn place_of(column: &Column, plan: &LogicalPlan) -> Option<usize> {
    let mut first = 0;
    for input in plan.inputs() {
        if let Some(place) = input.schema().maybe_index_of_column(column) {
            return Some(first + place);
        }
        first += input.schema().fields().len();
    }
    None
}

fn subquery_of(expr: &Expr) -> Option<&LogicalPlan> {
    match expr {
        Expr::ScalarSubquery(subquery) => Some(&subquery.subquery),
        Expr::InSubquery(inside) => Some(&inside.subquery.subquery),
        Expr::Exists(exists) => Some(&exists.subquery.subquery),
        _ => None,
    }
}
