//! A second look at a query, as planned: that it reads our tables and nothing else, and that pushing its filters down, which
//! writes each alias out, does not blow it up.

use datafusion::{
    arrow::datatypes::DataType,
    catalog::{MemTable, TableProvider},
    common::{
        Column, ScalarValue, TableReference,
        tree_node::{TreeNode, TreeNodeRecursion},
    },
    datasource::source_as_provider,
    error::Result,
    logical_expr::{Expr, LogicalPlan, Operator, TableScan, expr::ScalarFunction},
    prelude::SQLOptions,
};

use crate::{
    error::QueryError, pieces::leaves, points_table::PointsTable, series_functions::SeriesTable,
    summaries_table::SummariesTable, windows,
};

/// Parts of one expression once the aliases in it are written out.
const EXPRESSION_PARTS_MAX: u64 = 16_384;
/// Bytes of literals that the rows of a step may each hold: they are copied to each of the thousands of rows of a batch, which nothing
/// counts.
const LITERAL_BYTES_MAX: u64 = 16 << 10;
/// Parts, as of an expression, that one text or list is joined of, each row anew.
const JOINED_PARTS_MAX: u64 = 512;
/// Columns of one step. They may share one column's memory until something copies them, or writes them as JSON.
const COLUMNS_MAX: u64 = 4_096;

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
    column_weights(plan)?;
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

/// What an expression is once the aliases in it are written out.
#[derive(Debug, Clone, Copy, Default)]
struct Weight {
    /// Literals are none: a long list of them is long, but grows nowhere.
    parts: u64,
    /// Bytes of literals. Those that a value is only looked up in are none.
    literals: u64,
}

impl Weight {
    const COLUMN: Self = Self { parts: 1, literals: 0 };

    /// Of a function over many rows: nothing is written out beyond it, but the longest text of them may be its answer.
    fn of_answer(self, data_type: &DataType) -> Self {
        if windows::is_fixed(data_type) { Self { parts: 1, ..self } } else { self }
    }

    fn largest(all: impl Iterator<Item = Self>) -> Self {
        let larger = |a: Self, b: Self| Self { parts: a.parts.max(b.parts), literals: a.literals.max(b.literals) };
        all.fold(Self::COLUMN, larger)
    }
}

fn within(what: &'static str, actual: u64, limit: u64) -> Result<(), QueryError> {
    if actual <= limit {
        return Ok(());
    }
    let whole = |n| usize::try_from(n).unwrap_or(usize::MAX);
    Err(QueryError::TooComplex { what, actual: whole(actual), limit: whole(limit) })
}

/// What all of `weights` add to a row.
fn check_literals(weights: &[Weight]) -> Result<(), QueryError> {
    let bytes = weights.iter().map(|weight| weight.literals).fold(0, u64::saturating_add);
    within(
        "bytes of literals in a row, aliases written out (not those of IN lists and the rows of VALUES)",
        bytes,
        LITERAL_BYTES_MAX,
    )
}

/// Per output column of `plan` the expression that it is, down to the nearest node that filters stop at.
fn column_weights(plan: &LogicalPlan) -> Result<Vec<Weight>, QueryError> {
    let inputs = plan.inputs().into_iter().map(column_weights).collect::<Result<Vec<_>, _>>()?;
    let below: Vec<Weight> = inputs.concat();
    let of = |exprs: &[Expr]| exprs.iter().map(|expr| weigh(expr, plan, &below)).collect::<Result<Vec<_>, _>>();
    let columns = plan.schema().fields().len();
    let opened = plan.schema().fields().iter().map(|field| leaves(field)).fold(0, u64::saturating_add);
    within("columns, members of nested ones counted", opened, COLUMNS_MAX)?;
    if let LogicalPlan::Window(window) = plan {
        windows::check(window)?;
    }
    // Its rows stand in the text.
    let is_rows = matches!(plan, LogicalPlan::Values(_));
    let own = of(&plan.expressions())?;
    if !is_rows {
        check_literals(&own)?;
    }
    let weights = match plan {
        LogicalPlan::Projection(projection) => of(&projection.expr)?,
        LogicalPlan::Aggregate(aggregate) if aggregate.group_expr.len() <= columns => {
            let of_groups = of(&aggregate.aggr_expr)?;
            let largest = Weight::largest(of_groups.into_iter());
            let mut all = of(&aggregate.group_expr)?;
            let answers = plan.schema().fields().iter().skip(all.len());
            all.extend(answers.map(|answer| largest.of_answer(answer.data_type())).collect::<Vec<_>>());
            all
        }
        LogicalPlan::Window(window) if below.len() + window.window_expr.len() == columns => {
            let of_rows = of(&window.window_expr)?.into_iter();
            let answers = plan.schema().fields().iter().skip(below.len());
            let of_answers = of_rows.zip(answers).map(|(weight, answer)| weight.of_answer(answer.data_type()));
            below.iter().copied().chain(of_answers).collect()
        }
        LogicalPlan::Values(values) => {
            let column = |at: usize| {
                let of_rows = values.values.iter().filter_map(|row| row.get(at)).map(|expr| weigh(expr, plan, &[]));
                Ok(Weight::largest(of_rows.collect::<Result<Vec<_>, QueryError>>()?.into_iter()))
            };
            (0..columns).map(column).collect::<Result<_, QueryError>>()?
        }
        LogicalPlan::Union(_) => {
            let column = |at: usize| Weight::largest(inputs.iter().filter_map(|input| input.get(at).copied()));
            (0..columns).map(column).collect()
        }
        // Filters, joins, sorts and their kind hand columns through.
        _ if below.len() == columns => below,
        _ => vec![Weight::largest(below.into_iter()); columns],
    };
    check_literals(&weights)?;
    Ok(weights)
}

