//! What is refused before planning: anything but one query, and texts that would exhaust the planner's stack.

use std::ops::ControlFlow;

use datafusion::sql::{
    parser::{DFParserBuilder, Statement},
    sqlparser::{
        ast::{Expr, ObjectName, Statement as SqlStatement, Visit, Visitor},
        dialect::GenericDialect,
        tokenizer::{Token, Tokenizer, Word},
    },
};

use crate::{dialect::Bounded, error::QueryError, shape::check_shape};

const TEXT_BYTES_MAX: usize = 1 << 20;
const TOKENS_MAX: usize = 100_000;
/// Operators nest one level each in the parser's tree.
const OPERATORS_MAX: usize = 512;
/// Words without quotes: keywords and names. Long lists are of strings and numbers, which do not count.
const WORDS_MAX: usize = 4_096;
const NESTING_MAX: usize = 64;

/// Keywords that make a level of the tree each: operators before, between and behind their operands, and what joins tables.
const NESTING_WORDS: [&str; 38] = [
    "AND",
    "OR",
    "XOR",
    "NOT",
    "DIV",
    "IS",
    "ISNULL",
    "NOTNULL",
    "IN",
    "BETWEEN",
    "LIKE",
    "ILIKE",
    "RLIKE",
    "REGEXP",
    "SIMILAR",
    "GLOB",
    "MATCH",
    "MEMBER",
    "OVERLAPS",
    "OPERATOR",
    "COLLATE",
    "AT",
    "INTERVAL",
    "PRIOR",
    "CONNECT_BY_ROOT",
    "CASE",
    "WHEN",
    "UNION",
    "INTERSECT",
    "EXCEPT",
    "MINUS",
    "JOIN",
    "APPLY",
    "STRAIGHT_JOIN",
    "PIVOT",
    "UNPIVOT",
    "EXPLAIN",
    "ARRAY",
];

/// Functions that make much memory out of few bytes, outside the pool's view.
pub(crate) const REFUSED_FUNCTIONS: [&str; 13] = [
    // To `FixedSizeBinary(2000000000)`, for each row.
    "arrow_cast",
    "arrow_try_cast",
    "repeat",
    "lpad",
    "rpad",
    "array_repeat",
    "list_repeat",
    "range",
    "generate_series",
    "array_resize",
    "list_resize",
    // Of a list of lists made so, again.
    "array_transform",
    "list_transform",
];

/// Parses `sql` and admits one SELECT, or an EXPLAIN of one.
pub(crate) fn admit(sql: &str) -> Result<Statement, QueryError> {
    let dialect = check_size(sql)?;
    let parsed = DFParserBuilder::new(sql)
        .with_dialect(&dialect)
        .with_recursion_limit(NESTING_MAX * 2)
        .build()
        .and_then(|mut parser| parser.parse_statements());
    dialect.check()?;
    let mut statements = parsed.map_err(|error| QueryError::from_datafusion(error, 0, true))?;
    let Some(statement) = statements.pop_front() else {
        return Err(QueryError::Syntax { message: "the query is empty".to_owned(), line: None, column: None });
    };
    if !statements.is_empty() {
        return Err(QueryError::NotAQuery { what: "a sequence of statements".to_owned() });
    }
    check_kind(&statement)?;
    Ok(statement)
}

