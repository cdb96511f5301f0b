//! Why the proxy does not start.

use crate::store::StoreError;
use crate::tls::{AuthorityError, RootsError};

/// Why the proxy does not start.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The CA cannot be used.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The origins' roots cannot be used.
    #[error(transparent)]
    Roots(#[from] RootsError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another step failed.
    #[error("cannot {act}: {source}")]
    Step {
        /// What was tried.
        act: String,
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The error of a step: what was tried, and why it failed.
pub(crate) fn step(act: String, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> AppError {
    AppError::Step { act, source: source.into() }
}
