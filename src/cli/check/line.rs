//! One finding, and how findings are printed.

use std::io;

use serde::Serialize;

use super::super::say;
use super::super::table::cell;

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// It works.
    Ok,
    /// It works, with something that the user should know.
    Warn,
    /// It does not work.
    Fail,
    /// It was not looked at; the detail says why.
    Skipped,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::Skipped => "skipped",
        }
    }
}

/// A finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Line {
    pub(super) what: String,
    pub(super) state: State,
    pub(super) detail: String,
    /// What to do: there is something for every warning and failure.
    pub(super) cure: Option<String>,
}

impl Line {
    pub(super) fn ok(what: &str, detail: impl Into<String>) -> Self {
        Self { what: what.to_owned(), state: State::Ok, detail: detail.into(), cure: None }
    }

    pub(super) fn skipped(what: &str, detail: impl Into<String>) -> Self {
        Self { what: what.to_owned(), state: State::Skipped, detail: detail.into(), cure: None }
    }

    pub(super) fn warn(what: &str, detail: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { what: what.to_owned(), state: State::Warn, detail: detail.into(), cure: Some(cure.into()) }
    }

    pub(super) fn fail(what: &str, detail: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { what: what.to_owned(), state: State::Fail, detail: detail.into(), cure: Some(cure.into()) }
    }
}

/// All findings: printed one by one for people, and at the end for programs.
pub(super) struct Report {
    json: bool,
    lines: Vec<Line>,
}

impl Report {
    pub(super) fn new(json: bool) -> Self {
        Self { json, lines: Vec::new() }
    }

    /// # Errors
    /// When it cannot be written.
    pub(super) fn add(&mut self, line: Line) -> io::Result<()> {
        if !self.json {
            say::raw(&shown(&line))?;
        }
        self.lines.push(line);
        Ok(())
    }

    pub(super) fn has(&self, state: State) -> bool {
        self.lines.iter().any(|line| line.state == state)
    }

    /// # Errors
    /// When it cannot be written.
    pub(super) fn end(&self) -> io::Result<()> {
        if !self.json {
            return Ok(());
        }
        say::json(&format!("{:#}", serde_json::json!({ "ok": !self.has(State::Fail), "checks": self.lines })))
    }
}

/// A finding for people, its cure in a line of its own.
fn shown(line: &Line) -> String {
    let cure = line.cure.as_ref().map(|cure| format!("{:27}→ {}\n", "", cell(cure))).unwrap_or_default();
    format!("{:<9}{:<18}{}\n{cure}", line.state.name(), cell(&line.what), cell(&line.detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cure_stands_under_its_finding_and_nothing_steers_the_terminal() {
        let line = Line::fail("wget", "it said \u{1b}[2J", "do this");
        let wanted = "fail     wget              it said \\u{1b}[2J\n                           → do this\n";
        assert_eq!(shown(&line), wanted);
        assert_eq!(shown(&Line::ok("ca", "fine")), "ok       ca                fine\n");
    }
}
