//! What the header fields of a response state about quotas and rate limits.
//!
//! ```text
//!  anthropic-ratelimit-unified-5h-utilization: 0.42      a share; -reset: Unix seconds; -status: allowed, allowed_warning, rejected
//!  x-codex-primary-used-percent: 42.5                    -window-minutes: 300; -reset-at: Unix seconds, or -reset-after-seconds
//!  anthropic-ratelimit-tokens-remaining: 149000          -limit; -reset: RFC 3339
//!  x-ratelimit-remaining-tokens: 149000                  -limit-; -reset-: `6m0s`, seconds, Unix seconds or milliseconds
//! ```

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Window;

/// Windows of one response that are read.
const WINDOWS_MAX: usize = 16;
/// The longest name of a window, and of a status.
const NAME_MAX_BYTES: usize = 32;

/// Header fields that name the account.
const ACCOUNTS: [&str; 2] = ["anthropic-organization-id", "openai-organization"];

/// The provider's id of the account, from the header fields of a response. Empty if they do not state it.
pub(super) fn account<'a>(mut fields: impl Iterator<Item = (&'a str, &'a str)>) -> &'a str {
    fields.find(|(name, _)| ACCOUNTS.contains(name)).map_or("", |(_, value)| value)
}

/// The windows that the header fields of a response state. `names` are in lower case; `at_ms` is when it was sent, in Unix
/// milliseconds. What is not stated, or cannot be read, is absent.
pub(super) fn windows<'a>(fields: impl Iterator<Item = (&'a str, &'a str)>, at_ms: i64) -> Vec<Window> {
    let mut found: Vec<Found> = Vec::new();
    for (name, value) in fields {
        let Some((key, fact)) = part(name) else { continue };
        let at = found.iter().position(|window| window.key == key);
        let window = match at {
            Some(at) => found.get_mut(at),
            None if found.len() < WINDOWS_MAX => {
                found.push(Found { key, ..Found::default() });
                found.last_mut()
            }
            None => None,
        };
        if let Some(window) = window {
            window.take(fact, value.trim(), at_ms);
        }
    }
    let mut windows: Vec<Window> = found.into_iter().filter_map(Found::window).collect();
    windows.sort_by(|one, other| one.name.cmp(&other.name));
    windows
}

/// A window while its fields are read.
#[derive(Default)]
struct Found {
    key: Key,
    window: Window,
    minutes: Option<u64>,
}

/// Which window a field is about.
#[derive(Debug, Clone, Default, PartialEq)]
enum Key {
    #[default]
    Unknown,
    /// Of a Claude subscription.
    Unified(String),
    /// Of a Codex subscription: a name before it, and `primary` or `secondary`.
    Codex(String, &'static str),
    /// A rate limit of an API.
    Limit(String),
}

/// What a field says.
#[derive(Clone, Copy)]
enum Fact {
    Share,
    Percent,
    Minutes,
    ResetAt,
    ResetAfter,
    Limit,
    Remaining,
    Status,
}

/// The window and the fact that a field of this name is about.
fn part(name: &str) -> Option<(Key, Fact)> {
    if let Some(rest) = name.strip_prefix("anthropic-ratelimit-unified-") {
        let facts = [("status", Fact::Status), ("reset", Fact::ResetAt), ("utilization", Fact::Share)];
        let (window, fact) = facts.into_iter().find_map(|(end, fact)| Some((rest.strip_suffix(end)?, fact)))?;
        let window = window.trim_end_matches('-');
        return Some((Key::Unified(word(if window.is_empty() { "all" } else { window })?), fact));
    }
    if let Some(rest) = name.strip_prefix("anthropic-ratelimit-") {
        let facts = [("-limit", Fact::Limit), ("-remaining", Fact::Remaining), ("-reset", Fact::ResetAt)];
        let (window, fact) = facts.into_iter().find_map(|(end, fact)| Some((rest.strip_suffix(end)?, fact)))?;
        return Some((Key::Limit(word(window)?), fact));
    }
    if let Some(rest) = name.strip_prefix("x-codex-") {
        let facts = [
            ("used-percent", Fact::Percent),
            ("window-minutes", Fact::Minutes),
            ("reset-at", Fact::ResetAt),
            ("reset-after-seconds", Fact::ResetAfter),
        ];
        let (window, fact) = facts.into_iter().find_map(|(end, fact)| Some((rest.strip_suffix(end)?, fact)))?;
        let window = window.trim_end_matches('-');
        let (before, which) = ["primary", "secondary"]
            .into_iter()
            .find_map(|which| Some((window.strip_suffix(which)?.trim_end_matches('-'), which)))?;
        let before = if before.is_empty() { String::new() } else { word(before)? };
        return Some((Key::Codex(before, which), fact));
    }
    let rest = name.strip_prefix("x-ratelimit-")?;
    let facts = [("limit", Fact::Limit), ("remaining", Fact::Remaining), ("reset", Fact::ResetAfter)];
    let (window, fact) = facts.into_iter().find_map(|(begin, fact)| Some((rest.strip_prefix(begin)?, fact)))?;
    let window = if window.is_empty() { "requests" } else { window.strip_prefix('-')? };
    Some((Key::Limit(word(window)?), fact))
}

/// A short name of letters, digits, `-` and `_`.
fn word(text: &str) -> Option<String> {
    let is_part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    let is_word = !text.is_empty() && text.len() <= NAME_MAX_BYTES && text.bytes().all(is_part);
    is_word.then(|| text.to_owned())
}

impl Found {
    fn take(&mut self, fact: Fact, value: &str, at_ms: i64) {
        let number = value.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0);
        let window = &mut self.window;
        match fact {
            Fact::Share => window.used = number,
            Fact::Percent => window.used = number.map(|percent| percent / 100.0),
            Fact::Minutes => self.minutes = value.parse().ok(),
            Fact::Limit => window.limit = number,
            Fact::Remaining => window.remaining = number,
            Fact::Status => window.status = word(value),
            Fact::ResetAt => window.resets_at_ms = moment(value),
            // The moment comes first if both are stated.
            Fact::ResetAfter => window.resets_at_ms = window.resets_at_ms.or_else(|| after(value, at_ms)),
        }
    }

