//! Where the elements of some arrays stand in the text of an object. The sieve shows what stands between the elements.

use std::ops::Range;

use super::leads_to;

/// The most elements that are listed of an array.
const ELEMENTS_MAX: usize = 16 << 10;

/// Lists the elements of arrays.
#[derive(Debug, Clone)]
pub(super) struct Elements {
    /// The members whose elements are listed: dotted paths of arrays.
    lists: &'static [&'static str],
    listed: Vec<List>,
    /// The one whose array is being read.
    listing: Option<List>,
}

/// A member of which the elements are listed.
#[derive(Debug, Clone)]
struct List {
    path: &'static str,
    /// Where each element stands: objects, arrays and strings.
    elements: Vec<Range<usize>>,
}

impl Elements {
    /// Those of the arrays at these paths.
    pub(super) fn of(lists: &'static [&'static str]) -> Self {
        Self { lists, listed: Vec::new(), listing: None }
    }

    /// Forgets all that was listed.
    pub(super) fn clear(&mut self) {
        self.listed.clear();
        self.listing = None;
    }

    /// Those of the first path at which an array with elements was listed.
    pub(super) fn first(&self) -> &[Range<usize>] {
        let of = |path: &&str| self.listed.iter().find(|list| list.path == *path && !list.elements.is_empty());
        self.lists.iter().find_map(of).map_or(&[], |list| &list.elements)
    }

    /// Whether an array is being listed.
    pub(super) fn is_listing(&self) -> bool {
        self.listing.is_some()
    }

    /// A member at this path begins: what was listed there and inside it no longer counts.
    pub(super) fn replaced(&mut self, path: &str) {
        self.listed.retain(|list| path != list.path && !leads_to(path, list.path));
    }

    /// An object or array at this path begins, with this byte.
    pub(super) fn begin(&mut self, byte: u8, path: &str) {
        let path = self.lists.iter().find(|listed| byte == b'[' && **listed == path);
        self.listing = path.map(|path| List { path, elements: Vec::new() });
    }

    /// Reads what stands between two elements. `position`: where `text` begins; `next`: where in `text` the next element begins, or
    /// the array ends.
    pub(super) fn between(&mut self, text: &[u8], next: Option<usize>, position: usize) {
        let Some(list) = &mut self.listing else { return };
        let only_commas = text[..next.unwrap_or(text.len())].iter().all(|byte| b" \t\r\n,".contains(byte));
        let begins = next.filter(|next| matches!(text[*next], b'"' | b'{' | b'['));
        if !only_commas || (begins.is_some() && list.elements.len() == ELEMENTS_MAX) {
            self.listing = None;
        } else if let Some(next) = begins {
            let start = position + next;
            list.elements.push(start..start);
        }
    }

    /// The current element ends before this position.
    pub(super) fn element_over(&mut self, end: usize) {
        if let Some(element) = self.listing.as_mut().and_then(|list| list.elements.last_mut()) {
            element.end = end;
        }
    }

    /// The array that is being listed has ended.
    pub(super) fn array_over(&mut self) {
        self.listed.extend(self.listing.take());
    }
}
