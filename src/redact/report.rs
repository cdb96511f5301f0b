//! Masks what people read beside events: log lines, errors, panics. Known formats and our own secrets are masked, without tags.

use std::borrow::Cow;
use std::io::{self, Write};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use aho_corasick::BuildError;

use super::WITHHELD;
use super::finding::Ends;
use super::names::Names;
use super::scan::Scanner;
use crate::deadline::Deadline;
use crate::secret::{MASK, registry as own};
use crate::{console, visible};

/// The longest search of one line.
const BUDGET: Duration = Duration::from_millis(200);

/// The automaton for our own rules alone: log lines are written before the settings are read.
static SCANNER: LazyLock<Result<Arc<Scanner>, BuildError>> = LazyLock::new(|| Scanner::new(&[]).map(Arc::new));
static NAMES: LazyLock<Names> = LazyLock::new(|| Names::new(&[], &[]));

/// The automaton for our own rules, which is made once.
///
/// # Errors
/// When it cannot be put together.
pub(super) fn scanner() -> Result<Arc<Scanner>, BuildError> {
    SCANNER.clone()
}

/// The text with our own secrets and all others masked.
pub fn masked(text: &str) -> Cow<'_, str> {
    let (text, _) = own::mask(text);
    let Ok(scanner) = scanner() else { return Cow::Borrowed(WITHHELD) };
    let Ok(found) = scanner.find(&NAMES, &text, Ends::default(), Deadline::of(&text, BUDGET)) else {
        return Cow::Borrowed(WITHHELD);
    };
    if found.is_empty() {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    let mut copied = 0;
    for finding in found.iter().filter(|finding| !finding.range.is_empty()) {
        if finding.range.start >= copied {
            out.push_str(&text[copied..finding.range.start]);
            out.push_str(MASK);
        }
        copied = copied.max(finding.range.end);
    }
    out.push_str(&text[copied..]);
    Cow::Owned(out)
}

/// Standard error for a log that writes each line in one call, as `tracing_subscriber` does.
#[derive(Debug, Clone, Copy)]
pub struct MaskedStderr {
    /// Whether the log has colours, which are then passed on.
    pub colours: bool,
}

impl Write for MaskedStderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        console::write(&shown(&masked(&text), self.colours));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// One line of a log. Captured text in it can neither control the terminal nor add lines.
fn shown(text: &str, colours: bool) -> String {
    let text = text.strip_suffix('\n').unwrap_or(text);
    let mut out = String::with_capacity(text.len() + 8);
    let mut rest = text;
    // `tracing_subscriber` escapes ESC in all values, so an ESC that is left begins one of its own colours.
    while let Some(at) = rest.find('\u{1b}').filter(|_| colours) {
        let (before, from) = rest.split_at(at);
        out.push_str(&visible::line(before));
        let length = colour_bytes(from);
        out.push_str(if length > 0 { &from[..length] } else { "\\u{1b}" });
        rest = &from[length.max(1)..];
    }
    out.push_str(&visible::line(rest));
    out.push('\n');
    out
}

/// The length of the sequence that sets a colour (ECMA-48, SGR); 0 if there is none.
fn colour_bytes(text: &str) -> usize {
    let Some(body) = text.strip_prefix("\u{1b}[") else { return 0 };
    let digits = body.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b';').count();
    if body.as_bytes().get(digits) == Some(&b'm') { "\u{1b}[".len() + digits + 1 } else { 0 }
}

/// Masks the messages of panics from now on.
pub fn panics_are_masked() {
    std::panic::set_hook(Box::new(|panic| {
        let trace = std::backtrace::Backtrace::capture();
        let traced = trace.status() == std::backtrace::BacktraceStatus::Captured;
        let thread = std::thread::current();
        let told = format!("thread '{}' {panic}", thread.name().unwrap_or("<unnamed>"));
        let told = if traced { format!("{told}\n{trace}") } else { told };
        // If this cannot be written, nothing else can report it.
        console::write(&format!("{}\n", visible::lines(&masked(&told))));
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test starts its own binary again, with this test alone, to get the output of a panic.
    #[test]
    fn a_panic_shows_no_secret() {
        const SECRET: &str = "p4nic-test-own-secret";
        if std::env::var_os("OTAS_TEST_PANIC").is_some() {
            own::register(SECRET);
            panics_are_masked();
            panic!("it was {SECRET}, and sk-ant-0123456789abcdefWXYZ");
        }
        let this = std::env::current_exe().unwrap();
        let name = "redact::report::tests::a_panic_shows_no_secret";
        let mut panics = std::process::Command::new(this);
        let done = panics.args(["--exact", name, "--nocapture"]).env("OTAS_TEST_PANIC", "1").output().unwrap();
        let told = String::from_utf8_lossy(&done.stderr);
        assert!(told.contains("it was ****, and ****") && told.contains("report.rs"), "{told}");
        assert!(!told.contains(SECRET) && !told.contains("abcdefWXYZ"), "{told}");
    }

    #[test]
    fn a_log_line_stays_one_line_and_has_no_colours_but_its_own() {
        let line = "\u{1b}[33mWARN\u{1b}[0m said \u{1b}[2J\u{202e}x\nINFO forged\n";
        assert_eq!(shown(line, true), "\u{1b}[33mWARN\u{1b}[0m said \\u{1b}[2J\\u{202e}x\\nINFO forged\n");
        assert!(!shown(line, false).contains('\u{1b}'));
    }

    #[test]
    fn lines_are_masked_and_otherwise_as_they_were() {
        own::register("r3port-test-own-secret");
        for (line, shown) in [
            ("WARN a: host=x.test tries=3 total_tokens=55", "WARN a: host=x.test tries=3 total_tokens=55"),
            ("key r3port-test-own-secret!", "key ****!"),
            ("reply {\"password\":\"hunter2\"}", "reply {\"password\":\"****\"}"),
            ("to https://u:pw1@x.test/", "to https://****@x.test/"),
            ("sk-ant-0123456789abcdefWXYZ", "****"),
        ] {
            assert_eq!(masked(line), shown);
        }
    }
}
