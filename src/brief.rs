//! Facts of calls in a few characters, for rows of lists (pure).

use std::collections::BTreeMap;

use serde_json::Value;

/// A model's name without what rows have no room for: the path, the region and the vendor before it, `claude-`, and the date and
/// version behind it. `us.anthropic.claude-sonnet-4-5-20250929-v1:0` is `sonnet-4-5`.
pub(crate) fn model(name: &str) -> &str {
    let last = name.rsplit('/').next().unwrap_or(name);
    let bare = last.rfind('.').map_or(last, |dot| {
        let (before, after) = (&last[..dot], &last[dot + 1..]);
        let is_vendor = before.chars().all(|c| c.is_ascii_lowercase() || c == '.');
        if is_vendor && after.starts_with(|c: char| c.is_ascii_alphabetic()) { after } else { last }
    });
    let bare = without_date(without_version(bare));
    let short = bare.strip_prefix("claude-").unwrap_or(bare);
    if short.is_empty() { name } else { short }
}

/// Without Bedrock's `-v1:0`. Ollama's `qwen3:8b` stays.
fn without_version(name: &str) -> &str {
    let version = |at: usize| {
        let (major, minor) = name[at + 2..].split_once(':')?;
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        (is_number(major) && is_number(minor)).then(|| &name[..at])
    };
    name.rfind("-v").and_then(version).unwrap_or(name)
}

/// Without `-20250929`, `@20250929` or `-2025-09-29` at the end.
fn without_date(name: &str) -> &str {
    for form in ["-00000000", "@00000000", "-0000-00-00"] {
        let Some((before, date)) = name.len().checked_sub(form.len()).and_then(|at| name.split_at_checked(at)) else {
            continue;
        };
        let fits = |(form, byte): (u8, u8)| if form == b'0' { byte.is_ascii_digit() } else { form == byte };
        if form.bytes().zip(date.bytes()).all(fits) && date[1..].starts_with("20") {
            return before;
        }
    }
    name
}

/// A number of tokens: `950`, `12.3k`, `1.2M`.
pub(crate) fn tokens(number: u64) -> String {
    let of = |unit: f64, name: &str| {
        let value = number as f64 / unit;
        if value < 99.95 { format!("{value:.1}{name}") } else { format!("{value:.0}{name}") }
    };
    match number {
        0..1_000 => number.to_string(),
        1_000..999_500 => of(1e3, "k"),
        _ => of(1e6, "M"),
    }
}

/// Tokens in and out: `12.3k→512`. An unknown number is `?`. `None`: neither is known.
pub(crate) fn in_and_out(input: Option<u64>, output: Option<u64>) -> Option<String> {
    let known = |number: Option<u64>| number.map_or_else(|| "?".to_owned(), tokens);
    input.or(output).map(|_| format!("{}→{}", known(input), known(output)))
}

/// A part of something, from 0 to 100. `None`: one of them is not known, or there is nothing.
pub(crate) fn percent(part: Option<u64>, of: Option<u64>) -> Option<u64> {
    let (part, of) = (part?, of.filter(|of| *of > 0)?);
    Some((u128::from(part.min(of)) * 100 / u128::from(of)) as u64)
}

/// Amounts by currency: `$1.20 + 0.30 EUR`.
pub(crate) fn costs(by_currency: &BTreeMap<String, f64>) -> String {
    let amounts = by_currency.iter().map(|(currency, amount)| money(*amount, Some(currency)));
    amounts.collect::<Vec<_>>().join(" + ")
}

/// Whether a text of the user was added by the agent, and is not the user's own.
pub(crate) fn is_reminder(text: &str) -> bool {
    text.trim_start().starts_with("<system-reminder>")
}

/// An amount with the digits that matter, and its currency if known: `$0.031`, `1.24 EUR`.
pub(crate) fn money(amount: f64, currency: Option<&str>) -> String {
    let digits = match amount {
        0.0 => "0".to_owned(),
        amount if amount < 0.001 => format!("{amount:.5}"),
        amount if amount < 0.1 => format!("{amount:.3}"),
        amount => format!("{amount:.2}"),
    };
    match currency {
        Some("USD") => format!("${digits}"),
        Some(other) if !other.is_empty() => format!("{digits} {other}"),
        _ => digits,
    }
}

/// An event's error without what its status says already: `http_429: slow down` is `slow down`.
pub(crate) fn sentence(error: &str) -> &str {
    let status = error.strip_prefix("http_").and_then(|rest| rest.split_once(": "));
    match status {
        Some((code, sentence)) if code.bytes().all(|byte| byte.is_ascii_digit()) && !sentence.is_empty() => sentence,
        _ => error,
    }
}

