//! What `run` says while its events are delivered: on a terminal one line that changes, elsewhere a line now and then.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use tokio::time::Instant;

use crate::app::Progress;
use crate::visible;

/// Clears the current line of a terminal.
const ERASE_LINE: &str = "\r\x1b[K";

/// A shorter delivery is not reported.
const QUIET_FOR: Duration = Duration::from_secs(1);

/// How often the same line is repeated where there is no terminal.
const AGAIN_EVERY: Duration = Duration::from_secs(10);

/// Reports the progress of delivery.
pub(super) struct Waiting {
    /// Where the events go.
    destination: String,
    /// The longest wait.
    limit: Duration,
    began: Instant,
    said: Option<(Instant, Option<String>)>,
}

/// Removes the line from a terminal.
pub(super) fn erase() {
    if std::io::stderr().is_terminal() {
        let _ = write!(std::io::stderr(), "{ERASE_LINE}");
    }
}

impl Waiting {
    /// The wait begins now.
    pub(super) fn new(destination: String, limit: Duration) -> Self {
        Self { destination, limit, began: Instant::now(), said: None }
    }

    /// Reports the progress, if a report is due.
    pub(super) fn tell(&mut self, progress: &Progress) {
        let mut stderr = std::io::stderr();
        // There is nowhere to report a closed standard error.
        let _ = if stderr.is_terminal() {
            write!(stderr, "{ERASE_LINE}{}", visible::line(&self.one_line(progress)))
        } else {
            match self.line(progress, Instant::now()) {
                Some(line) => writeln!(stderr, "{}", visible::line(&line)),
                None => Ok(()),
            }
        };
    }

    fn one_line(&self, progress: &Progress) -> String {
        let counts = &progress.delivery.counts;
        let (done, all) = (counts.delivered + counts.dead, counts.total);
        let why = progress.trouble().map(|why| format!(" ({why}; Ctrl-C stops waiting)")).unwrap_or_default();
        format!("otas-proxy: delivering {done}/{all}{why}")
    }

    /// The next line where there is no terminal: the first after a second, then when the reason changes, else every ten seconds.
    fn line(&mut self, progress: &Progress, now: Instant) -> Option<String> {
        let waits = progress.what_waits(&self.destination)?;
        if now < self.began + QUIET_FOR {
            return None;
        }
        let why = progress.trouble();
        let first = self.said.is_none();
        let is_news = self.said.as_ref().is_none_or(|(at, said)| *said != why || *at + AGAIN_EVERY <= now);
        if !is_news {
            return None;
        }
        self.said = Some((now, why.clone()));
        let limit = humantime::format_duration(self.limit);
        let so_far = now.saturating_duration_since(self.began).as_secs();
        let why = why.map(|why| format!(": {why}")).unwrap_or_default();
        let hint =
            if first { ". Ctrl-C stops waiting (`--no-wait` does not wait); waiting events stay stored" } else { "" };
        Some(format!("otas-proxy: waiting up to {limit} for {waits} ({so_far} s so far){why}{hint}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::Status;
    use crate::store::Counts;

    fn progress(pending: u64, trouble: Option<&str>) -> Progress {
        let counts = Counts { total: 3, pending, ..Counts::default() };
        let delivery = Status { counts, trouble: trouble.map(str::to_owned), ..Status::default() };
        Progress { delivery, sinks: Vec::new() }
    }

    #[test]
    fn off_a_terminal_it_says_after_a_second_what_it_waits_for_and_not_too_often() {
        let mut waiting = Waiting::new("OTAS (http://otas.test)".into(), Duration::from_secs(30));
        let (began, away) = (waiting.began, progress(2, Some("unreachable: connection refused")));
        let mut at = |ms: u64, progress: &Progress| waiting.line(progress, began + Duration::from_millis(ms));
        assert_eq!(at(100, &away), None);
        assert_eq!(at(2_000, &progress(0, None)), None);
        let said = at(2_000, &away).unwrap();
        assert!(
            said.starts_with(
                "otas-proxy: waiting up to 30s for 2 events to reach OTAS (http://otas.test) (2 s so far): unreachable: connection refused"
            ) && said.contains("Ctrl-C")
                && said.contains("--no-wait"),
            "{said}"
        );
        assert_eq!(at(2_100, &away), None);
        assert!(
            at(2_200, &progress(1, None))
                .unwrap()
                .ends_with("for 1 event to reach OTAS (http://otas.test) (2 s so far)")
        );
        assert_eq!(at(12_100, &progress(1, None)), None);
        assert!(at(12_200, &progress(1, None)).is_some());
    }
}
