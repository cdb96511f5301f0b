//! The hosts that are relayed blind.

/// `tls.passthrough`: exact names and `*.suffix` patterns.
#[derive(Debug, Clone, Default)]
pub struct Passthrough(Vec<String>);

impl Passthrough {
    /// From patterns in lower case, as the configuration has checked them.
    pub fn new(patterns: Vec<String>) -> Self {
        Self(patterns)
    }

    /// Whether `host` (lower case) is relayed blind. `*.example.com` is every name below `example.com`, not itself.
    pub fn covers(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.');
        self.0.iter().any(|pattern| match pattern.strip_prefix('*') {
            Some(suffix) => host.len() > suffix.len() && host.ends_with(suffix),
            None => host == pattern,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_names_and_names_below_a_suffix() {
        let list = Passthrough::new(vec!["bank.example".into(), "*.pinned.example".into(), "10.0.0.1".into()]);
        for (host, covered) in [
            ("bank.example", true),
            ("www.bank.example", false),
            ("a.pinned.example", true),
            ("a.b.pinned.example.", true),
            ("pinned.example", false),
            ("notpinned.example", false),
            ("10.0.0.1", true),
        ] {
            assert_eq!(list.covers(host), covered, "{host}");
        }
    }
}
