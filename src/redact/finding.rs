//! What a search finds: a secret in a text, and what is shown in its place.

use std::ops::Range;

use super::names::Kind;

/// A secret in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding<'a> {
    /// Its place in the text, in bytes.
    pub(super) range: Range<usize>,
    /// The id of the rule that found it.
    pub(super) rule: &'a str,
    /// What is shown in its place.
    pub(super) show: Show,
}

/// What is shown in place of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Show {
    /// The mask, the last four characters of a long secret, and the tag.
    Token,
    /// The mask and the tag.
    Password,
    /// The scheme, then the rest as a token.
    Credentials,
    /// As a password, in these quotes: a masked number is not a number any more.
    Quoted(String),
    /// This text.
    Text(String),
}

impl Show {
    /// What is shown for the value of a key.
    pub(super) fn of(kind: Kind) -> Self {
        match kind {
            Kind::Password | Kind::Digits => Self::Password,
            Kind::Credentials => Self::Credentials,
            Kind::Token | Kind::Opaque | Kind::Parameter => Self::Token,
        }
    }
}

/// A mask in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Masked<'a> {
    /// The place of the secret, in bytes.
    pub range: Range<usize>,
    /// The rule that found it.
    pub rule: &'a str,
    /// What is shown in its place.
    pub shown: String,
}

/// Which ends of a text were cut.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Ends {
    /// Something in front of the text was cut off.
    pub(crate) cut_start: bool,
    /// Something behind the text was cut off.
    pub(crate) cut_end: bool,
}

/// The search of a text did not end in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OutOfTime;
