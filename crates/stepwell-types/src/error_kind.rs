//! What the caller of a failed operation should do about it.

/// Six prescriptive kinds: each tells the caller what to do, not where it went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request is wrong; sending it again unchanged fails again.
    InvalidCall,
    /// The thing named does not exist.
    NotFound,
    /// The thing exists already, or differs from what the call assumes.
    Conflict,
    /// Try again later.
    Unavailable,
    /// Stored bytes are not what was written; an operator has to look.
    DataDamaged,
    /// A bug, or an environment that fails; an operator has to look.
    Internal,
}
