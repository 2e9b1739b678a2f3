//! How large a parsed query is once its common table expressions are written out: the planner copies each where it is named,
//! so that twenty short ones, each naming the one before twice, are a million tables.

use std::{
    collections::{BTreeMap, HashMap},
    ops::ControlFlow,
};

use datafusion::sql::sqlparser::ast::{
    Expr, GroupByExpr, ObjectName, Query, Select, SetExpr, Statement, Visit, Visitor,
};

use crate::error::QueryError;

/// Tables of one query, each counted where it is written out. Joining more takes the planner longer than any deadline.
const TABLES_MAX: u64 = 64;
/// Common table expressions; each may be a level of the plan.
const NAMES_MAX: usize = 128;
/// Grouping sets of one GROUP BY, times its expressions: the planner writes them out.
const GROUPED_MAX: u64 = 8_192;
/// Levels of one expression.
const DEPTH_MAX: usize = 640;

/// Refuses a query that writes, or that planning would blow up.
pub(crate) fn check_shape(statement: &Statement) -> Result<(), QueryError> {
    let mut shape = Shape::default();
    match statement.visit(&mut shape) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

#[derive(Default)]
struct Shape {
    depth: usize,
    /// Tables of the queries that are being read, outermost first.
    open: Vec<u64>,
    /// Names of the common table expressions by where their queries are; the tree does not move while it is read.
    names: HashMap<*const Query, String>,
    /// Tables that a common table expression stands for. Scopes are ignored: of equal names the largest counts.
    weights: BTreeMap<String, u64>,
}

fn too_complex(what: &'static str, actual: u64, limit: u64) -> QueryError {
    let whole = |n| usize::try_from(n).unwrap_or(usize::MAX);
    QueryError::TooComplex { what, actual: whole(actual), limit: whole(limit) }
}

/// Of `INSERT` and its kind, which may stand where a SELECT does.
fn writes(body: &SetExpr) -> Option<&'static str> {
    match body {
        SetExpr::Insert(_) => Some("INSERT"),
        SetExpr::Update(_) => Some("UPDATE"),
        SetExpr::Delete(_) => Some("DELETE"),
        SetExpr::Merge(_) => Some("MERGE"),
        SetExpr::Select(select) if select.into.is_some() => Some("SELECT INTO"),
        SetExpr::SetOperation { left, right, .. } => writes(left).or_else(|| writes(right)),
        _ => None,
    }
}

/// Grouping sets that a GROUP BY is written out to, times the expressions in it.
fn grouped(group_by: &[Expr]) -> u64 {
    let (mut sets, mut members) = (1u64, 0u64);
    for expr in group_by {
        let (more_sets, more_members) = match expr {
            Expr::Cube(list) => (1u64.checked_shl(list.len() as u32).unwrap_or(u64::MAX), list.len()),
            Expr::Rollup(list) => (list.len() as u64 + 1, list.len()),
            Expr::GroupingSets(list) => (list.len() as u64, list.iter().map(Vec::len).sum()),
            _ => (1, 1),
        };
        sets = sets.saturating_mul(more_sets);
        members = members.saturating_add(more_members as u64);
    }
    sets.saturating_mul(members)
}

impl Visitor for Shape {
    type Break = QueryError;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<QueryError> {
        if let Some(what) = writes(&query.body) {
            return ControlFlow::Break(QueryError::NotAQuery { what: what.to_owned() });
        }
        if query.with.as_ref().is_some_and(|with| with.recursive) {
            return ControlFlow::Break(QueryError::NotAQuery { what: "WITH RECURSIVE".to_owned() });
        }
        for table in query.with.iter().flat_map(|with| &with.cte_tables) {
            self.names.insert(&raw const *table.query, table.alias.name.value.to_lowercase());
        }
        if self.names.len() > NAMES_MAX {
            let actual = self.names.len() as u64;
            return ControlFlow::Break(too_complex("common table expressions", actual, NAMES_MAX as u64));
        }
        self.open.push(0);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<QueryError> {
        let tables = self.open.pop().unwrap_or_default();
        if tables > TABLES_MAX {
            return ControlFlow::Break(too_complex("tables, common table expressions written out", tables, TABLES_MAX));
        }
        match (self.names.get(&(&raw const *query)), self.open.last_mut()) {
            (Some(name), _) => {
                let known = self.weights.entry(name.clone()).or_default();
                *known = tables.max(*known);
            }
            (None, Some(outer)) => *outer = outer.saturating_add(tables),
            (None, None) => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<QueryError> {
        let (GroupByExpr::All(with) | GroupByExpr::Expressions(_, with)) = &select.group_by;
        if let Some(with) = with.first() {
            // The planner would answer without.
            let message = format!("GROUP BY … {with} is not understood: write GROUP BY ROLLUP (…) or CUBE (…)");
            return ControlFlow::Break(QueryError::Plan { message });
        }
        let actual = if let GroupByExpr::Expressions(list, _) = &select.group_by { grouped(list) } else { 0 };
        if actual > GROUPED_MAX {
            let what = "grouping sets, times their expressions";
            return ControlFlow::Break(too_complex(what, actual, GROUPED_MAX));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<QueryError> {
        let name = relation.to_string().replace('"', "").to_lowercase();
        // A common table expression without a table is still copied.
        let weight = self.weights.get(&name).copied().unwrap_or(1).max(1);
        if let Some(tables) = self.open.last_mut() {
            *tables = tables.saturating_add(weight);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, _expr: &Expr) -> ControlFlow<QueryError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return ControlFlow::Break(too_complex("levels of an expression", self.depth as u64, DEPTH_MAX as u64));
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, _expr: &Expr) -> ControlFlow<QueryError> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }
}
