//! The formats of known secrets: a table of facts, each with the page or the public rule that states it.
//!
//! A source that is not a URL names a rule of a public set: `gitleaks` is <https://github.com/gitleaks/gitleaks>
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

/// The source of formats that occur in public code but are stated by no page.
const IN_USE: &str = "seen in public code";

/// All formats. Where two prefixes match, only the longer one is tried.
pub(super) fn all() -> impl Iterator<Item = &'static Pattern> {
    [models::FORMATS, code::FORMATS, cloud::FORMATS, business::FORMATS, kinds::FORMATS].into_iter().flatten()
}

#[cfg(test)]
mod tests;
