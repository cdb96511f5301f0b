//! The log: on standard error, masked, and with a limit for repeated warnings and errors. Outside parties can cause most of them
//! at will, so they must not fill a disk or hide others.

use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::redact::MaskedStderr;

/// The window in which lines from one place in the source are counted.
const WINDOW: Duration = Duration::from_secs(10);
/// How many of them are written in a window.
const LINES: u64 = 5;
/// The target of the line that says how many were held back.
const TELLER: &str = "otas_proxy::log";

/// The variable that sets the level, in `tracing`'s directives.
const VARIABLE: &str = "OTAS_PROXY_LOG";

/// Begins to log. `otherwise` holds if the variable is not set or not valid. Returns a warning if it is not valid.
pub(super) fn begin(otherwise: &str) -> Option<String> {
    let given = std::env::var_os(VARIABLE).filter(|given| !given.is_empty());
    let read = given.map(|given| directives(&given.to_string_lossy())).transpose();
    let (filter, warning) = match read {
        Ok(filter) => (filter, None),
        Err(why) => (None, Some(format!("{VARIABLE}: {why}; it is not used. Write a level, such as `info`"))),
    };
    let filter = filter.unwrap_or_else(|| EnvFilter::new(otherwise));
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
    let lines = tracing_subscriber::fmt::layer().with_ansi(colours).with_writer(move || MaskedStderr { colours });
    let _ = tracing_subscriber::registry().with(filter).with(Repeats::default()).with(lines).try_init();
    warning
}

/// The filter. A word alone is a level: `tracing` would take any other for the name of a module.
fn directives(text: &str) -> Result<EnvFilter, String> {
    let alone = |directive: &&str| directive.chars().all(char::is_alphanumeric) && !directive.is_empty();
    let unknown = text.split(',').map(str::trim).filter(alone).find(|word| word.parse::<LevelFilter>().is_err());
    match unknown {
        Some(word) => Err(format!("`{word}` is not a level; expected error, warn, info, debug, trace or off")),
        None => EnvFilter::try_new(text).map_err(|error| error.to_string()),
    }
}

/// Holds back repeated lines, and reports how many.
#[derive(Clone, Default)]
struct Repeats(Arc<Mutex<Counts>>);

#[derive(Default)]
struct Counts {
    /// By place in the source; their number is limited.
    places: HashMap<Identifier, Place>,
    /// Whether a task waits for the end of the window.
    waited_for: bool,
}

struct Place {
    target: &'static str,
    lines: u64,
    /// The first line that was held back.
    message: String,
}

/// What to do with a line.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Write,
    HoldBack,
}

impl Repeats {
    fn verdict(&self, event: &Event<'_>) -> Verdict {
        let metadata = event.metadata();
        let mut counts = self.0.lock();
        let place = counts.places.entry(metadata.callsite()).or_insert_with(|| Place {
            target: metadata.target(),
            lines: 0,
            message: String::new(),
        });
        place.lines += 1;
        if place.lines == LINES + 1 {
            event.record(&mut Message(&mut place.message));
        }
        if place.lines > LINES { Verdict::HoldBack } else { Verdict::Write }
    }

    /// Whether the caller must wait for the end of the window, because nobody does yet.
    fn must_wait(&self) -> bool {
        !std::mem::replace(&mut self.0.lock().waited_for, true)
    }

    /// Ends the window. Returns what was held back in it.
    fn over(&self) -> Vec<Place> {
        let mut counts = self.0.lock();
        counts.waited_for = false;
        std::mem::take(&mut counts.places).into_values().filter(|place| place.lines > LINES).collect()
    }
}

impl<S: Subscriber> Layer<S> for Repeats {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        // A user who asks for more than warnings gets everything.
        if *event.metadata().level() > Level::WARN || event.metadata().target() == TELLER {
            return true;
        }
        let verdict = self.verdict(event);
        if self.must_wait() {
            let repeats = self.clone();
            let waiting = move || {
                std::thread::sleep(WINDOW);
                for Place { target, lines, message } in repeats.over() {
                    let (lines, seconds) = (lines - LINES, WINDOW.as_secs());
                    tracing::warn!(target: TELLER, lines, from = target, "{message}: more of these lines in {seconds} s");
                }
            };
            // Without a thread, lines stay held back until there is one.
            if std::thread::Builder::new().name("log".to_owned()).spawn(waiting).is_err() {
                self.0.lock().waited_for = false;
            }
        }
        verdict == Verdict::Write
    }
}

/// The message of an event.
struct Message<'a>(&'a mut String);

impl Visit for Message<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            *self.0 = format!("{value:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    /// What was written.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_word_that_is_no_level_is_refused() {
        for text in ["info", "WARN", "off", "otas_proxy=debug", "warn,otas_proxy::store=trace", "3"] {
            assert!(directives(text).is_ok(), "{text}");
        }
        for text in ["loud", "info,verbose", "otas_proxy=loud"] {
            assert!(directives(text).is_err(), "{text}");
        }
        assert!(directives("loud").unwrap_err().starts_with("`loud` is not a level"));
    }

    #[test]
    fn repeated_lines_are_suppressed_and_counted() {
        let (repeats, written) = (Repeats::default(), Written::default());
        // No thread of ours ends the window.
        assert!(repeats.must_wait() && !repeats.must_wait());
        let writer = written.clone();
        let lines = tracing_subscriber::fmt::layer().with_writer(move || writer.clone()).with_ansi(false);
        let log = tracing_subscriber::registry().with(repeats.clone()).with(lines);
        tracing::subscriber::with_default(log, || {
            let repeated = || {
                for n in 0..100 {
                    tracing::warn!(n, "repeated");
                    tracing::info!("asked for");
                }
                tracing::error!("once");
            };
            repeated();
            let text = || String::from_utf8(written.0.lock().clone()).unwrap();
            let count = |words: &str| text().matches(words).count();
            assert_eq!((count("repeated"), count("asked for"), count("once")), (5, 100, 1));
            let held_back = repeats.over();
            let [Place { lines, message, .. }] = &held_back[..] else { panic!("not one place") };
            assert_eq!((*lines - LINES, message.as_str()), (95, "repeated"));
            repeated();
            assert_eq!(count("repeated"), 10);
            assert!(repeats.over().len() == 1 && repeats.over().is_empty());
        });
    }
}
