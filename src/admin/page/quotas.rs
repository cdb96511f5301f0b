//! The quotas and rate limits that providers state, as bars.

use maud::{Markup, html};

use super::format::{count, date, duration};
use super::phases::px;
use super::shown;
use crate::quotas::Quota;

/// From this share on, a bar warns.
const WARN_FROM: f64 = 0.8;

/// The table. Nothing if no provider has stated any.
pub(super) fn render(all: &[Quota], now_ms: i64) -> Markup {
    let has_left = all.iter().any(|quota| quota.window.remaining.is_some());
    html! {
        @if !all.is_empty() {
            h2 { "Quotas and rate limits" }
            p.dim { "As the providers stated them last, in the header fields of their responses." }
            div.scroll { table.quotas {
                thead { tr { th { "provider" } th { "window" } th { "used" } @if has_left { th.n { "left" } } th { "resets" } th { "status" } th { "stated" } } }
                tbody { @for quota in all { (row(quota, now_ms, all, has_left)) } }
            } }
        }
    }
}

fn row(quota: &Quota, now_ms: i64, all: &[Quota], has_left: bool) -> Markup {
    let window = &quota.window;
    let several = all.iter().any(|other| other.provider == quota.provider && other.account != quota.account);
    html! {
        tr {
            td { (shown::line(&quota.provider)) @if several { span.dim { ", account " (quota.account + 1) } } }
            td { (shown::line(&window.name)) @if !quota.model.is_empty() { span.dim { " of " (shown::line(&quota.model)) } } }
            td { @if let Some(used) = window.used { (bar(used)) } @else { span.dim { "not stated" } } }
            @if has_left {
                td.n {
                    @if let Some(left) = window.remaining {
                        (count(left as u64)) @if let Some(limit) = window.limit { span.dim { " of " (count(limit as u64)) } }
                    }
                }
            }
            td { @if let Some(at) = window.resets_at_ms { (reset(at, now_ms)) } }
            td { @if let Some(status) = &window.status { span.bad[status == "rejected"].warn[status.ends_with("warning")] { (shown::line(status)) } } }
            td.dim title=(date(quota.stated_at_ms)) { (duration((now_ms - quota.stated_at_ms).max(0) as f64)) " ago" }
        }
    }
}

fn reset(at_ms: i64, now_ms: i64) -> Markup {
    let left = at_ms - now_ms;
    html! { span title=(date(at_ms)) { @if left > 0 { "in " (duration(left as f64)) } @else { span.dim { "since then" } } } }
}

fn bar(used: f64) -> Markup {
    const WIDE: f64 = 120.0;
    let class = match used {
        used if used >= 1.0 => "gauge full",
        used if used >= WARN_FROM => "gauge high",
        _ => "gauge",
    };
    let share = format!("{:.0} %", used * 100.0);
    html! {
        svg class=(class) width=(WIDE) height="10" role="img" aria-label={ (share) " used" } {
            rect.track x="0" y="1" width=(WIDE) height="8" rx="4" {}
            rect.level x="0" y="1" width=(px(WIDE * used.clamp(0.0, 1.0))) height="8" rx="4" {}
        }
        " " span.share { (share) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quotas::Window;

    #[test]
    fn what_is_not_stated_is_not_shown_and_text_of_providers_stays_text() {
        assert_eq!(render(&[], 0).into_string(), "");
        let quota = Quota {
            provider: "<b>".into(),
            model: "m\u{202e}".into(),
            window: Window {
                name: "5h".into(),
                used: Some(0.42),
                resets_at_ms: Some(7_200_000),
                ..Window::default()
            },
            ..Quota::default()
        };
        let shown = render(&[quota], 0).into_string();
        assert!(shown.contains("&lt;b&gt;") && shown.contains("42 %") && shown.contains("in 2.0 h"), "{shown}");
        assert!(!shown.contains('\u{202e}') && !shown.contains("<b>") && !shown.contains("of 0"), "{shown}");
    }
}