    /// The window. `None`: nothing is stated that is worth showing.
    fn window(self) -> Option<Window> {
        let Self { key, mut window, minutes } = self;
        (window.name, window.is_of_model) = match key {
            Key::Unknown => return None,
            Key::Unified(name) => (name, false),
            // An account without a second window states one of no length.
            Key::Codex(..) if minutes == Some(0) => return None,
            Key::Codex(before, which) => {
                let name = minutes.map_or_else(|| which.to_owned(), length);
                (if before.is_empty() { name } else { format!("{before}-{name}") }, false)
            }
            Key::Limit(name) => (name, true),
        };
        if let (None, Some(limit), Some(remaining)) = (window.used, window.limit, window.remaining) {
            window.used = (limit > 0.0).then(|| ((limit - remaining) / limit).max(0.0));
        }
        let says_something = window.used.is_some() || window.remaining.is_some() || window.status.is_some();
        says_something.then_some(window)
    }
}

/// `5h`, `7d`, `90m`.
fn length(minutes: u64) -> String {
    match minutes {
        minutes if minutes.is_multiple_of(24 * 60) => format!("{}d", minutes / (24 * 60)),
        minutes if minutes.is_multiple_of(60) => format!("{}h", minutes / 60),
        minutes => format!("{minutes}m"),
    }
}

/// A moment: Unix seconds or milliseconds, or RFC 3339.
fn moment(value: &str) -> Option<i64> {
    /// Smaller numbers are seconds.
    const MILLISECONDS_FROM: i64 = 100_000_000_000;
    match value.parse::<i64>() {
        Ok(number) if number <= 0 => None,
        Ok(number) if number < MILLISECONDS_FROM => Some(number * 1_000),
        Ok(number) => Some(number),
        Err(_) => {
            let at = OffsetDateTime::parse(value, &Rfc3339).ok()?;
            i64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok()
        }
    }
}

/// A moment that may be counted from `at_ms`: `1m30.5s`, `20ms`, seconds.
fn after(value: &str, at_ms: i64) -> Option<i64> {
    /// A larger number of seconds is a moment.
    const SECONDS_MAX: f64 = 400.0 * 24.0 * 3_600.0;
    match value.parse::<f64>() {
        Ok(seconds) if !seconds.is_finite() || seconds < 0.0 => None,
        Ok(seconds) if seconds > SECONDS_MAX => moment(value),
        Ok(seconds) => Some(at_ms.saturating_add((seconds * 1_000.0) as i64)),
        Err(_) => span_ms(value).map(|ms| at_ms.saturating_add(ms as i64)).or_else(|| moment(value)),
    }
}

