//! The command line.

use std::path::PathBuf;

/// The command-line options.
pub struct Options {
    pub reps: usize,
    pub agents: usize,
    /// The lengths of conversations, in turns; each is a row.
    pub turns: Vec<usize>,
    /// Only the rows whose name has this in it.
    pub only: Option<String>,
    /// Where the table goes as Markdown.
    pub table: Option<PathBuf>,
}

impl Options {
    /// `--reps N --agents N --turns N,N,N --only WORD --table FILE`
    pub fn parse(args: &[String]) -> Self {
        let value = |name: &str| {
            args.iter().position(|a| a == name).map(|at| args.get(at + 1).expect("an option has a value").as_str())
        };
        let number = |text: &str| text.parse::<usize>().ok().filter(|n| *n > 0).expect("a number above 0");
        Self {
            reps: value("--reps").map_or(3, number),
            agents: value("--agents").map_or(8, number),
            turns: value("--turns").unwrap_or("10,40,120").split(',').map(number).collect(),
            only: value("--only").map(str::to_owned),
            table: value("--table").map(PathBuf::from),
        }
    }

    /// The command that makes the same table.
    pub fn command(&self) -> String {
        let Self { reps, agents, turns, .. } = self;
        let turns: Vec<String> = turns.iter().map(ToString::to_string).collect();
        format!("cargo bench --bench llm -- --reps {reps} --agents {agents} --turns {}", turns.join(","))
    }
}
