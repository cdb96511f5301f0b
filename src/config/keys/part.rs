//! When a changed setting takes effect, and how its value passes from one set of settings to another.

use super::super::types::Config;

/// When a changed setting takes effect in a running proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum Applies {
    /// When the settings are read again.
    Live,
    /// At the next start.
    AtStart,
}

/// Where a setting's value stands in the settings.
pub(in crate::config) struct Part {
    /// Whether two sets of settings differ in it.
    pub(in crate::config) differs: fn(&Config, &Config) -> bool,
    /// Takes it over from another set.
    pub(in crate::config) take: fn(&mut Config, &Config),
}

/// The part that is this field: `part!(capture.rules)`.
macro_rules! part {
    ($($field:ident).+) => {
        $crate::config::keys::part::Part {
            differs: |a, b| a.$($field).+ != b.$($field).+,
            take: |to, from| to.$($field).+.clone_from(&from.$($field).+),
        }
    };
}

pub(super) use part;
