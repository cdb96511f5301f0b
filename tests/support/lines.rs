//! Lines that a program writes.

use std::io::{BufRead as _, BufReader, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use super::proxy::PATIENCE;

/// The lines of a program's output, until it closes it. A program that writes none fails the test instead of stopping it. All is
/// read at once, so the program never waits for the test.
pub struct Lines {
    from: Receiver<String>,
    /// How long a line may take.
    patience: Duration,
}

impl Lines {
    pub fn of(output: impl Read + Send + 'static) -> Self {
        Self::within(PATIENCE, output)
    }

    pub fn within(patience: Duration, output: impl Read + Send + 'static) -> Self {
        let (to, from) = channel();
        std::thread::spawn(move || {
            let lines = BufReader::new(output).lines().map_while(Result::ok);
            // When the test is over, the rest is read nevertheless.
            lines.for_each(|line| drop(to.send(line)));
        });
        Self { from, patience }
    }

    /// The next line with these words.
    pub fn with(&mut self, words: &str) -> String {
        self.find(|line| line.contains(words)).unwrap_or_else(|| panic!("it ended without saying {words:?}"))
    }
}

impl Iterator for Lines {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        match self.from.recv_timeout(self.patience) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("no line came within {:?}", self.patience),
        }
    }
}
