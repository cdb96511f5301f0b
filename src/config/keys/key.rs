//! What is known of one setting: all of it in one place, so that the parser, `proxy.toml`, the reference page and the help of flags agree.

use std::ffi::OsStr;
use std::path::PathBuf;

use super::super::flags::Flags;
use super::super::given::{Given, Refused, Value};
use super::super::types::Config;
use super::part::{Applies, Part};

/// One setting.
pub(in crate::config) struct Key {
    /// Section and name, joined by a dot, as in the settings file.
    pub(in crate::config) name: &'static str,
    /// How its value is written.
    pub(in crate::config) kind: Kind,
    /// One or a few sentences for people, in Markdown.
    pub(in crate::config) meaning: &'static str,
    /// What applies if nothing sets it, in words: for settings without a default value.
    pub(in crate::config) unset: Option<&'static str>,
    /// A value as the settings file writes it, where the default cannot be shown.
    pub(in crate::config) example: Option<&'static str>,
    /// The environment variable that sets it, if one does.
    pub(in crate::config) variable: Option<&'static str>,
    /// The flag that sets it, if one does.
    pub(in crate::config) flag: Option<Flag>,
    /// Checks a given value and puts it into the settings.
    pub(in crate::config) set: fn(&mut Config, &Given<'_>) -> Result<(), Refused>,
    /// The value in force as text, secrets masked. `None`: not set.
    pub(in crate::config) show: fn(&Config) -> Option<String>,
    /// Where the value stands.
    pub(in crate::config) part: Part,
    /// When a change takes effect. Whoever adds a setting that a running proxy takes over says so with [`Key::live`].
    pub(in crate::config) applies: Applies,
}

/// How a value is written in the settings file.
#[derive(Clone, Copy)]
pub(in crate::config) enum Kind {
    /// A text in quotes.
    Text,
    /// As TOML writes it: a switch, a list, a table in one line.
    Plain,
    /// A whole number within limits. A name that ends in `_ms` or `_bytes` states its unit.
    Number {
        /// The smallest that is taken.
        least: i64,
        /// The largest that is taken.
        most: i64,
    },
    /// One of a few texts in quotes.
    Choice(fn() -> Vec<&'static str>),
    /// A section of its own (`[name]`) or several (`[[name]]`): the example holds their lines.
    Section,
}

/// A command-line flag.
pub(in crate::config) struct Flag {
    /// With its dashes.
    pub(in crate::config) name: &'static str,
    /// What it was given, if it was.
    pub(in crate::config) value: fn(&Flags) -> Option<Value<'_>>,
}

/// The settings that stand below one heading of the settings file.
pub(in crate::config) struct Section {
    /// As in the file. For [`Kind::Section`] it is the setting's own name.
    pub(in crate::config) name: &'static str,
    /// In the order of the file.
    pub(in crate::config) keys: &'static [Key],
}

impl Key {
    pub(super) const fn new(
        name: &'static str,
        kind: Kind,
        meaning: &'static str,
        set: fn(&mut Config, &Given<'_>) -> Result<(), Refused>,
        show: fn(&Config) -> Option<String>,
        part: Part,
    ) -> Self {
        let (unset, example, variable, flag, applies) = (None, None, None, None, Applies::AtStart);
        Self { name, kind, meaning, unset, example, variable, flag, set, show, part, applies }
    }

    /// A running proxy takes a change over.
    pub(super) const fn live(mut self) -> Self {
        self.applies = Applies::Live;
        self
    }

    pub(super) const fn unset(mut self, words: &'static str) -> Self {
        self.unset = Some(words);
        self
    }

    pub(super) const fn example(mut self, value: &'static str) -> Self {
        self.example = Some(value);
        self
    }

    pub(super) const fn variable(mut self, name: &'static str) -> Self {
        self.variable = Some(name);
        self
    }

    pub(super) const fn flag(mut self, name: &'static str, value: fn(&Flags) -> Option<Value<'_>>) -> Self {
        self.flag = Some(Flag { name, value });
        self
    }
}

pub(super) fn put<T>(field: &mut T, value: Result<T, Refused>) -> Result<(), Refused> {
    *field = value?;
    Ok(())
}

pub(super) fn text(flag: &Option<String>) -> Option<Value<'_>> {
    flag.as_deref().map(|text| Value::Text(OsStr::new(text)))
}

pub(super) fn file(flag: &Option<PathBuf>) -> Option<Value<'_>> {
    flag.as_deref().map(|path| Value::Text(path.as_os_str()))
}

/// A setting that is true or false: its field, and its meaning.
macro_rules! switch {
    ($section:ident . $field:ident, $meaning:expr) => {
        Key::new(
            concat!(stringify!($section), ".", stringify!($field)),
            Kind::Plain,
            $meaning,
            |c, g| put(&mut c.$section.$field, g.switch()),
            |c| Some(c.$section.$field.to_string()),
            $crate::config::keys::part::part!($section.$field),
        )
    };
}

/// A whole number: its field, its limits, and its meaning.
macro_rules! number {
    ($section:ident . $field:ident, $least:literal ..= $most:expr, $meaning:expr) => {
        number!($section.$field, ($least)..=$most, $meaning)
    };
    ($section:ident . $field:ident, ($least:expr) ..= $most:expr, $meaning:expr) => {
        Key::new(
            concat!(stringify!($section), ".", stringify!($field)),
            Kind::Number { least: $least, most: $most },
            $meaning,
            |c, g| put(&mut c.$section.$field, g.number($least..=$most)),
            |c| Some(c.$section.$field.to_string()),
            $crate::config::keys::part::part!($section.$field),
        )
    };
}

/// A time in milliseconds: its name, its field, its limits, and its meaning.
macro_rules! milliseconds {
    ($name:literal, $section:ident . $field:ident, $least:literal ..= $most:expr, $meaning:expr) => {
        milliseconds!($name, $section.$field, ($least)..=$most, $meaning)
    };
    ($name:literal, $section:ident . $field:ident, ($least:expr) ..= $most:expr, $meaning:expr) => {
        Key::new(
            $name,
            Kind::Number { least: $least, most: $most },
            $meaning,
            |c, g| put(&mut c.$section.$field, g.duration($least..=$most)),
            |c| Some(ms(c.$section.$field)),
            $crate::config::keys::part::part!($section.$field),
        )
    };
}

/// One of a few names: its field, the type that has the names, and its meaning.
macro_rules! choice {
    ($section:ident . $field:ident, $names:ident, $meaning:expr) => {
        Key::new(
            concat!(stringify!($section), ".", stringify!($field)),
            Kind::Choice(|| $names::NAMES.map(|(name, _)| name).to_vec()),
            $meaning,
            |c, g| put(&mut c.$section.$field, g.one_of(&$names::NAMES)),
            |c| name_of(&$names::NAMES, c.$section.$field),
            $crate::config::keys::part::part!($section.$field),
        )
    };
}

pub(super) use {choice, milliseconds, number, switch};
