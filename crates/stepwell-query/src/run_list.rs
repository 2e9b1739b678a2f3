//! Listing runs by an SQL expression over the columns of `runs`.

use datafusion::{
    arrow::array::AsArray,
    sql::sqlparser::{
        ast::{Query, Visit, Visitor},
        parser::Parser,
        tokenizer::Token,
    },
};
use futures::StreamExt;
use stepwell_engine::Snapshot;

use crate::{
    engine::{QueryEngine, QueryRequest},
    error::QueryError,
    guard::check_size,
};

impl QueryEngine {
    /// Ids of the runs of a project that pass `filter`, in the order `order_by` gives (of equals, and without one, by id),
    /// `limit` of them after the first `offset`. Both texts are expressions over the columns of `runs`, and no more.
    pub async fn run_ids(
        &self,
        snapshot: impl FnOnce() -> Snapshot + Send + 'static,
        project: &str,
        filter: Option<&str>,
        order_by: Option<&str>,
        limit: usize,
        offset: usize,
    ) -> Result<Vec<String>, QueryError> {
        let filter = filter.map(|text| parse(text, |parser| parser.parse_expr())).transpose()?;
        let order_by = match order_by {
            Some(text) => parse(text, |parser| parser.parse_comma_separated(Parser::parse_order_by_expr))?,
            None => Vec::new(),
        };
        let wanted = filter.map(|filter| format!(" WHERE {filter}")).unwrap_or_default();
        let order: String = order_by.iter().map(|expr| format!("{expr}, ")).collect();
        let sql = format!("SELECT run_id FROM runs{wanted} ORDER BY {order}run_id LIMIT {limit} OFFSET {offset}");
        let request = QueryRequest { sql, project: Some(project.to_owned()), ..QueryRequest::default() };
        let mut rows = self.query(snapshot, request).await?;
        let mut ids = Vec::new();
        while let Some(batch) = rows.next().await {
            let batch = batch?;
            ids.extend(batch.column(0).as_string::<i32>().iter().flatten().map(str::to_owned));
        }
        Ok(ids)
    }
}

/// Parses all of `text` as one thing without a subquery in it. What is planned later is written anew from the tree, so that
/// nothing else can ride along.
fn parse<T: Visit>(
    text: &str,
    parse: impl FnOnce(&mut Parser<'_>) -> Result<T, datafusion::sql::sqlparser::parser::ParserError>,
) -> Result<T, QueryError> {
    let dialect = check_size(text)?;
    let mut parser = Parser::new(&dialect).try_with_sql(text).map_err(|error| QueryError::from_parser(&error))?;
    let parsed = parse(&mut parser);
    dialect.check()?;
    let parsed = parsed.map_err(|error| QueryError::from_parser(&error))?;
    let rest = parser.peek_token();
    if rest.token != Token::EOF {
        return Err(QueryError::Syntax {
            message: format!("{} is not expected here: give one expression", rest.token),
            line: Some(rest.span.start.line),
            column: Some(rest.span.start.column),
        });
    }
    if parsed.visit(&mut Subqueries).is_break() {
        return Err(QueryError::NotAQuery { what: "a subquery in a filter or an order".to_owned() });
    }
    Ok(parsed)
}

struct Subqueries;

impl Visitor for Subqueries {
    type Break = ();

    fn pre_visit_query(&mut self, _query: &Query) -> std::ops::ControlFlow<()> {
        std::ops::ControlFlow::Break(())
    }
}
