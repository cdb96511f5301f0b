//! The settings: whether they can be used, and where they come from.

use std::error::Error;

use super::super::chain;
use super::line::Line;
use crate::config::{ConfigError, Flags, Loaded, Source};
use crate::redact;

const CURE: &str =
    "Correct it: docs/configuration.md lists every key, and `otas-proxy config` shows what is in force";

/// Loads them; or gives a finding for each thing that is wrong with them.
pub(super) fn load(flags: &Flags) -> Result<(Loaded, Line), Vec<Line>> {
    let loaded = super::super::load(flags).map_err(|error| problems(error.as_ref()))?;
    let set = loaded.report().into_iter().filter(|setting| setting.source != Source::Default).count();
    let files: Vec<String> = loaded.files.iter().map(|file| file.display().to_string()).collect();
    let from = match files.is_empty() {
        false => format!("read from {}", files.join(" and ")),
        true => "there is no settings file".to_owned(),
    };
    Ok((loaded, Line::ok("configuration", format!("{from}; not at their defaults: {set}"))))
}

/// Patterns of the operator's that take long: a finding for each.
pub(super) fn slow_patterns(loaded: &Loaded) -> Vec<Line> {
    const CURE: &str = "Write a faster expression, or raise `redact.budget_ms`";
    let slow = redact::slow_patterns(&loaded.config.redact.patterns);
    slow.iter().map(|pattern| Line::warn("configuration", pattern.to_string(), CURE)).collect()
}

fn problems(error: &(dyn Error + 'static)) -> Vec<Line> {
    match error.downcast_ref::<ConfigError>() {
        Some(ConfigError::Invalid(problems)) => {
            problems.iter().map(|problem| Line::fail("configuration", problem.to_string(), CURE)).collect()
        }
        _ => vec![Line::fail("configuration", chain(error), CURE)],
    }
}

/// A file that the settings name cannot be used.
pub(super) fn unusable(problem: &str) -> Line {
    Line::fail("configuration", problem, "Correct the setting or the file")
}
