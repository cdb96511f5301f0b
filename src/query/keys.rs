//! The keys of the filter language.

/// Keys of facts: `key:value`.
const FACTS: [&str; 14] = [
    "host", "path", "method", "status", "model", "tool", "agent", "body", "note", "session", "state", "is", "since",
    "until",
];

/// Keys of figures: `key>value`.
const FIGURES: [&str; 4] = ["cost", "tokens", "latency", "status"];

/// All keys, each once.
pub(super) fn all() -> Vec<&'static str> {
    FACTS.into_iter().chain(FIGURES.into_iter().filter(|key| !is_fact(key))).collect()
}

/// Whether a key, in lower case, is that of a fact.
pub(super) fn is_fact(key: &str) -> bool {
    FACTS.contains(&key)
}

/// Whether a key is that of a figure.
pub(super) fn is_figure(key: &str) -> bool {
    FIGURES.iter().any(|known| known.eq_ignore_ascii_case(key))
}
