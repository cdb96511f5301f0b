//! A list of tables, such as `[[agents]]`, each with some names and no others.

use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::value::{Given, Refused, Value, bad};

/// One table of such a list.
pub(in crate::config) struct Entry<'e> {
    table: &'e DeTable<'e>,
    span: Range<usize>,
    base: &'e Path,
    expected: &'e str,
}

impl<'e> Entry<'e> {
    /// Whether it has this name.
    pub(in crate::config) fn has(&self, name: &str) -> bool {
        self.table.get(name).is_some()
    }

    /// The value of this name. A refusal points to it.
    ///
    /// # Errors
    /// Also when the entry does not have the name.
    pub(in crate::config) fn required<T>(
        &self,
        name: &str,
        read: impl FnOnce(Given<'e>) -> Result<T, Refused>,
    ) -> Result<T, Refused> {
        self.optional(name, read)?.ok_or_else(|| bad(self.expected, &format!("an entry has no `{name}`")))
    }

    /// The same for a name that may be left out.
    ///
    /// # Errors
    /// When the value is refused.
    pub(in crate::config) fn optional<T>(
        &self,
        name: &str,
        read: impl FnOnce(Given<'e>) -> Result<T, Refused>,
    ) -> Result<Option<T>, Refused> {
        let Some(value) = self.table.get(name) else { return Ok(None) };
        let read = read(Given { value: Value::Toml(value), base: self.base });
        read.map(Some).map_err(|refused| refused.at(value.span()))
    }
}

impl Given<'_> {
    /// A list of tables, each with some of these names and no others. A refusal without a place of its own points to its entry.
    pub(in crate::config) fn tables<T>(
        &self,
        expected: &str,
        names: &[&str],
        mut read: impl FnMut(&Entry<'_>) -> Result<T, Refused>,
    ) -> Result<Vec<T>, Refused> {
        let Value::Toml(value) = self.value else { return Err(self.wrong_type(expected)) };
        let entries = value.get_ref().as_array().ok_or_else(|| self.wrong_type(expected))?;
        let entry = |entry: &Spanned<DeValue<'_>>| {
            let table = entry.get_ref().as_table();
            let table = table.ok_or_else(|| bad(expected, "an entry is not a table").at(entry.span()))?;
            if let Some((name, _)) = table.iter().find(|(name, _)| !names.contains(&&**name.get_ref())) {
                let known = format!("an entry has {}, and nothing else", names.join(", "));
                return Err(bad(expected, &known).at(name.span()));
            }
            let entry = Entry { table, span: entry.span(), base: self.base, expected };
            read(&entry).map_err(|refused| refused.at(entry.span.clone()))
        };
        entries.iter().map(entry).collect()
    }
}
