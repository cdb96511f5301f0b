//! Masks secrets on their way to the disk, to OTAS and to people. It works on copies and never touches the wire.
//!
//! ```text
//!  redactor        the rules, prepared once
//!  masking         the masking of one call: an entry for each kind of text
//!    |- headers, urls   fields, queries and forms, by the names in them
//!    |- arguments       command lines, and pairs that people type
//!    |- search          all searches of one text, unless nothing was found in it before (clean); of a long one in windows, whose
//!         |             results are remembered (part)
//!         |- scan, walk      names with values (names, value, relation), known formats (formats, patterns), tokens under the
//!         |                  name of a service (services), user information of URLs (authority)
//!         |- streams         secrets in pieces, in streams of events (deltas)
//!         |- escapes         secrets behind `\u0041` or `&quot;`; readings, trail and reach: only what stands beside escapes is
//!         |                  examined again without them
//!         |- edges           the rest of a secret that was cut
//!    |- merged          findings become masks (mask) that do not overlap
//!  identity        ids of agents' sessions, which are not secrets
//!  report          our own secrets (secret::registry) in logs and panics
//!  fingerprint     the tag in a mask
//! ```
//!
//! Invariants: a masked text keeps its format (a JSON string stays one), masks are recognized and left alone, and the work for a
//! text is bounded by [`Redact::budget`]; a text that would need more is withheld.

mod arguments;
mod authority;
mod blot;
mod clean;
mod commands;
mod counts;
mod deltas;
mod edges;
mod escapes;
mod finding;
mod fingerprint;
mod formats;
mod headers;
mod identity;
mod judge;
mod mask;
mod masking;
mod memo;
mod merged;
mod names;
mod part;
mod patterns;
mod probe;
mod programs;
mod reach;
mod readings;
mod redactor;
mod relation;
mod report;
mod runs;
mod scan;
mod search;
mod services;
mod settings;
mod starts;
mod streams;
mod trail;
mod urls;
mod value;
mod walk;
mod windows;
mod work;

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
#[cfg(any(test, fuzzing))]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use self::finding::Masked;
pub(crate) use self::finding::{Ends, OutOfTime};
pub use self::fingerprint::{FINGERPRINT_KEY_FILE, Fingerprint};
pub use self::masking::Masking;
pub use self::probe::{SlowPattern, slow_patterns};
pub(crate) use self::redactor::names_unknown_rule;
pub use self::redactor::{Redactor, Rule, TooManyRules};
pub use self::report::{MaskedStderr, masked, panics_are_masked};
pub use self::settings::{CaptureLevel, Redact, RedactAllow};

/// What is shown in place of a text that was not searched in time.
pub(crate) const WITHHELD: &str = "[otas-proxy: withheld, since it could not be searched for secrets in its time]";
