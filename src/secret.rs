//! A value that must never be shown: no `Debug`, no `Display`, no log line.

/// An agent key, a session token or the like. Deliberately has neither `Debug` nor `Display`, so that a struct that
/// holds one cannot be printed by accident either.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    /// Wraps a value; surrounding white space (a file's last newline) is not part of a secret.
    ///
    /// From then on it is masked wherever it turns up (see [`crate::redact::register`]).
    pub fn new(value: &str) -> Self {
        crate::redact::register(value);
        Self(value.trim().into())
    }

    /// Wraps what somebody else says is a secret. It is not registered: whoever can say many would have anything masked.
    pub fn told(value: &str) -> Self {
        Self(value.trim().into())
    }

    /// The value itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What may be shown to people: the last four characters of a value long enough not to be given away by them.
    pub fn masked(&self) -> String {
        match self.0.char_indices().rev().nth(3) {
            Some((at, _)) if self.0.len() >= 20 => format!("****{}", &self.0[at..]),
            _ => "****".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_secrets_show_nothing_and_long_ones_their_last_four_characters() {
        assert_eq!(Secret::new("short").masked(), "****");
        assert_eq!(Secret::new("agent_abcdefgh_ijklmnop1234\n").masked(), "****1234");
        assert_eq!(Secret::new("ééééééééééééééé").masked(), "****éééé");
    }
}
