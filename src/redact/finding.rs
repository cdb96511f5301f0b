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
    /// As a password, in quotes behind so many backslashes: a masked number is not a number any more.
    Quoted(u8, Quote),
    /// The mask alone.
    Mask,
    /// Nothing: the mask stands elsewhere.
    Nothing,
    /// This text.
    Text(Box<Shown>),
}

/// The sign of a quote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quote {
    Single,
    Double,
}

/// A text that is shown in place of a secret. A search can have very many findings and few of these, so that they are kept apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shown(pub(super) String);

impl Show {
    /// This text.
    pub(super) fn text(shown: String) -> Self {
        Self::Text(Box::new(Shown(shown)))
    }

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
