//! Quotas and rate limits that a stream states. They get the names of the header fields that say the same over HTTP, so that all
//! readers of those fields know them.

use serde_json::Value;

/// The longest name of a limit.
const NAME_MAX_BYTES: usize = 32;
/// The most limits of one event that are read.
const LIMITS_MAX: usize = 8;

/// The windows of `codex.rate_limits`, as `x-codex-primary-used-percent` and others. `name`: which of the account's limits they are
/// of, if it is not the usual one.
pub(super) fn of_codex(windows: &Value, name: &str) -> Vec<(String, String)> {
    let name = name.to_ascii_lowercase().replace('_', "-");
    let name = if name == "codex" { "" } else { name.strip_prefix("codex-").unwrap_or(&name) };
    if !name.is_empty() && !is_name(name) {
        return Vec::new();
    }
    let before = if name.is_empty() { "x-codex".to_owned() } else { format!("x-codex-{name}") };
    let parts = [
        ("used_percent", "used-percent"),
        ("window_minutes", "window-minutes"),
        ("reset_at", "reset-at"),
        ("reset_after_seconds", "reset-after-seconds"),
    ];
    let of_window = |which: &'static str| {
        let before = format!("{before}-{which}");
        parts.into_iter().filter_map(move |(member, field)| {
            Some((format!("{before}-{field}"), windows[which][member].as_number()?.to_string()))
        })
    };
    ["primary", "secondary"].into_iter().flat_map(of_window).collect()
}

/// The limits of Realtime's `rate_limits.updated`, as `x-ratelimit-remaining-tokens` and others.
pub(super) fn of_realtime(limits: &Value) -> Vec<(String, String)> {
    let parts = [("limit", "limit"), ("remaining", "remaining"), ("reset_seconds", "reset")];
    let of_limit = |limit: &Value| {
        let name = limit["name"].as_str().filter(|name| is_name(name)).map(str::to_owned);
        let numbers = parts.map(|(member, field)| Some((field, limit[member].as_number()?.to_string())));
        let field = |(field, number)| Some((format!("x-ratelimit-{field}-{}", name.as_ref()?), number));
        numbers.into_iter().flatten().filter_map(field).collect::<Vec<_>>()
    };
    limits.as_array().into_iter().flatten().take(LIMITS_MAX).flat_map(of_limit).collect()
}

fn is_name(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    !name.is_empty() && name.len() <= NAME_MAX_BYTES && name.bytes().all(is_part)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(limits: &[(String, String)]) -> Vec<String> {
        limits.iter().map(|(name, value)| format!("{name}: {value}")).collect()
    }

    #[test]
    fn windows_have_the_names_of_header_fields() {
        let windows = json!({
            "allowed": true,
            "primary": { "used_percent": 37.5, "window_minutes": 300, "reset_at": 4_070_908_800_i64 },
            "secondary": { "used_percent": 12, "window_minutes": null },
        });
        let usual = [
            "x-codex-primary-used-percent: 37.5",
            "x-codex-primary-window-minutes: 300",
            "x-codex-primary-reset-at: 4070908800",
            "x-codex-secondary-used-percent: 12",
        ];
        assert_eq!(text(&of_codex(&windows, "")), usual);
        assert_eq!(text(&of_codex(&windows, "codex")), usual);
        assert_eq!(text(&of_codex(&windows, "codex_other"))[0], "x-codex-other-primary-used-percent: 37.5");
        assert_eq!(text(&of_codex(&windows, "gpt-reserve"))[0], "x-codex-gpt-reserve-primary-used-percent: 37.5");
        assert_eq!(of_codex(&windows, "a\nb"), []);
        assert_eq!(of_codex(&json!({ "primary": null, "secondary": { "used_percent": "12" } }), ""), []);
    }

    #[test]
    fn limits_of_realtime_have_the_names_of_header_fields() {
        let limits = json!([
            { "name": "requests", "limit": 1_000, "remaining": 999, "reset_seconds": 60 },
            { "name": "Bad Name", "limit": 1 }, { "remaining": 1 }, 7,
        ]);
        assert_eq!(
            text(&of_realtime(&limits)),
            [
                "x-ratelimit-limit-requests: 1000",
                "x-ratelimit-remaining-requests: 999",
                "x-ratelimit-reset-requests: 60"
            ]
        );
        assert_eq!(of_realtime(&json!("x")), []);
    }
}