/// `1d2h3m4.5s`, `20ms` in milliseconds.
fn span_ms(value: &str) -> Option<f64> {
    const UNITS: [(&str, f64); 5] =
        [("ms", 1.0), ("d", 86_400_000.0), ("h", 3_600_000.0), ("m", 60_000.0), ("s", 1_000.0)];
    let (mut rest, mut sum) = (value, 0.0);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        let (unit, ms) = UNITS.into_iter().find(|(unit, _)| rest[end..].starts_with(unit))?;
        sum += number * ms;
        rest = &rest[end + unit.len()..];
    }
    (!value.is_empty() && sum < 1e12).then_some(sum)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const AT: i64 = 1_790_000_000_000;

    fn read(fields: &[(&str, &str)]) -> Vec<Window> {
        windows(fields.iter().copied(), AT)
    }

    #[test]
    fn windows_of_a_claude_subscription() {
        let found = read(&[
            ("anthropic-ratelimit-unified-status", "allowed_warning"),
            ("anthropic-ratelimit-unified-reset", "1790134200"),
            ("anthropic-ratelimit-unified-5h-status", "allowed"),
            ("anthropic-ratelimit-unified-5h-reset", "1790134200"),
            ("anthropic-ratelimit-unified-5h-utilization", "0.42"),
            ("anthropic-ratelimit-unified-7d-utilization", "1.02"),
            ("anthropic-ratelimit-unified-representative-claim", "five_hour"),
            ("anthropic-ratelimit-unified-overage-disabled-reason", "out_of_credits"),
        ]);
        let [five, seven, all] = &found[..] else { panic!("{found:?}") };
        assert_eq!((five.name.as_str(), five.used, five.resets_at_ms), ("5h", Some(0.42), Some(1_790_134_200_000)));
        assert_eq!((five.status.as_deref(), five.is_of_model), (Some("allowed"), false));
        assert_eq!((seven.name.as_str(), seven.used, seven.resets_at_ms), ("7d", Some(1.02), None));
        assert_eq!((all.name.as_str(), all.used, all.status.as_deref()), ("all", None, Some("allowed_warning")));
    }

    #[test]
    fn windows_of_a_codex_subscription_are_named_by_their_length() {
        let found = read(&[
            ("x-codex-primary-used-percent", "37.5"),
            ("x-codex-primary-window-minutes", "300"),
            ("x-codex-primary-reset-after-seconds", "60"),
            ("x-codex-secondary-used-percent", "12"),
            ("x-codex-secondary-window-minutes", "10080"),
            ("x-codex-secondary-reset-at", "1790211600"),
            ("x-codex-other-primary-used-percent", "1"),
            ("x-codex-other-secondary-window-minutes", "0"),
            ("x-codex-other-secondary-used-percent", "0"),
            ("x-codex-plan-type", "pro"),
        ]);
        let [five, seven, other] = &found[..] else { panic!("{found:?}") };
        assert_eq!((five.name.as_str(), five.used, five.resets_at_ms), ("5h", Some(0.375), Some(AT + 60_000)));
        assert_eq!(
            (seven.name.as_str(), seven.used, seven.resets_at_ms),
            ("7d", Some(0.12), Some(1_790_211_600_000))
        );
        assert_eq!((other.name.as_str(), other.used), ("other-primary", Some(0.01)));
    }

    #[test]
    fn rate_limits_of_apis() {
        let found = read(&[
            ("anthropic-ratelimit-input-tokens-limit", "400000"),
            ("anthropic-ratelimit-input-tokens-remaining", "100000"),
            ("anthropic-ratelimit-input-tokens-reset", "2026-09-21T14:13:20Z"),
            ("x-ratelimit-limit-requests", "500"),
            ("x-ratelimit-remaining-requests", "499"),
            ("x-ratelimit-reset-requests", "1m30.5s"),
            ("x-ratelimit-remaining-tokens", "149984"),
            ("x-ratelimit-reset-tokens", "6ms"),
        ]);
        let [input, requests, tokens] = &found[..] else { panic!("{found:?}") };
        assert_eq!((input.name.as_str(), input.used, input.limit), ("input-tokens", Some(0.75), Some(400_000.0)));
        assert_eq!(input.resets_at_ms, Some(AT));
        assert_eq!((requests.remaining, requests.resets_at_ms), (Some(499.0), Some(AT + 90_500)));
        assert_eq!((tokens.used, tokens.remaining, tokens.resets_at_ms), (None, Some(149_984.0), Some(AT + 6)));
        assert!(found.iter().all(|window| window.is_of_model));
        // OpenRouter: milliseconds since 1970, and no name.
        let [plain] = &read(&[("x-ratelimit-remaining", "9"), ("x-ratelimit-reset", "1790000005000")])[..] else {
            panic!()
        };
        assert_eq!((plain.name.as_str(), plain.resets_at_ms), ("requests", Some(AT + 5_000)));
    }

    #[test]
    fn what_cannot_be_read_is_absent() {
        assert_eq!(
            read(&[("anthropic-ratelimit-unified-5h-utilization", "lots"), ("x-codex-primary-used-percent", "-1")]),
            []
        );
        assert_eq!(read(&[("anthropic-ratelimit-unified-<b>-status", "allowed"), ("retry-after", "3")]), []);
        assert_eq!(read(&[("x-ratelimit-limit-requests", "500")]), []);
        let names: Vec<String> = (0..99).map(|n| format!("x-ratelimit-remaining-a{n}")).collect();
        assert_eq!(windows(names.iter().map(|name| (name.as_str(), "1")), AT).len(), WINDOWS_MAX);
        assert_eq!(account([("a", "b"), ("anthropic-organization-id", "o-1")].into_iter()), "o-1");
    }

    proptest! {
        #[test]
        fn any_value_is_read_without_a_fault(value in "[-0-9.a-z:TZ ]{0,24}") {
            for name in ["x-ratelimit-reset-a", "x-codex-primary-reset-after-seconds", "anthropic-ratelimit-unified-5h-reset"] {
                let used = name.replace("reset-after-seconds", "used-percent").replace("5h-reset", "5h-utilization");
                let _ = windows([(name, value.as_str()), (used.replace("reset-a", "remaining-a").as_str(), "1")].into_iter(), AT);
            }
        }
    }
}
