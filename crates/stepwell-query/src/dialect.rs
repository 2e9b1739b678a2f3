//! The SQL that is understood: the parser's generic dialect, within a number of steps.
//!
//! Where one reading of a text fails, the parser goes back and tries another. A text that is wrong in its depths, such as
//! `SELECT a.x [a.x [a.x [`, is so read anew at each level, twice as often at the next, and a few hundred bytes would keep a thread for
//! years. The parser asks its dialect at each expression, operator and statement; this one counts, and after many more of these than
//! the text has tokens it says that the text is nested too deeply, the one error behind which the parser tries nothing else.

use std::{any::TypeId, cell::Cell};

use datafusion::sql::sqlparser::{
    ast::{Expr, Statement},
    dialect::{Dialect, GenericDialect},
    parser::{Parser, ParserError},
};

use crate::error::QueryError;

/// Texts that are read without going back take about two steps a token.
const STEPS_PER_TOKEN: usize = 16;
const STEPS_MIN: usize = 10_000;

/// The generic dialect for one text.
#[derive(Debug)]
pub(crate) struct Bounded {
    steps_left: Cell<usize>,
    steps_max: usize,
}

impl Bounded {
    /// For a text of so many tokens.
    pub(crate) fn for_tokens(tokens: usize) -> Self {
        let steps_max = tokens.saturating_mul(STEPS_PER_TOKEN).max(STEPS_MIN);
        Self { steps_left: Cell::new(steps_max), steps_max }
    }

    /// An error if the parser has been stopped, whatever it says of the text itself.
    pub(crate) fn check(&self) -> Result<(), QueryError> {
        let (limit, what) = (self.steps_max, "steps of the parser");
        if self.steps_left.get() == 0 { Err(QueryError::TooComplex { what, actual: limit + 1, limit }) } else { Ok(()) }
    }

    fn step<T>(&self) -> Option<Result<T, ParserError>> {
        self.steps_left.set(self.steps_left.get().saturating_sub(1));
        (self.steps_left.get() == 0).then_some(Err(ParserError::RecursionLimitExceeded))
    }
}

/// What the generic dialect answers other than dialects do that say nothing.
macro_rules! as_generic {
    ($($flag:ident)*) => { $(fn $flag(&self) -> bool { GenericDialect.$flag() })* };
}

impl Dialect for Bounded {
    /// Some questions the parser asks by type.
    fn dialect(&self) -> TypeId {
        TypeId::of::<GenericDialect>()
    }

    fn parse_prefix(&self, _parser: &mut Parser) -> Option<Result<Expr, ParserError>> {
        self.step()
    }

    fn parse_statement(&self, _parser: &mut Parser) -> Option<Result<Statement, ParserError>> {
        self.step()
    }

    fn get_next_precedence(&self, _parser: &Parser) -> Option<Result<u8, ParserError>> {
        self.step()
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        GenericDialect.is_delimited_identifier_start(ch)
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        GenericDialect.is_identifier_start(ch)
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        GenericDialect.is_identifier_part(ch)
    }

    as_generic! {
        supports_unicode_string_literal
        supports_partition_by_after_order_by
        supports_array_join_syntax
        supports_group_by_expr
        supports_group_by_with_modifier
        supports_left_associative_joins_without_parens
        supports_connect_by
        supports_match_recognize
        supports_pipe_operator
        supports_start_transaction_modifier
        supports_window_function_null_treatment_arg
        supports_dictionary_syntax
        supports_window_clause_named_window_reference
        supports_parenthesized_set_variables
        supports_select_wildcard_except
        support_map_literal_syntax
        allow_extract_custom
        allow_extract_single_quotes
        supports_extract_comma_syntax
        supports_create_view_comment_syntax
        supports_parens_around_table_factor
        supports_values_as_table_factor
        supports_create_index_with_clause
        supports_explain_with_utility_options
        supports_limit_comma
        supports_update_order_by
        supports_from_first_select
        supports_projection_trailing_commas
        supports_asc_desc_in_column_definition
        supports_try_convert
        supports_bitwise_shift_operators
        supports_comment_on
        supports_load_extension
        supports_named_fn_args_with_assignment_operator
        supports_struct_literal
        supports_empty_projections
        supports_nested_comments
        supports_multiline_comment_hints
        supports_user_host_grantee
        supports_string_escape_constant
        supports_array_typedef_with_brackets
        supports_match_against
        supports_set_names
        supports_comma_separated_set_assignments
        supports_filter_during_aggregation
        supports_select_wildcard_exclude
        supports_data_type_signed_suffix
        supports_interval_options
        supports_quote_delimited_string
        supports_select_wildcard_replace
        supports_select_wildcard_ilike
        supports_select_wildcard_rename
        supports_optimize_table
        supports_install
        supports_detach
        supports_prewhere
        supports_with_fill
        supports_limit_by
        supports_interpolate
        supports_settings
        supports_select_format
        supports_comment_optimizer_hint
        supports_constraint_keyword_without_name
        supports_key_column_option
        supports_comma_separated_trim
        supports_cte_without_as
        supports_select_item_multi_column_alias
        supports_xml_expressions
    }
}
