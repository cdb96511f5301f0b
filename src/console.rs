//! Standard error, which a proxy around a command shares with it. While that command has the terminal, lines are held back: in a
//! full-screen program they would stand in the middle of what it shows.

use std::collections::VecDeque;
use std::io::{self, Write as _};

use parking_lot::Mutex;

/// Lines that are held back at most; older ones are dropped and counted.
const HELD_LINES: usize = 200;

static HELD: Mutex<Option<Held>> = Mutex::new(None);

#[derive(Default)]
struct Held {
    lines: VecDeque<String>,
    dropped: u64,
}

/// Holds lines back until it is dropped.
pub(crate) struct Hold(());

impl Hold {
    /// From now on.
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

/// Writes a text that ends its line; or keeps it for later. Nobody is left to tell when it cannot be written.
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
    fn what_is_held_is_bounded_and_the_newest_is_kept() {
        let mut held = Held::default();
        for number in 0..HELD_LINES + 5 {
            held.push(&number.to_string());
        }
        assert_eq!((held.lines.len(), held.dropped, held.lines[0].as_str()), (HELD_LINES, 5, "5"));
    }
}