/// Cheap bounds over the tokens, before a parser or planner recurses over them. Returns the dialect to parse the text with.
pub(crate) fn check_size(sql: &str) -> Result<Bounded, QueryError> {
    let within =
        |what, actual, limit| if actual > limit { Err(QueryError::TooComplex { what, actual, limit }) } else { Ok(()) };
    within("bytes", sql.len(), TEXT_BYTES_MAX)?;
    let tokens = Tokenizer::new(&GenericDialect {}, sql).tokenize().map_err(|error| QueryError::Syntax {
        message: error.message.clone(),
        line: Some(error.location.line),
        column: Some(error.location.column),
    })?;
    within("tokens", tokens.len(), TOKENS_MAX)?;
    within("operators", operators(&tokens), OPERATORS_MAX)?;
    let is_word = |token: &&Token| matches!(token, Token::Word(Word { quote_style: None, .. }));
    within("words", tokens.iter().filter(is_word).count(), WORDS_MAX)?;
    let (mut depth, mut deepest) = (0usize, 0);
    for token in &tokens {
        match token {
            Token::LParen | Token::LBracket | Token::LBrace => depth += 1,
            Token::RParen | Token::RBracket | Token::RBrace => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    within("levels of nesting", deepest, NESTING_MAX)?;
    Ok(Bounded::for_tokens(tokens.len()))
}

fn operators(tokens: &[Token]) -> usize {
    let tokens: Vec<&Token> = tokens.iter().filter(|token| !matches!(token, Token::Whitespace(_))).collect();
    // Lists of negative numbers are as flat as others: a sign at the beginning of an item has a number behind it and nothing else.
    let opens_item = |token: Option<&&Token>| matches!(token, Some(Token::LParen | Token::LBracket | Token::Comma));
    let is_sign = |at: usize| {
        matches!(tokens[at], Token::Minus)
            && opens_item(at.checked_sub(1).and_then(|before| tokens.get(before)))
            && matches!(tokens.get(at + 1), Some(Token::Number(..)))
    };
    (0..tokens.len()).filter(|&at| is_operator(tokens[at]) && !is_sign(at)).count()
}

fn is_operator(token: &Token) -> bool {
    match token {
        Token::Word(Word { value, quote_style: None, .. }) => {
            NESTING_WORDS.iter().any(|keyword| value.eq_ignore_ascii_case(keyword))
        }
        Token::Word(_) | Token::Number(..) | Token::Whitespace(_) | Token::Comma | Token::Period => false,
        Token::SingleQuotedString(_) | Token::Placeholder(_) | Token::LParen | Token::RParen | Token::EOF => false,
        // Each subscript nests one level, though its bracket closes at once.
        Token::RBracket | Token::LBrace | Token::RBrace | Token::SemiColon => false,
        _ => true,
    }
}

fn check_kind(statement: &Statement) -> Result<(), QueryError> {
    match statement {
        Statement::Statement(inner) => match &**inner {
            query @ SqlStatement::Query(_) => {
                check_shape(query)?;
                check_functions(query)
            }
            SqlStatement::Explain { statement, .. } => check_kind(&Statement::Statement(statement.clone())),
            other => Err(not_a_query(&other.to_string())),
        },
        Statement::Explain(explain) => check_kind(&explain.statement),
        other => Err(not_a_query(&other.to_string())),
    }
}

fn not_a_query(text: &str) -> QueryError {
    let what = text.split_whitespace().next().unwrap_or("this").to_uppercase();
    QueryError::NotAQuery { what }
}

struct Functions {
    refused: Option<String>,
}

impl Functions {
    fn check(&mut self, name: &ObjectName) -> ControlFlow<()> {
        let name = name.to_string().to_lowercase();
        let bare = name.trim_matches('"');
        if REFUSED_FUNCTIONS.contains(&bare) {
            self.refused = Some(bare.to_owned());
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}

impl Visitor for Functions {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Function(function) => self.check(&function.name),
            _ => ControlFlow::Continue(()),
        }
    }

    /// Table functions look like tables.
    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        self.check(relation)
    }
}

/// Refuses functions by name; the session lacks them as well.
fn check_functions(statement: &SqlStatement) -> Result<(), QueryError> {
    let mut functions = Functions { refused: None };
    // A break only ends the walk early.
    let _ = statement.visit(&mut functions);
    match functions.refused {
        Some(name) => Err(QueryError::Plan { message: format!("function {name} is not available here") }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use tokio::runtime::Builder;

    use super::*;
    use crate::engine::STACK_BYTES;

    #[test]
    fn only_queries_pass() {
        for sql in ["SELECT 1", "EXPLAIN ANALYZE SELECT 1", "WITH a AS (SELECT 1) SELECT * FROM a", "EXPLAIN SELECT 1;"]
        {
            assert!(admit(sql).is_ok(), "{sql}: {:?}", admit(sql));
        }
        for sql in [
            "DROP TABLE points",
            "INSERT INTO runs VALUES (1)",
            "COPY points TO 'x.csv'",
            "SET a.b = 1",
            "RESET a.b",
            "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'",
            "SELECT 1; SELECT 2",
            "SHOW TABLES",
            "EXPLAIN ANALYZE INSERT INTO runs VALUES (1)",
            "EXPLAIN COPY points TO 'x'",
            "PREPARE p AS SELECT 1",
            "WITH RECURSIVE a AS (SELECT 1 UNION ALL SELECT * FROM a) SELECT * FROM a",
        ] {
            assert!(matches!(admit(sql), Err(QueryError::NotAQuery { .. })), "{sql}: {:?}", admit(sql));
        }
        assert!(matches!(admit("SELEC 1"), Err(QueryError::Syntax { line: Some(1), .. })), "{:?}", admit("SELEC 1"));
    }

    /// Read anew at each level, each of these would take longer than anyone waits.
    #[test]
    fn i9_texts_that_the_parser_would_go_back_in_for_years_are_refused() {
        let levels = [
            "a.x [",
            "a.",
            "a.CASE WHEN ",
            "CAST(",
            "TRY_CAST(",
            "TRIM(",
            "EXTRACT(",
            "POSITION(",
            "SUBSTRING(",
            "OVERLAY(",
            "CEIL(",
            "CONVERT(",
            "EXISTS(",
            "EXISTS(SELECT ",
            "STRUCT(",
            "STRUCT<x ",
            "ARRAY[",
            "ARRAY(",
            "MAP {1: ",
            "{'a': ",
            "{fn x(",
            "{d ",
            "INTERVAL ",
            "NOT ",
            "CASE ",
            "CASE WHEN ",
            "f(",
            "(",
            "((",
            "(SELECT ",
            "(SELECT 1 FROM (",
            "(VALUES(",
            "1 IN (",
            "1 IN (SELECT ",
            "x -> ",
            "(x) -> ",
            "(a, b) -> (",
            "f(x => ",
            "LISTAGG(",
            "f() OVER (PARTITION BY ",
            "f() FILTER (WHERE ",
            "1 + - ",
            "1 :: STRUCT<a ",
            "JSON_OBJECT(KEY ",
            "MATCH (a) AGAINST (",
            "PRIOR ",
            "ROW(",
        ];
        let mut texts = Vec::new();
        for level in levels {
            for before in
                ["SELECT ", "SELECT 1 FROM ", "WITH a AS (", "SELECT 1 ORDER BY ", "SELECT * EXCLUDE (", "VALUES ("]
            {
                for after in ["", "1", ") ]", "SELECT", "x y z"] {
                    texts.push(format!("{before}{}{after}", level.repeat(30)));
                }
            }
        }
        // With the stack that queries have: the parser recurses.
        let queries = Builder::new_multi_thread().worker_threads(1).thread_stack_size(STACK_BYTES).build().unwrap();
        let all = queries.spawn(async move { texts.iter().for_each(|sql| drop(admit(sql))) });
        queries.block_on(all).unwrap();
        let found = "SELECT a.x [RO.xRO [RO.xSO.x [ROM (ALUES ( EXFT [RO.xIO.xRO .R.OS[Oxx [ROM (VALUES(VALUES ( EXFT [RO.xIST\r.x [ROM \
            (VxRO [RO.xSO.x [ROM (ALUES ( EXFT [RO.xIO.xRO .R.OS[AST\r.x [ROM (VALUESES )";
        let refused = admit(found);
        assert!(matches!(refused, Err(QueryError::TooComplex { what: "steps of the parser", .. })), "{refused:?}");
    }

    /// What is long but not wrong takes a few steps for each of its words.
    #[test]
    fn long_lists_and_deep_expressions_are_far_from_the_limit_of_steps() {
        let list = format!("SELECT * FROM points WHERE run_id IN ({}'z')", "'run', ".repeat(20_000));
        let deep = format!("SELECT {}1{}", "coalesce(a.b[1], ".repeat(40), ")".repeat(40));
        let rows = format!("SELECT * FROM (VALUES {}(1, 2)) AS t(a, b)", "(1, 'x'), ".repeat(5_000));
        for sql in [list, deep, rows] {
            assert!(admit(&sql).is_ok(), "{:?}", admit(&sql));
        }
    }

    #[test]
    fn i9_texts_that_would_exhaust_the_stack_are_refused() {
        let sums = format!("SELECT 1{}", "+1".repeat(10_000));
        let ors = format!("SELECT 1 WHERE true{}", " OR true".repeat(20_000));
        let nested = format!("SELECT {}1{}", "(".repeat(5_000), ")".repeat(5_000));
        for sql in [sums, ors, nested] {
            assert!(matches!(admit(&sql), Err(QueryError::TooComplex { .. })));
        }
        for sql in
            ["SELECT repeat('x', 1000000000)", "SELECT * FROM generate_series(1, 10)", "SELECT \"REPEAT\"('x', 9)"]
        {
            assert!(matches!(admit(sql), Err(QueryError::Plan { .. })), "{sql}");
        }
        assert!(admit("SELECT 1 WHERE 'a' IN ('b','c')").is_ok());
    }
}
