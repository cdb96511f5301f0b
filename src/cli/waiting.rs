//! What `run` says while its events are being delivered: on a terminal one line that changes, elsewhere a line now and then.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use tokio::time::Instant;

use super::run::ERASE_LINE;
use crate::app::Progress;
use crate::visible;

/// Deliveries that take no longer need no words.
const QUIET_FOR: Duration = Duration::from_secs(1);

/// How often the same is said again off a terminal.
const AGAIN_EVERY: Duration = Duration::from_secs(10);

/// Tells how the waiting goes.
pub(super) struct Waiting {
    /// Where the events go.
    destination: String,
    /// How long is waited at most.
    limit: Duration,
    began: Instant,
    said: Option<(Instant, Option<String>)>,
}

impl Waiting {
    /// Waiting begins now.
    pub(super) fn new(destination: String, limit: Duration) -> Self {
        Self { destination, limit, began: Instant::now(), said: None }
    }

    /// Says how it goes, if that is due.
    pub(super) fn tell(&mut self, progress: &Progress) {
        let mut stderr = std::io::stderr();
        // Nothing can be done about a standard error that is closed.
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

    /// The next line off a terminal: the first after a second, then when the reason changes, else every ten seconds.
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
            if first { ". Ctrl-C stops waiting (`--no-wait` never waits); what waits stays stored" } else { "" };
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