/// The beginning of a text, of at most so many bytes, in whole characters.
pub(crate) fn head(text: &str, max_bytes: usize) -> &str {
    let mut end = text.len().min(max_bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// The beginning of a text on one line, of at most so many characters.
pub(crate) fn excerpt(text: &str, max_chars: usize) -> String {
    let mut line = String::new();
    let (mut chars, mut is_gap) = (0, false);
    for c in text.chars() {
        if c.is_whitespace() {
            is_gap = !line.is_empty();
            continue;
        }
        let more = 1 + usize::from(is_gap);
        if chars + more >= max_chars {
            line.push('…');
            return line;
        }
        if std::mem::take(&mut is_gap) {
            line.push(' ');
        }
        line.push(c);
        chars += more;
    }
    line
}

/// The argument of a tool call that says most: a command, a file, a pattern; or else the first text.
pub(crate) fn argument(arguments: &Value) -> Option<String> {
    const TELLING: [&str; 12] = [
        "command",
        "cmd",
        "file_path",
        "path",
        "filePath",
        "pattern",
        "query",
        "url",
        "description",
        "prompt",
        "code",
        "name",
    ];
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        // Codex gives a command as a list of words.
        Value::Array(words) if words.iter().all(Value::is_string) => {
            Some(words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "))
        }
        _ => None,
    };
    match arguments {
        Value::Object(members) => {
            let named = TELLING.iter().filter_map(|name| members.get(*name));
            named.chain(members.values()).find_map(text)
        }
        other => text(other),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_known_is_absent_or_a_mark() {
        assert_eq!((in_and_out(None, None), in_and_out(Some(12_345), None)), (None, Some("12.3k→?".to_owned())));
        assert_eq!((percent(Some(1), None), percent(Some(1), Some(0)), percent(None, Some(1))), (None, None, None));
        assert_eq!(
            (percent(Some(3), Some(4)), percent(Some(9), Some(4)), percent(Some(u64::MAX), Some(u64::MAX))),
            (Some(75), Some(100), Some(100))
        );
    }

    #[test]
    fn costs_of_several_currencies_stand_side_by_side() {
        assert_eq!(costs(&BTreeMap::from([("EUR".into(), 0.3), ("USD".into(), 1.2)])), "0.30 EUR + $1.20");
    }

    #[test]
    fn names_of_models_are_short_and_still_tell_models_apart() {
        for (name, short) in [
            ("claude-sonnet-4-5-20250929", "sonnet-4-5"),
            ("claude-opus-4-1@20250805", "opus-4-1"),
            ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "sonnet-4-5"),
            ("anthropic/claude-3.7-sonnet", "3.7-sonnet"),
            ("gpt-4o-2024-08-06", "gpt-4o"),
            ("gpt-4.1-mini", "gpt-4.1-mini"),
            ("gpt-5.2-codex", "gpt-5.2-codex"),
            ("models/gemini-2.5-pro", "gemini-2.5-pro"),
            ("accounts/fireworks/models/qwen2.5-coder", "qwen2.5-coder"),
            ("amazon.nova-pro-v1:0", "nova-pro"),
            ("qwen3:8b", "qwen3:8b"),
            ("llama3.2:3b", "llama3.2:3b"),
            ("o3", "o3"),
            ("m-99999999", "m-99999999"),
            ("models/", "models/"),
            ("é-20250101", "é"),
            ("", ""),
        ] {
            assert_eq!(model(name), short, "{name}");
        }
    }

    #[test]
    fn figures_have_the_digits_that_matter() {
        assert_eq!(
            [0, 999, 1_000, 12_345, 99_949, 200_000, 999_499, 999_500, 1_250_000, 3_000_000_000].map(tokens),
            ["0", "999", "1.0k", "12.3k", "99.9k", "200k", "999k", "1.0M", "1.2M", "3000M"]
        );
        let dollars = |amount| money(amount, Some("USD"));
        assert_eq!([0.0, 0.00012, 0.0312, 0.1, 12.345].map(dollars), ["$0", "$0.00012", "$0.031", "$0.10", "$12.35"]);
        assert_eq!((money(1.239, Some("EUR")), money(1.239, None)), ("1.24 EUR".to_owned(), "1.24".to_owned()));
    }

    #[test]
    fn an_error_is_the_providers_sentence() {
        for (error, shown) in [
            ("http_429: rate_limit_error: slow down", "rate_limit_error: slow down"),
            ("http_503", "http_503"),
            ("http_429: ", "http_429: "),
            ("connect_refused: nobody listens there", "connect_refused: nobody listens there"),
            ("http_x: y", "http_x: y"),
            ("", ""),
        ] {
            assert_eq!(sentence(error), shown);
        }
    }

    #[test]
    fn the_beginning_of_a_text_ends_with_a_character() {
        let of = |bytes| head("aé模", bytes);
        assert_eq!([0, 1, 2, 3, 5, 6, 99].map(of), ["", "a", "a", "aé", "aé", "aé模", "aé模"]);
    }

    #[test]
    fn an_excerpt_is_one_line_of_few_characters() {
        assert_eq!(excerpt("  a\n\tb  c ", 9), "a b c");
        assert_eq!(excerpt("éééé éééé", 6), "éééé…");
        assert_eq!(excerpt("abcdef", 6), "abcde…");
        assert_eq!(excerpt("", 6), "");
    }

    #[test]
    fn the_argument_that_says_most_is_shown() {
        let of = |arguments: Value| argument(&arguments);
        assert_eq!(of(json!({ "a": "x", "command": "ls" })).as_deref(), Some("ls"));
        assert_eq!(of(json!({ "cmd": ["ls", "-l"] })).as_deref(), Some("ls -l"));
        assert_eq!(of(json!({ "n": 1, "odd": "x" })).as_deref(), Some("x"));
        assert_eq!(of(json!("*** Begin")).as_deref(), Some("*** Begin"));
        assert_eq!((of(json!({})), of(json!(null))), (None, None));
    }
}
