//! Times, sizes and counts for people.

use time::OffsetDateTime;
use time::macros::format_description;

/// `14:03:07`, in UTC.
pub(super) fn clock(unix_ms: i64) -> String {
    written(unix_ms, format_description!("[hour]:[minute]:[second]"))
}

/// `2026-11-24 14:03:07.250 UTC`.
pub(crate) fn date(unix_ms: i64) -> String {
    let day = format_description!("[year]-[month]-[day] [hour]:[minute]:[second].[subsecond digits:3] UTC");
    written(unix_ms, day)
}

fn written(unix_ms: i64, shown: &[time::format_description::BorrowedFormatItem<'_>]) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_ms) * 1_000_000)
        .ok()
        .and_then(|at| at.format(shown).ok())
        .unwrap_or_else(|| unix_ms.to_string())
}

/// `0 B`, `1.5 KiB`, `20 MiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let (mut value, mut unit) = (bytes as f64 / 1024.0, 0);
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let unit = UNITS.get(unit).copied().unwrap_or_default();
    if value < 10.0 { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") }
}

/// `0.25 ms`, `12 ms`, `3.4 s`, `2 min 5 s`.
pub(crate) fn duration(ms: f64) -> String {
    match ms {
        ms if ms < 10.0 => format!("{ms:.2} ms"),
        ms if ms < 1_000.0 => format!("{ms:.0} ms"),
        ms if ms < 60_000.0 => format!("{:.1} s", ms / 1_000.0),
        ms if ms < 3_600_000.0 => format!("{:.0} min {:.0} s", (ms / 60_000.0).floor(), (ms % 60_000.0) / 1_000.0),
        ms => format!("{:.1} h", ms / 3_600_000.0),
    }
}

/// `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_times_and_counts_are_readable() {
        assert_eq!(
            [0, 1023, 1024, 1536, 10 << 20, u64::MAX].map(bytes),
            ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "10 MiB", "16384 PiB"]
        );
        assert_eq!(
            [0.254, 12.4, 999.0, 3_400.0, 125_000.0, 7_200_000.0].map(duration),
            ["0.25 ms", "12 ms", "999 ms", "3.4 s", "2 min 5 s", "2.0 h"]
        );
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            (clock(1_700_000_000_250), date(1_700_000_000_250)),
            ("22:13:20".into(), "2023-11-14 22:13:20.250 UTC".into())
        );
    }
}
