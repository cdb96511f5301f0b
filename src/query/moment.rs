//! Points in time, as people write them.

use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime};

/// The moment in Unix milliseconds: a time before `now_ms` (`10m`, `2h`, `3d`), a date (`2026-11-29`, at midnight UTC), or a date
/// with time and zone (RFC 3339).
///
/// # Errors
/// When the text has another form. The error says which forms are expected.
pub fn moment(text: &str, now_ms: i64) -> Result<i64, &'static str> {
    let ago = humantime::parse_duration(text).ok().and_then(|ago| i64::try_from(ago.as_millis()).ok());
    let day = || Date::parse(text, format_description!("[year]-[month]-[day]")).ok();
    let at = || OffsetDateTime::parse(text, &Rfc3339).ok().or_else(|| Some(day()?.midnight().assume_utc()));
    match ago {
        Some(ago_ms) => Ok(now_ms.saturating_sub(ago_ms)),
        None => at()
            .and_then(|at| i64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok())
            .ok_or("expected a time ago such as 10m, 2h, 3d, or a time such as 2026-11-29T14:00:00Z"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_relative_or_absolute() {
        const NOW: i64 = 1_700_000_000_000;
        for (text, at) in [
            ("10m", NOW - 600_000),
            ("2h", NOW - 7_200_000),
            ("3d", NOW - 3 * 86_400_000),
            ("1h30m", NOW - 5_400_000),
            ("2023-11-14T22:13:20Z", NOW),
            ("2023-11-14T23:13:20.5+01:00", NOW + 500),
            ("2023-11-15", 1_700_006_400_000),
        ] {
            assert_eq!(moment(text, NOW), Ok(at), "{text}");
        }
        for text in ["", "10", "yesterday", "2023-13-01", "2023-11-14T22:13:20", "-10m"] {
            assert!(moment(text, NOW).is_err(), "{text}");
        }
        assert!(moment("100000000000000y", NOW).is_err() || moment("100000000000000y", NOW).unwrap() < 0);
    }
}
