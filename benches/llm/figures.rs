//! The figures of a row, and its line in the table.

use crate::shared::processes::median;

/// One measurement of one proxy.
#[derive(Debug, Clone)]
pub struct Figures {
    pub cpu_ms_a_call: f64,
    pub cpu_ms_a_mb_sent: f64,
    pub peak_rss_mib: f64,
    /// Bytes of the store for each byte of content that passed. `None`: it keeps nothing.
    pub stored_a_byte: Option<f64>,
    /// The share of calls whose bodies are kept whole.
    pub whole_share: Option<f64>,
}

/// The head of the table.
pub const HEADINGS: &str = "\
| conversations | CPU a call, bare | otas-proxy | ratio | CPU a MB sent, bare | otas-proxy | peak memory, bare | otas-proxy | stored, of the bytes that passed | calls kept whole |
|---|---|---|---|---|---|---|---|---|---|";

/// The measurements of one kind of conversation, in the order of the repetitions.
pub struct Row {
    pub name: String,
    bare: Vec<Figures>,
    ours: Vec<Figures>,
}

impl Row {
    /// A row without measurements.
    pub fn new(turns: usize, tls: bool) -> Self {
        let kind = if tls { "intercepted" } else { "plain" };
        Self { name: format!("{turns} turns, {kind}"), bare: Vec::new(), ours: Vec::new() }
    }

    /// Adds the next repetition's.
    pub fn add(&mut self, bare: bool, figures: Figures) {
        if bare { self.bare.push(figures) } else { self.ours.push(figures) }
    }

    /// The line of the table.
    pub fn markdown(&self) -> String {
        let of = |all: &[Figures], figure: fn(&Figures) -> f64| median(all.iter().map(figure).collect());
        let both = |figure| (of(&self.bare, figure), of(&self.ours, figure));
        let (call, mb, rss) = (both(|f| f.cpu_ms_a_call), both(|f| f.cpu_ms_a_mb_sent), both(|f| f.peak_rss_mib));
        let ratios = self.ours.iter().zip(&self.bare).map(|(ours, bare)| ours.cpu_ms_a_call / bare.cpu_ms_a_call);
        format!(
            "| {} | {:.2} ms | {:.2} ms | {:.1} | {:.1} ms | {:.1} ms | {:.0} MiB | {:.0} MiB | {:.3} | {:.0} % |",
            self.name,
            call.0,
            call.1,
            median(ratios.collect()),
            mb.0,
            mb.1,
            rss.0,
            rss.1,
            of(&self.ours, |f| f.stored_a_byte.unwrap_or_default()),
            of(&self.ours, |f| f.whole_share.unwrap_or_default() * 100.0),
        )
    }
}
