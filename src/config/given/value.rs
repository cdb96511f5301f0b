//! A value as its layer holds it, and what most settings read from it: texts, numbers, switches, lists and tables of texts.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::ops::{Range, RangeInclusive};
use std::path::Path;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

const SWITCH: &str = "true or false";
const TEXTS: &str = "a table of names and texts such as `team = \"search\"`";

/// A value as its layer holds it.
pub(in crate::config) struct Given<'a> {
    pub(in crate::config) value: Value<'a>,
    /// What a relative path resolves against.
    pub(in crate::config) base: &'a Path,
}

/// The forms that layers hold values in.
#[derive(Clone, Copy)]
pub(in crate::config) enum Value<'a> {
    /// In the settings file, with its place.
    Toml(&'a Spanned<DeValue<'a>>),
    /// In a variable or after a flag.
    Text(&'a OsStr),
    /// After a flag that may be repeated.
    List(&'a [String]),
}

/// Why a value cannot be used, without repeating any text of it: it may be a secret in the wrong place.
#[derive(Debug)]
pub(in crate::config) struct Refused {
    pub(in crate::config) message: String,
    /// The part at fault, as bytes of the file. `None`: all of the value.
    pub(in crate::config) span: Option<Range<usize>>,
    /// The key at fault inside a table.
    pub(in crate::config) entry: Option<String>,
}

impl Refused {
    /// A refusal of the whole value.
    pub(in crate::config) fn because(message: String) -> Self {
        Self { message, span: None, entry: None }
    }

    /// Points to this part of the file, unless it points to a smaller one already.
    pub(super) fn at(mut self, span: Range<usize>) -> Self {
        self.span.get_or_insert(span);
        self
    }
}

impl Given<'_> {
    /// True or false.
    pub(in crate::config) fn switch(&self) -> Result<bool, Refused> {
        match self.value {
            Value::Toml(value) => value.get_ref().as_bool().ok_or_else(|| self.wrong_type(SWITCH)),
            Value::Text(_) | Value::List(_) => Err(self.wrong_type(SWITCH)),
        }
    }

    /// A whole number in a range.
    pub(in crate::config) fn number<T: TryFrom<i64>>(&self, range: RangeInclusive<i64>) -> Result<T, Refused> {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        let Value::Toml(value) = self.value else { return Err(self.wrong_type(&expected)) };
        let Some(integer) = value.get_ref().as_integer() else { return Err(self.wrong_type(&expected)) };
        i64::from_str_radix(integer.as_str(), integer.radix())
            .ok()
            .filter(|number| range.contains(number))
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| bad(&expected, "this is out of range"))
    }

    /// One of a few names.
    pub(in crate::config) fn one_of<T: Copy>(&self, names: &[(&str, T)]) -> Result<T, Refused> {
        let quoted: Vec<String> = names.iter().map(|(name, _)| format!("{name:?}")).collect();
        let expected = format!("one of {}", quoted.join(", "));
        let text = self.text(&expected)?;
        names
            .iter()
            .find(|(name, _)| *name == text)
            .map(|(_, value)| *value)
            .ok_or_else(|| bad(&expected, "unknown value"))
    }

    /// Milliseconds in a range.
    pub(in crate::config) fn duration(&self, range_ms: RangeInclusive<i64>) -> Result<Duration, Refused> {
        self.number(range_ms).map(Duration::from_millis)
    }

    /// Whether it is this text.
    pub(in crate::config) fn is_text(&self, text: &str) -> bool {
        matches!(self.value, Value::Toml(value) if value.get_ref().as_str() == Some(text))
    }

    /// A list of texts, each checked.
    pub(in crate::config) fn list<T>(
        &self,
        expected: &str,
        read: impl Fn(&str) -> Result<T, &'static str>,
    ) -> Result<Vec<T>, Refused> {
        let Value::Toml(value) = self.value else { return Err(self.wrong_type(expected)) };
        let items = value.get_ref().as_array().ok_or_else(|| self.wrong_type(expected))?;
        let item = |item: &Spanned<DeValue<'_>>| {
            let at = |reason: &str| Refused { span: Some(item.span()), ..bad(expected, reason) };
            let text = item.get_ref().as_str().ok_or_else(|| at("an entry is not a text in quotes"))?;
            read(text).map_err(at)
        };
        items.iter().map(item).collect()
    }

    /// A table of texts.
    pub(in crate::config) fn texts(&self) -> Result<BTreeMap<String, String>, Refused> {
        let Value::Toml(value) = self.value else { return Err(self.wrong_type(TEXTS)) };
        let table = value.get_ref().as_table().ok_or_else(|| self.wrong_type(TEXTS))?;
        let entry = |(name, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
            let name: &Cow<'_, str> = name.get_ref();
            match value.get_ref().as_str() {
                Some(text) => Ok((name.clone().into_owned(), text.to_owned())),
                None => Err(Refused {
                    message: format!("expected a text in quotes, found {}", toml_type(value.get_ref())),
                    span: Some(value.span()),
                    entry: Some(name.clone().into_owned()),
                }),
            }
        };
        table.iter().map(entry).collect()
    }

    pub(in crate::config) fn text(&self, expected: &str) -> Result<&str, Refused> {
        let text = match self.value {
            Value::Toml(value) => value.get_ref().as_str(),
            Value::Text(text) => match text.to_str() {
                Some(text) => Some(text),
                None => return Err(bad(expected, "it is not valid UTF-8")),
            },
            Value::List(_) => None,
        };
        match text {
            Some("") => Err(bad(expected, "it is empty; to leave it unset, remove it")),
            Some(text) => Ok(text),
            None => Err(self.wrong_type(expected)),
        }
    }

    pub(in crate::config) fn wrong_type(&self, expected: &str) -> Refused {
        let found = match self.value {
            Value::Toml(value) => toml_type(value.get_ref()),
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
        };
        Refused::because(format!("expected {expected}, found {found}"))
    }
}

/// What a TOML value is, with its article.
pub(in crate::config) fn toml_type(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// A value that is not what was expected.
pub(in crate::config) fn bad(expected: &str, reason: &str) -> Refused {
    Refused::because(format!("expected {expected}: {reason}"))
}