/// The weight of `expr`, an expression of `plan`, with the columns of its inputs written out.
fn weigh(expr: &Expr, plan: &LogicalPlan, below: &[Weight]) -> Result<Weight, QueryError> {
    let (mut total, mut looked_up, mut fault) = (Weight::default(), 0u64, None);
    expr.apply(|part| {
        let weight = match part {
            Expr::Literal(value, _) => Weight { parts: 0, literals: literal_bytes(value) },
            Expr::Column(column) => {
                place_of(column, plan).and_then(|at| below.get(at).copied()).unwrap_or(Weight::COLUMN)
            }
            Expr::InList(list) => {
                looked_up = bytes_of_literals(&list.list).fold(looked_up, u64::saturating_add);
                Weight::COLUMN
            }
            Expr::ScalarFunction(call) => {
                looked_up = bytes_of_literals(any_of(call)).fold(looked_up, u64::saturating_add);
                Weight::COLUMN
            }
            _ => Weight::COLUMN,
        };
        if is_joined(part) {
            fault = fault.take().or(check_joined(part, plan, below).err());
        }
        total.parts = total.parts.saturating_add(weight.parts);
        total.literals = total.literals.saturating_add(weight.literals);
        if let Some(subquery) = subquery_of(part) {
            match column_weights(subquery) {
                // Its one value stands in each row.
                Ok(of_value) if matches!(part, Expr::ScalarSubquery(_)) => {
                    total.literals =
                        of_value.iter().map(|value| value.literals).fold(total.literals, u64::saturating_add);
                }
                Ok(_) => {}
                Err(error) => fault = fault.take().or(Some(error)),
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .map_err(|error| QueryError::from_datafusion(error, 0, true))?;
    if let Some(fault) = fault {
        return Err(fault);
    }
    within("parts in one expression, aliases written out", total.parts, EXPRESSION_PARTS_MAX)?;
    Ok(Weight { literals: total.literals.saturating_sub(looked_up), ..total })
}

fn bytes_of_literals(exprs: &[Expr]) -> impl Iterator<Item = u64> {
    exprs.iter().filter_map(Expr::as_literal).map(literal_bytes)
}

/// What `= ANY(ARRAY[…])` looks a value up in. Of an array of literals the planner makes an `IN` list.
fn any_of(call: &ScalarFunction) -> &[Expr] {
    match call.args.as_slice() {
        [Expr::ScalarFunction(array), _]
            if call.name() == "array_has"
                && array.name() == "make_array"
                && array.args.iter().all(|item| item.as_literal().is_some()) =>
        {
            &array.args
        }
        _ => &[],
    }
}

/// Whether an answer of `expr` holds all that it is given, one behind the other.
fn is_joined(expr: &Expr) -> bool {
    match expr {
        Expr::BinaryExpr(binary) => binary.op == Operator::StringConcat,
        Expr::ScalarFunction(call) => {
            matches!(call.name(), "make_array" | "array_concat" | "array_append" | "array_prepend" | "overlay")
        }
        _ => false,
    }
}

fn check_joined(expr: &Expr, plan: &LogicalPlan, below: &[Weight]) -> Result<(), QueryError> {
    let mut parts = 0u64;
    expr.apply(|part| {
        parts = parts.saturating_add(match part {
            Expr::Literal(..) => 0,
            Expr::Column(column) => {
                place_of(column, plan).and_then(|at| below.get(at)).map_or(1, |weight| weight.parts)
            }
            _ => 1,
        });
        // One within the other, each is counted, but none beyond what it may have.
        Ok(if parts > JOINED_PARTS_MAX { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })
    .map_err(|error| QueryError::from_datafusion(error, 0, true))?;
    within("parts in one text or list, aliases written out", parts, JOINED_PARTS_MAX)
}

/// Bytes that a row has of a literal.
pub(crate) fn literal_bytes(value: &ScalarValue) -> u64 {
    const NUMBER_BYTES: u64 = 8;
    match value {
        ScalarValue::Binary(Some(bytes)) | ScalarValue::LargeBinary(Some(bytes)) => bytes.len() as u64,
        other => other.try_as_str().flatten().map_or(NUMBER_BYTES, |text| text.len() as u64),
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
