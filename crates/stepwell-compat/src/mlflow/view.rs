//! What all searches ask: which of what is and what is deleted, and how many.

use serde_json::Value;

use super::{
    args::{Args, invalid_value},
    failure::Failure,
};

/// MLflow's view type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    Active,
    Deleted,
    All,
}

impl View {
    /// Reads it by its name or number; without one, what is active.
    pub(crate) fn of(args: &Args<'_>, name: &str) -> Result<Self, Failure> {
        let Some(value) = args.value(name) else { return Ok(Self::Active) };
        let number = value.as_i64().or_else(|| value.as_str()?.parse().ok());
        match (value.as_str(), number) {
            (Some("ACTIVE_ONLY"), _) | (_, Some(1)) => Ok(Self::Active),
            (Some("DELETED_ONLY"), _) | (_, Some(2)) => Ok(Self::Deleted),
            (Some("ALL"), _) | (_, Some(3)) => Ok(Self::All),
            _ => Err(invalid_value(name, &Value::clone(value))),
        }
    }

    /// Whether it shows what was deleted then, or never.
    pub(crate) fn shows(self, deleted_at_us: Option<i64>) -> bool {
        match self {
            Self::Active => deleted_at_us.is_none(),
            Self::Deleted => deleted_at_us.is_some(),
            Self::All => true,
        }
    }
}

/// Most results of a page, and how many one has that does not say how many it wants.
pub(crate) const RESULTS_MAX: i64 = 50_000;
const RESULTS_DEFAULT: i64 = 1_000;

/// How many results a page may have.
pub(crate) fn results_max(args: &Args<'_>) -> Result<usize, Failure> {
    let wanted = args.integer("max_results")?.unwrap_or(RESULTS_DEFAULT);
    let refused = |must_be: String| {
        Failure::invalid(format!("Invalid value {wanted} for parameter 'max_results' supplied. It must be {must_be}"))
    };
    match usize::try_from(wanted) {
        _ if wanted > RESULTS_MAX => Err(refused(format!("at most {RESULTS_MAX}"))),
        Ok(wanted) if wanted > 0 => Ok(wanted),
        _ => Err(refused("a positive integer".to_owned())),
    }
}
