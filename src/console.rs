//! Standard error, which `run` shares with its command. While the command uses the terminal, log lines are held back,
//! because they would disturb a full-screen program.

use std::collections::VecDeque;
use std::io::{self, Write as _};

use parking_lot::Mutex;

/// The most lines that are held back. Older ones are dropped and counted.
const HELD_LINES: usize = 200;

static HELD: Mutex<Option<Held>> = Mutex::new(None);

#[derive(Default)]
struct Held {
    lines: VecDeque<String>,
    dropped: u64,
}

/// Holds lines back until dropped.
pub(crate) struct Hold(());

impl Hold {
    /// Begins to hold lines back.
    pub(crate) fn begin() -> Self {
        HELD.lock().get_or_insert_default();
        Self(())
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let Some(Held { lines, dropped }) = HELD.lock().take() else { return };
        if dropped > 0 {
            written(&format!("otas-proxy: {dropped} earlier log lines were dropped while the command ran\n"));
        }
        lines.iter().for_each(|line| written(line));
    }
}

/// Writes a line, or keeps it for later. A failure to write is ignored: it could not be reported anywhere.
pub(crate) fn write(text: &str) {
    match HELD.lock().as_mut() {
        Some(held) => held.push(text),
        None => written(text),
    }
}

impl Held {
    fn push(&mut self, text: &str) {
        if self.lines.len() == HELD_LINES {
            self.lines.pop_front();
            self.dropped += 1;
        }
        self.lines.push_back(text.to_owned());
    }
}

fn written(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_lines_are_bounded_and_the_newest_are_kept() {
        let mut held = Held::default();
        for number in 0..HELD_LINES + 5 {
            held.push(&number.to_string());
        }
        assert_eq!((held.lines.len(), held.dropped, held.lines[0].as_str()), (HELD_LINES, 5, "5"));
    }
}
