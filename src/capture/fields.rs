//! Header fields in one flat copy. hyper's header map shares the buffers that the message was read into. Keeping the
//! map until the event is made would keep those buffers, and hyper would need a new one for each message.

use std::fmt;

use http::HeaderMap;

/// The fields of a message, in order. All values of a name are adjacent.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Fields(Vec<u8>);

/// Each field is stored as the length of its name, the length of its value, the name, the value.
const LENGTHS_BYTES: usize = 8;

impl Fields {
    /// Adds a field. `name` is in lower case, as in HTTP/2.
    pub fn push(&mut self, name: &str, value: &[u8]) {
        let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes();
        self.0.extend_from_slice(&length(name.len()));
        self.0.extend_from_slice(&length(value.len()));
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(value);
    }

    /// How many bytes they come to.
    pub fn bytes(&self) -> usize {
        self.0.len()
    }

    /// All fields, in order.
    pub fn iter(&self) -> Iter<'_> {
        Iter(&self.0)
    }

    /// All values of `name` (lower case).
    pub fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.raw().filter(move |(n, _)| *n == name.as_bytes()).map(|(_, value)| value)
    }

    /// The first value of `name` (lower case).
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.raw().find(|(n, _)| *n == name.as_bytes()).map(|(_, value)| value)
    }

    /// All fields, with their names as bytes.
    fn raw(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut rest = &self.0[..];
        std::iter::from_fn(move || next(&mut rest))
    }
}

/// Takes the first field off `fields`: its name and its value.
fn next<'a>(fields: &mut &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    let (name_length, rest) = fields.split_first_chunk::<4>()?;
    let (value_length, rest) = rest.split_first_chunk::<4>()?;
    let (name, rest) = rest.split_at_checked(u32::from_le_bytes(*name_length) as usize)?;
    let (value, rest) = rest.split_at_checked(u32::from_le_bytes(*value_length) as usize)?;
    *fields = rest;
    Some((name, value))
}

/// Names only: values may be secrets.
impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, _)| name)).finish()
    }
}

impl From<&HeaderMap> for Fields {
    fn from(headers: &HeaderMap) -> Self {
        let size: usize = headers.iter().map(|(n, v)| LENGTHS_BYTES + n.as_str().len() + v.len()).sum();
        // Room for a `host` field, which is added for HTTP/2.
        let mut fields = Self(Vec::with_capacity(size + 64));
        for (name, value) in headers {
            fields.push(name.as_str(), value.as_bytes());
        }
        fields
    }
}

/// Iterates over [`Fields`].
#[derive(Clone)]
pub struct Iter<'a>(&'a [u8]);

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a str, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, value) = next(&mut self.0)?;
        // Names are ASCII: they come from a header map.
        Some((std::str::from_utf8(name).unwrap_or_default(), value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_copy_holds_the_same_fields_as_the_map(
            given in prop::collection::vec(("[a-z]{1,12}", prop::collection::vec(0x20u8..0x7f, 0..40)), 0..20)
        ) {
            let map: HeaderMap = given
                .iter()
                .map(|(n, v)| (HeaderName::try_from(n.as_str()).unwrap(), HeaderValue::from_bytes(v).unwrap()))
                .fold(HeaderMap::new(), |mut map, (n, v)| { map.append(n, v); map });
            let fields = Fields::from(&map);
            let copied: Vec<(&str, &[u8])> = fields.iter().collect();
            let held: Vec<(&str, &[u8])> = map.iter().map(|(n, v)| (n.as_str(), v.as_bytes())).collect();
            prop_assert_eq!(copied, held);
            for (name, _) in &given {
                prop_assert_eq!(fields.get(name), map.get(name.as_str()).map(HeaderValue::as_bytes));
                prop_assert_eq!(fields.get_all(name).count(), map.get_all(name.as_str()).iter().count());
            }
        }
    }
}
