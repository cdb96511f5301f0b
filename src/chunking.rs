//! Cuts a text where its content says (FastCDC: Xia et al., USENIX ATC 2016). So parts that two texts have in common are cut
//! alike, even if something stands before them.

mod known;

use fastcdc::v2020::FastCDC;

pub(crate) use self::known::KnownParts;

/// The sizes of chunks in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ChunkSizes {
    /// No chunk is smaller, except the last one.
    pub(crate) least: usize,
    /// Most are about this long.
    pub(crate) average: usize,
    /// None is longer by more than a character.
    pub(crate) most: usize,
}

/// Cuts a text into chunks, between two characters.
pub(crate) struct Cutter<'a> {
    text: &'a str,
    cuts: FastCDC<'a>,
}

impl<'a> Cutter<'a> {
    pub(crate) fn new(text: &'a str, sizes: ChunkSizes) -> Self {
        let ChunkSizes { least, average, most } = sizes;
        Self { text, cuts: FastCDC::new(text.as_bytes(), least, average, most) }
    }

    /// The chunk that begins at `from`. It depends on nothing before it. `None`: the text ends there.
    pub(crate) fn chunk(&self, from: usize) -> Option<&'a str> {
        let left = self.text.len().checked_sub(from)?;
        let (_, end) = self.cuts.cut(from, left);
        let end = (end..self.text.len()).find(|at| self.text.is_char_boundary(*at)).unwrap_or(self.text.len());
        self.text.get(from..end).filter(|chunk| !chunk.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks(text: &str, sizes: ChunkSizes) -> Vec<&str> {
        let (cutter, mut from) = (Cutter::new(text, sizes), 0);
        let next = || {
            let chunk = cutter.chunk(from)?;
            from += chunk.len();
            Some(chunk)
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn chunks_are_the_text_and_are_cut_alike_behind_an_insertion() {
        let sizes = ChunkSizes { least: 64, average: 256, most: 1024 };
        let text: String = (0..4_000).map(|n| format!("é{} ", n * n % 1_009)).collect();
        let cut = chunks(&text, sizes);
        assert_eq!(cut.concat(), text);
        let inserted = format!("something new {text}");
        let again = chunks(&inserted, sizes);
        let found = again.iter().filter(|chunk| cut.contains(chunk)).count();
        assert!(found + 5 > cut.len(), "{found} of {}", cut.len());
    }
}
