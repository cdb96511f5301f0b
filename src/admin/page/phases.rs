//! Draws a call's phases as inline SVG. The style sheet has the colours.

use maud::{Markup, html};

use super::format::duration;
use crate::event::Phases;

/// One phase, on the clock of its call.
struct Span {
    name: &'static str,
    /// Its class in the style sheet.
    class: &'static str,
    from_ms: f64,
    ms: f64,
}

/// One line for each phase, from start to end. Sending overlaps waiting.
pub(super) fn waterfall(phases: &Phases) -> Markup {
    const LABEL: f64 = 90.0;
    const WIDE: f64 = 520.0;
    const LINE: f64 = 20.0;
    let spans = as_they_were(phases);
    let end = spans.iter().map(|span| span.from_ms + span.ms).fold(0.01, f64::max);
    let scale = WIDE / end;
    let height = LINE * spans.len() as f64 + 18.0;
    html! {
        svg viewBox=(format!("0 0 720 {height}")) width="720" height=(height) role="img" aria-label="How long each phase took" {
            @for quarter in 0..=4u8 {
                @let x = LABEL + WIDE * f64::from(quarter) / 4.0;
                line.grid x1=(px(x)) x2=(px(x)) y1="0" y2=(height - 16.0) {}
                text.dim x=(px(x)) y=(height - 4.0) text-anchor=(if quarter == 0 { "start" } else { "middle" }) {
                    (if quarter == 0 { "0".to_owned() } else { duration(end * f64::from(quarter) / 4.0) })
                }
            }
            @for (line, span) in spans.iter().enumerate() {
                @let y = LINE * line as f64;
                text x="0" y=(y + 14.0) { (span.name) }
                rect class=(span.class) x=(px(LABEL + span.from_ms * scale)) y=(y + 4.0) width=(px((span.ms * scale).max(1.0))) height="12" {}
                text.dim x=(px(LABEL + (span.from_ms + span.ms) * scale + 6.0)) y=(y + 14.0) { (duration(span.ms)) }
            }
        }
    }
}

fn as_they_were(phases: &Phases) -> Vec<Span> {
    let Phases { dns, connect, tls, send, wait, receive } = *phases;
    let mut at = 0.0;
    let mut spans = Vec::new();
    for (name, class, ms) in [("resolve", "dns", dns), ("connect", "connect", connect), ("TLS", "tls", tls)] {
        let Some(ms) = ms else { continue };
        spans.push(Span { name, class, from_ms: at, ms });
        at += ms;
    }
    // From here on, time 0 is when the request's head was forwarded.
    spans.extend(send.map(|ms| Span { name: "send", class: "send", from_ms: at, ms }));
    spans.extend(wait.map(|ms| Span { name: "wait", class: "wait", from_ms: at, ms }));
    at += wait.or(send).unwrap_or_default();
    spans.extend(receive.map(|ms| Span { name: "receive", class: "receive", from_ms: at, ms }));
    spans
}

/// A coordinate, rounded to what can be seen.
pub(super) fn px(at: f64) -> String {
    format!("{at:.1}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Phases = Phases {
        dns: Some(1.0),
        connect: Some(2.0),
        tls: Some(3.0),
        send: Some(4.0),
        wait: Some(10.0),
        receive: Some(5.0),
    };

    #[test]
    fn sending_overlaps_waiting_and_receiving_follows() {
        let on_line = |spans: Vec<Span>| -> Vec<(&str, f64, f64)> {
            spans.iter().map(|span| (span.class, span.from_ms, span.ms)).collect()
        };
        let before = [("dns", 0.0, 1.0), ("connect", 1.0, 2.0), ("tls", 3.0, 3.0)];
        assert_eq!(
            on_line(as_they_were(&ALL)),
            [&before[..], &[("send", 6.0, 4.0), ("wait", 6.0, 10.0), ("receive", 16.0, 5.0)]].concat()
        );
    }

    #[test]
    fn unknown_phases_are_not_drawn() {
        assert!(!waterfall(&Phases::default()).into_string().contains("<rect"));
    }
}
