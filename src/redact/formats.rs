//! The formats that secrets are known by: a table of facts, each with the page or the public rule that states it.
//!
//! Sources that are no URL name a rule of a public set: `gitleaks` is <https://github.com/gitleaks/gitleaks>
//! (`config/gitleaks.toml`), `kingfisher` is <https://github.com/mongodb/kingfisher> (rule `kingfisher.ID`). Prefixes, alphabets and
//! lengths were taken from there, nothing else.

mod business;
mod cloud;
mod code;
mod kinds;
mod models;
mod services;

use super::patterns::Pattern;

pub(super) use self::services::SERVICES;

/// The source of what no page states, but public code holds.
const IN_USE: &str = "seen in public code";

/// All of them. The longer of two prefixes that begin alike is tried alone.
pub(super) fn all() -> impl Iterator<Item = &'static Pattern> {
    [models::FORMATS, code::FORMATS, cloud::FORMATS, business::FORMATS, kinds::FORMATS].into_iter().flatten()
}

#[cfg(test)]
mod tests;
