//! What is looked for.

use memchr::memmem::Finder;

use super::fold::{fold, folded_char};
use super::signature::{SEAM_BYTES, bits_of};

/// A longer text is not looked for. No body is cut into pieces so short that one lies whole inside such a text, in any of its
/// forms.
pub(crate) const NEEDLE_MAX_BYTES: usize = 256;
/// So many bits tell nearly as much as all.
const BITS: usize = 24;

/// A text to look for, in the forms that it has in bodies: as it is, as a JSON string, and as one inside another JSON string
/// (the arguments of tools), each also with `\u` escapes.
#[derive(Debug)]
pub(crate) struct Needle {
    forms: Vec<Finder<'static>>,
}

impl Needle {
    /// `None` when the text is empty or longer than [`NEEDLE_MAX_BYTES`].
    pub(crate) fn new(text: &str) -> Option<Self> {
        if !(1..=NEEDLE_MAX_BYTES).contains(&text.len()) {
            return None;
        }
        let (once, ascii) = (in_json(text), in_ascii(&in_json(text)));
        let (twice, ascii_twice) = (in_json(&once), in_json(&ascii));
        let mut forms: Vec<Vec<u8>> = [text, &once, &twice, &ascii, &ascii_twice].into_iter().map(fold).collect();
        let mut seen = Vec::new();
        forms.retain(|form| {
            let is_new = !seen.contains(form);
            seen.push(form.clone());
            is_new
        });
        Some(Self { forms: forms.iter().map(|form| Finder::new(form).into_owned()).collect() })
    }

    /// Whether a folded text has it.
    pub(crate) fn is_in(&self, folded: &[u8]) -> bool {
        self.forms.iter().any(|form| form.find(folded).is_some())
    }

    /// Whether it begins in the first of two folded texts and ends in the second.
    pub(crate) fn is_across(&self, tail: &[u8], head: &[u8]) -> bool {
        let reach = self.reach();
        let tail = tail.get(tail.len().saturating_sub(reach)..).unwrap_or_default();
        let head = head.get(..reach.min(head.len())).unwrap_or_default();
        self.is_in(&[tail, head].concat())
    }

    /// Whether a folded text has the part of it that signatures are asked for, while the rest may stand behind the text.
    pub(crate) fn may_begin_in(&self, tail: &[u8]) -> bool {
        let long = self.forms.iter().map(Finder::needle).filter(|form| form.len() > SEAM_BYTES);
        long.map(beginning).any(|beginning| memchr::memmem::find(tail, beginning).is_some())
    }

    /// The bytes on each side of a seam that matter.
    pub(crate) fn reach(&self) -> usize {
        self.forms.iter().map(|form| form.needle().len()).max().unwrap_or(1).saturating_sub(1)
    }

    /// For each form, the bits that the signature of each text with it has. An empty list says nothing.
    pub(crate) fn bits(&self) -> Vec<Vec<usize>> {
        self.forms.iter().map(|form| some(bits_of(beginning(form.needle())))).collect()
    }

    /// Where a text has it first, in bytes.
    pub(crate) fn place_in(&self, text: &str) -> Option<std::ops::Range<usize>> {
        let folded = fold(text);
        let found = self.forms.iter().filter_map(|form| Some((form.find(&folded)?, form.needle().len())));
        let (at, bytes) = found.min()?;
        let mut places = places(text).skip_while(|(_, folded_at)| *folded_at < at);
        let start = places.next()?.0;
        let end = places.find(|(_, folded_at)| *folded_at >= at + bytes).map_or(text.len(), |(place, _)| place);
        Some(start..end)
    }
}

/// Each character's place in a text, and in the folded text.
fn places(text: &str) -> impl Iterator<Item = (usize, usize)> {
    text.char_indices().scan(0, |folded_at, (at, c)| {
        let place = (at, *folded_at);
        *folded_at += folded_char(c).len_utf8();
        Some(place)
    })
}

/// Of a longer form only the beginning is looked up: wherever a body is cut, it stands in one indexed text.
fn beginning(form: &[u8]) -> &[u8] {
    form.get(..SEAM_BYTES).unwrap_or(form)
}

/// Some of these, from all over the text.
fn some(bits: Vec<usize>) -> Vec<usize> {
    let step = bits.len().div_ceil(BITS).max(1);
    bits.into_iter().step_by(step).collect()
}

/// The inside of a JSON string.
fn in_json(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted.get(1..quoted.len() - 1).unwrap_or_default().to_owned()
}

/// With `\u` escapes in place of everything that is not ASCII.
fn in_ascii(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        match c.is_ascii() {
            true => escaped.push(c),
            false => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| escaped += &format!("\\u{unit:04x}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(needle: &str, text: &str) -> bool {
        Needle::new(needle).unwrap().is_in(&fold(text))
    }

    #[test]
    fn a_text_is_found_in_each_form() {
        assert!(has("No Such File", "error: no such file or directory"));
        for text in [
            r#"say "Grüße""#,
            r#"{"x":"say \"Grüße\""}"#,
            r#"{"x":"{\"y\":\"say \\\"Grüße\\\"\"}"}"#,
            r#"{"x":"say \"Gr\u00FC\u00DFe\""}"#,
        ] {
            assert!(has(r#"say "grüße""#, text), "{text}");
        }
        assert!(has("one\ntwo", r#"{"text":"One\nTwo"}"#));
        assert!(!has("one two", r#"{"text":"One\nTwo"}"#));
        assert!(Needle::new("").is_none() && Needle::new(&"x".repeat(NEEDLE_MAX_BYTES + 1)).is_none());
    }

    #[test]
    fn a_place_is_one_in_the_text_itself() {
        let text = "Straße İSTANBUL: \u{212A}elvin \"quoted\"";
        let place = |needle: &str| Needle::new(needle).unwrap().place_in(text).map(|place| &text[place]);
        assert_eq!(place("istanbul"), None, "İ has no lower-case form of one character");
        assert_eq!(place("STANBUL"), Some("STANBUL"));
        assert_eq!(place("kelvin"), Some("\u{212A}elvin"));
        assert_eq!(place("\"quoted\""), Some("\"quoted\""));
        assert_eq!(place("straße"), Some("Straße"));
    }

    #[test]
    fn a_text_across_a_seam_is_found() {
        let needle = Needle::new("across").unwrap();
        assert!(needle.is_across(b"it goes acr", b"oss the seam"));
        assert!(!needle.is_across(b"it goes acr", b"oos"));
        assert_eq!(needle.reach(), 5);
    }
}
