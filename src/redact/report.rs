//! What people read of us beside events: log lines, errors, panics. Known formats and our own secrets are masked there too,
//! without tags.

use std::borrow::Cow;
use std::io::{self, Write};
use std::sync::LazyLock;
use std::time::Duration;

use super::names::Names;
use super::scan::{Ends, Scanner};
use super::{MASK, WITHHELD, own};
use crate::deadline::Deadline;

/// For a line of a log.
const BUDGET: Duration = Duration::from_millis(200);

/// Our own rules alone: a log begins before there are settings.
static RULES: LazyLock<Option<(Scanner, Names)>> =
    LazyLock::new(|| Some((Scanner::new(&[]).ok()?, Names::new(&[], &[]))));

/// The text without our own secrets and what looks like anybody's.
pub fn masked(text: &str) -> Cow<'_, str> {
    let (text, _) = own::mask(text);
    let Some((scanner, names)) = &*RULES else { return text };
    let Ok(found) = scanner.find(names, &text, Ends::default(), Deadline::of(&text, BUDGET)) else {
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

/// Standard error for a log whose lines are each written at once, as `tracing_subscriber`'s are.
#[derive(Debug, Clone, Copy, Default)]
pub struct MaskedStderr;

impl Write for MaskedStderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        io::stderr().write_all(masked(&String::from_utf8_lossy(line)).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// From now on a panic's message is masked, too.
pub fn panics_are_masked() {
    std::panic::set_hook(Box::new(|panic| {
        let trace = std::backtrace::Backtrace::capture();
        let traced = trace.status() == std::backtrace::BacktraceStatus::Captured;
        let thread = std::thread::current();
        let told = format!("thread '{}' {panic}", thread.name().unwrap_or("<unnamed>"));
        let told = if traced { format!("{told}\n{trace}") } else { told };
        // Nobody is left to tell when even this cannot be written.
        let _ = writeln!(io::stderr(), "{}", masked(&told));
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The panic is one of a process of its own, whose only test is this one.
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
