//! The counts beside those of the file.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/counts/counts.txt");
/// A count may grow by so much until the file has to change. Some of a whole call depends on the clock.
const GROWTH_PERCENT: f64 = 5.0;
const GROWTH_OF_CALLS_PERCENT: f64 = 10.0;
const HEAD: &str =
    "# Instructions, counted by `just counts`. A count that grows by more than 5 % (10 % for a call) fails
# `./check.sh`;
# `just counts --write` writes this file.\n";

fn is_of_this_compiler() -> bool {
    fs::read_to_string(FILE).is_ok_and(|text| text.lines().any(|line| line == compiler()))
}

fn known() -> BTreeMap<String, u64> {
    let text = fs::read_to_string(FILE).unwrap_or_default();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(name, count)| (name.trim().to_owned(), count.parse().unwrap()))
        .collect()
}

/// The compiler: another one makes other instructions.
fn compiler() -> String {
    let said = Command::new("rustc").arg("--version").output().expect("rustc is installed").stdout;
    format!("# {}", String::from_utf8(said).unwrap().trim())
}

/// Writes the counts into the file. Those that were not counted stay, if the compiler is the same.
pub fn write(counted: &[(&str, u64)]) {
    let mut all = if is_of_this_compiler() { known() } else { BTreeMap::new() };
    all.extend(counted.iter().map(|(name, count)| ((*name).to_owned(), *count)));
    let lines: String = all.iter().map(|(name, count)| format!("{name:<60} {count}\n")).collect();
    fs::write(FILE, format!("{HEAD}{}\n{lines}", compiler())).unwrap();
}

/// Prints the counts beside those of the file. Whether none has grown too much, and each is in the file.
pub fn all_within(counted: &[(&str, u64)]) -> bool {
    let known = known();
    let mut within = true;
    if !is_of_this_compiler() {
        println!(
            "{FILE} is of another compiler, so the counts are NOT compared; `just counts --write` writes it anew"
        );
    }
    for (name, count) in counted {
        let Some(before) = known.get(*name) else {
            println!("{name:<60} {count:>12}  is not in {FILE}");
            within = false;
            continue;
        };
        let change = (*count as f64 / *before as f64 - 1.0) * 100.0;
        let most = if name.starts_with("call:") { GROWTH_OF_CALLS_PERCENT } else { GROWTH_PERCENT };
        let verdict = if change > most { "  GROWN TOO MUCH" } else { "" };
        println!("{name:<60} {count:>12} {change:>+7.1} %{verdict}");
        within &= verdict.is_empty() || !is_of_this_compiler();
    }
    if !within {
        println!("if the growth is worth it, say why in the commit, and run `just counts --write`");
    }
    within
}
