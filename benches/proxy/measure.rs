//! Runs the scenarios alternately and prints the table.

use std::collections::BTreeMap;

use crate::scenarios::{Figures, SCENARIOS, Scenario, measure};
use crate::shared::processes::{Bench, PROXIES, median, order};

/// The command-line options.
pub struct Options {
    reps: usize,
    secs: f64,
    only: Option<String>,
}

impl Options {
    /// `--reps N --secs S --only WORD`
    pub fn parse(args: &[String]) -> Self {
        let value = |name: &str| args.iter().position(|a| a == name).and_then(|at| args.get(at + 1)).cloned();
        Self {
            reps: value("--reps").and_then(|v| v.parse().ok()).unwrap_or(5),
            secs: value("--secs").and_then(|v| v.parse().ok()).unwrap_or(1.5),
            only: value("--only"),
        }
    }
}

/// Runs and prints.
pub fn run(options: &Options) {
    let bench = Bench::start();
    println!("median of {} repetitions of {} s; {}", options.reps, options.secs, bench.cores());
    for scenario in
        SCENARIOS.iter().filter(|s| options.only.as_ref().is_none_or(|word| s.name.contains(word.as_str())))
    {
        let mut seen: BTreeMap<&str, Vec<Figures>> = BTreeMap::new();
        for rep in 0..options.reps {
            for name in order(rep) {
                let figures = measure(&bench.proxy(name), scenario, options.secs);
                seen.entry(name).or_default().push(figures);
            }
        }
        let [bare, ours] = PROXIES;
        print(scenario, &seen[bare], &seen[ours]);
    }
}

fn print(scenario: &Scenario, bare: &[Figures], ours: &[Figures]) {
    println!("\n{}", scenario.name);
    println!(
        "{:<12} {:>12} {:>9} {:>9} {:>9} {:>9} {:>9} {:>7}",
        "", "CPU us/call", "p50 us", "p99 us", "calls/s", "MB/s", "RSS MiB", "errors"
    );
    for (name, all) in PROXIES.into_iter().zip([bare, ours]) {
        let m = |f: fn(&Figures) -> f64| median(all.iter().map(f).collect());
        println!(
            "{name:<12} {:>12.1} {:>9.0} {:>9.0} {:>9.0} {:>9.1} {:>9.1} {:>7.0}",
            m(|f| f.cpu_us),
            m(|f| f.p50_us),
            m(|f| f.p99_us),
            m(|f| f.calls_per_s),
            m(|f| f.mb_per_s),
            m(|f| f.peak_rss_mib),
            all.iter().map(|f| f.errors).sum::<f64>(),
        );
    }
    let ratio = |f: fn(&Figures) -> f64| median(ours.iter().zip(bare).map(|(o, b)| f(o) / f(b)).collect());
    println!(
        "{:<12} {:>12.2} {:>9.2} {:>9.2} {:>9.2} {:>9.2} {:>9.2}",
        "ratio",
        ratio(|f| f.cpu_us),
        ratio(|f| f.p50_us),
        ratio(|f| f.p99_us),
        ratio(|f| f.calls_per_s),
        ratio(|f| f.mb_per_s),
        ratio(|f| f.peak_rss_mib),
    );
}
