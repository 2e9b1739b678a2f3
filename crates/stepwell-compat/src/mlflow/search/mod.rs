//! MLflow's search: filters, orders and page tokens, over whatever has attributes, metrics, params and tags.
//!
//! A filter is a list of comparisons joined by AND (`lexer`, `parser`); [`Filter::accepts`] says whether a [`Record`] passes. [`Order`]
//! sorts. [`Surface`] says what a kind of record has and which comparisons its parts know. What MLflow refuses is refused in its
//! words; where only its tokenizer's quirks stand in the way, a filter is taken.
//!
//! Values and keys are compared as the SQL stores compare them: what is absent passes no comparison, not even `!=`; LIKE
//! minds case, ILIKE does not, and neither has a way to escape `%` and `_`.

mod clause;
mod evaluate;
mod filter;
mod identifier;
mod lexer;
mod like;
mod literal;
mod order;
mod page;
mod parser;
mod record;
mod surface;

#[cfg(test)]
pub(crate) mod tests;

#[allow(unused_imports, reason = "the areas that search come one by one")]
pub(crate) use self::{
    filter::{Clause, Comparison, Entity, Filter},
    order::{Order, SortKey},
    page::{Page, PageToken},
    record::{Attribute, DatasetField, Record},
    surface::Surface,
};
