//! Quotes words and input for a POSIX shell.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::visible;

/// Larger input does not go into an argument: Linux allows at most 128 KiB for one, after quoting.
const ARGUMENT_MAX_BYTES: usize = 64 << 10;
/// Characters of base64 in a line.
const LINE: usize = 76;
/// The delimiter of a here-document. A text with such a line is written as base64.
const END: &str = "END_OF_BODY";

/// Quotes one word. Only a trailing line end is lost. Hidden characters are written with `printf`, which every POSIX shell has,
/// unlike the quotes `$'…'`.
pub(super) fn quoted(text: &str) -> String {
    if !text.contains(visible::is_hidden_in_lines) {
        return format!("'{}'", text.replace('\'', r"'\''"));
    }
    let mut word = String::from("\"$(printf '");
    for (at, c) in text.char_indices() {
        match c {
            // Otherwise the format would be taken for an option.
            '-' if at == 0 => word.push_str(r"\055"),
            '\\' => word.push_str(r"\\"),
            '%' => word.push_str("%%"),
            // An interactive bash expands `!` from its history; a quote would end the format.
            c if matches!(c, '\'' | '!') || visible::is_hidden_in_lines(c) => {
                // Octal escapes have at most three digits, so the following text is not part of it.
                for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                    let _ = write!(word, "\\{byte:03o}");
                }
            }
            c => word.push(c),
        }
    }
    word.push_str("')\"");
    word
}

/// How a command gets its input.
pub(super) enum Input {
    /// As this word.
    Word(String),
    /// On standard input: the text before the command, and the text after it.
    Piped(String, String),
}

/// Passes `bytes` to a command, byte for byte, in any shell.
pub(super) fn input(bytes: &[u8]) -> Input {
    let text = std::str::from_utf8(bytes).ok().filter(|text| !text.contains(visible::is_hidden_in_lines));
    match text {
        Some(text) if text.len() <= ARGUMENT_MAX_BYTES => Input::Word(quoted(text)),
        // A here-document always ends with a line end.
        Some(text) if text.ends_with('\n') && !text.lines().any(|line| line == END) => {
            Input::Piped(String::new(), format!(" <<'{END}'\n{text}{END}"))
        }
        _ => {
            let encoded = STANDARD.encode(bytes);
            if encoded.len() <= ARGUMENT_MAX_BYTES {
                return Input::Piped(format!("printf %s '{encoded}' | base64 -d | "), String::new());
            }
            let lines: Vec<&str> =
                encoded.as_bytes().chunks(LINE).map(|line| std::str::from_utf8(line).unwrap_or_default()).collect();
            Input::Piped(format!("base64 -d <<'{END}' | "), format!("\n{}\n{END}", lines.join("\n")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_escapes_its_quotes_or_controls_a_terminal() {
        assert_eq!(quoted("a'b\u{1b}[2J\\\u{9b}1\u{202e}"), r#""$(printf 'a\047b\033[2J\\\302\2331\342\200\256')""#);
        assert_eq!(quoted("'; rm -rf / #"), r"''\''; rm -rf / #'");
    }

    /// The input of `cat` in a shell.
    fn given(shell: &str, bytes: &[u8]) -> Vec<u8> {
        let command = match input(bytes) {
            Input::Word(word) => format!("printf %s {word}"),
            Input::Piped(before, after) => format!("{before}cat{after}\n"),
        };
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), command).unwrap();
        let done = std::process::Command::new(shell).arg(file.path()).output().unwrap();
        assert!(done.status.success() && done.stderr.is_empty(), "{shell}: {done:?}");
        done.stdout
    }

    #[test]
    fn a_word_is_the_same_in_any_shell() {
        for word in ["a'b!\u{1b}[2J\\\u{9b}1 100% \\n $HOME `id` \"q\"\u{202e}", "-\u{1b}", "x!'"] {
            let command = format!("printf %s {}", quoted(word));
            for shell in ["sh", "bash"] {
                let done = std::process::Command::new(shell).args(["-c", &command]).output().unwrap();
                assert_eq!(String::from_utf8_lossy(&done.stdout), word, "{shell}: {command}");
            }
        }
    }

    #[test]
    fn a_command_gets_the_exact_bytes_in_any_shell() {
        let text = "it's a \"line\" with $HOME `id` \\ ünïcode\n";
        let mut samples: Vec<Vec<u8>> =
            [text, "x", "\t'", "a\u{1b}[2J\u{0}b", "\u{202e}", END, "\n\n"].map(|s| s.as_bytes().to_vec()).into();
        samples.push((0..=255).collect());
        for repeated in [text.trim_end(), text, "a\u{0}b", "END_OF_BODY\n"] {
            samples.push(repeated.repeat((200 << 10) / repeated.len()).into_bytes());
        }
        for shell in ["sh", "bash"] {
            for bytes in &samples {
                assert!(given(shell, bytes) == *bytes, "{shell}: {:?}", &bytes[..bytes.len().min(40)]);
            }
        }
    }
}
