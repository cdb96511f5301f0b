//! The command line of a benchmark: `--NAME VALUE`.

use std::str::FromStr;

/// The options that were given.
pub struct Args(Vec<String>);

impl Args {
    pub fn read() -> Self {
        Self(std::env::args().collect())
    }

    /// The value of an option.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .position(|arg| arg == name)
            .map(|at| self.0.get(at + 1).expect("an option has a value").as_str())
    }

    /// The number that an option has, or else the usual one.
    pub fn number<N: FromStr>(&self, name: &str, usual: N) -> N {
        self.text(name).map_or(usual, |text| text.parse().unwrap_or_else(|_| panic!("{name} takes a number")))
    }
}
