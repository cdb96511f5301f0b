//! An event while it is written: its JSON, what was truncated in it, and the masking of secrets.

use std::borrow::Cow;

use super::fit;
use super::json::Json;
use crate::agents::Identity;
use crate::config::CaptureLevel;
use crate::redact::Masking;

/// Writes one event.
pub(super) struct EventWriter<'a> {
    pub(super) json: Json,
    pub(super) cuts: Cuts,
    pub(super) masking: Masking<'a>,
    /// How much of the call is recorded.
    pub(super) level: CaptureLevel,
    /// The agent that sent the call, by what it says of itself.
    pub(super) agent: Option<Identity>,
}

impl<'a> EventWriter<'a> {
    /// An open object without members.
    pub(super) fn new(masking: Masking<'a>, level: CaptureLevel) -> Self {
        Self { json: Json::object(0), cuts: Cuts::default(), masking, level, agent: None }
    }

    /// A member that is a string from outside, of limited length.
    pub(super) fn bounded(&mut self, key: &str, value: &str) {
        self.json.string_within(key, value, fit::VALUE_MAX_BYTES, fit::CUT);
    }

    /// A member that is a string from outside: secrets are masked but not counted, because they were counted elsewhere.
    pub(super) fn bounded_line(&mut self, key: &str, value: &str) {
        let masked = self.uncounted_line(value);
        self.bounded(key, &masked);
    }

    /// A text with its secrets masked but not counted.
    pub(super) fn uncounted_line<'t>(&mut self, text: &'t str) -> Cow<'t, str> {
        self.masking.uncounted(|masking| masking.line(text)).map_or(Cow::Borrowed(text), Cow::Owned)
    }

    /// A path with its secrets masked but not counted.
    pub(super) fn uncounted_path<'t>(&mut self, path: &'t str) -> Cow<'t, str> {
        self.masking.uncounted(|masking| masking.path(path)).map_or(Cow::Borrowed(path), Cow::Owned)
    }
}

/// What was truncated or left out of the fields before `metadata`, with the original sizes.
#[derive(Default)]
pub(super) struct Cuts {
    /// Size of a truncated path.
    pub(super) path_bytes: Option<usize>,
    /// Size of a truncated query.
    pub(super) query_bytes: Option<usize>,
    /// Size of a truncated `error`.
    pub(super) error_bytes: Option<usize>,
    /// Whether the method was truncated.
    pub(super) method: bool,
    /// Whether request header fields were truncated or left out.
    pub(super) request_headers: bool,
    /// Whether response header fields were truncated or left out.
    pub(super) response_headers: bool,
    /// Whether properties were truncated or left out.
    pub(super) properties: bool,
}

impl Cuts {
    /// Whether anything was truncated or left out.
    pub(super) fn any(&self) -> bool {
        let Self { path_bytes, query_bytes, error_bytes, method, request_headers, response_headers, .. } = self;
        [path_bytes, query_bytes, error_bytes].into_iter().any(Option::is_some)
            || [*method, *request_headers, *response_headers, self.properties].contains(&true)
    }
}
