//! The page with the figures.

use crate::scenarios::Figures;
use crate::shared::processes::median;

/// The page. `names` and each row's figures have the same order: the bare proxy first.
pub fn page(command: &str, cores: &str, names: &[(String, &str)], rows: &[(&str, Vec<Vec<Figures>>)]) -> String {
    let today = time::OffsetDateTime::now_utc().date();
    let does = names.iter().skip(1).map(|(name, does)| format!("- {name}: {does}.")).collect::<Vec<_>>().join("\n");
    let tables = rows.iter().map(|(scenario, all)| table(scenario, names, all)).collect::<Vec<_>>().join("\n");
    format!(
        "# Beside other proxies\n\nMeasured on {today} by `{command}`; {cores}. Median of the repetitions; the proxies ran in turns. CPU is user and \
         system time of all processes of a proxy. The load checks each answer's status and length; an answer that failed the check is an error. The bare \
         proxy is a forward proxy on hyper and rustls that intercepts and keeps nothing.\n\n{does}\n\n{tables}"
    )
}

fn table(scenario: &str, names: &[(String, &str)], all: &[Vec<Figures>]) -> String {
    let heading = "| proxy | CPU a call | times bare | p50 | p99 | calls/s | peak memory | errors |\n|---|---|---|---|---|---|---|---|";
    let bare = all.first().map_or(0.0, |bare| median(bare.iter().map(|figures| figures.cpu_us).collect()));
    let rows =
        names.iter().zip(all).map(|((name, _), figures)| row(name, bare, figures)).collect::<Vec<_>>().join("\n");
    format!("## {scenario}\n\n{heading}\n{rows}\n")
}

fn row(name: &str, bare_us: f64, figures: &[Figures]) -> String {
    let of = |value: fn(&Figures) -> f64| median(figures.iter().map(value).collect());
    let errors: f64 = figures.iter().map(|figures| figures.errors).sum();
    if of(|f| f.calls_per_s) == 0.0 {
        return format!("| {name} | – | – | – | – | – | – | no call succeeded |");
    }
    format!(
        "| {name} | {:.0} µs | {:.1} | {} | {} | {:.0} | {:.0} MiB | {errors:.0} |",
        of(|f| f.cpu_us),
        of(|f| f.cpu_us) / bare_us,
        ms(of(|f| f.p50_us)),
        ms(of(|f| f.p99_us)),
        of(|f| f.calls_per_s),
        of(|f| f.peak_rss_mib),
    )
}

fn ms(us: f64) -> String {
    format!("{:.2} ms", us / 1e3)
}
