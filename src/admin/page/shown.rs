//! Captured text on a page. `bdi` keeps it from changing the direction of the text around it. Hidden and control characters are
//! written out, and look different from text that was sent in that form.

use maud::{Markup, PreEscaped, html};

use crate::visible;

/// One line of captured text.
pub(super) fn line(text: &str) -> Markup {
    html! { bdi { (written(text, visible::is_hidden)) } }
}

/// Captured text of several lines, for an element that preserves line breaks.
pub(super) fn lines(text: &str) -> Markup {
    html! { bdi { (token(text)) } }
}

/// A part of such a text.
pub(super) fn token(text: &str) -> Markup {
    written(text, visible::is_hidden_in_lines)
}

/// Captured text for an attribute, or another place without markup.
pub(super) fn plain(text: &str) -> String {
    visible::line(text).into_owned()
}

fn written(text: &str, hidden: impl Fn(char) -> bool) -> Markup {
    if !text.contains(&hidden) {
        return html! { (text) };
    }
    let mut out = String::with_capacity(text.len() * 2);
    let mut rest = text;
    while let Some(at) = rest.find(&hidden) {
        let (before, from) = rest.split_at(at);
        let after = from.trim_start_matches(&hidden);
        let mut escapes = String::new();
        from[..from.len() - after.len()].chars().for_each(|c| visible::write_out(&mut escapes, c));
        out.push_str(&html! { (before) span.esc { (escapes) } }.into_string());
        rest = after;
    }
    out.push_str(&html! { (rest) }.into_string());
    PreEscaped(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_characters_are_written_out_and_markup_stays_text() {
        assert_eq!(
            line("<b>\u{202e}\nx").into_string(),
            r#"<bdi>&lt;b&gt;<span class="esc">\u{202e}\n</span>x</bdi>"#
        );
        assert_eq!(lines("a\nb\u{1b}").into_string(), "<bdi>a\nb<span class=\"esc\">\\u{1b}</span></bdi>");
        assert_eq!(line("שלום").into_string(), "<bdi>שלום</bdi>");
    }
}
