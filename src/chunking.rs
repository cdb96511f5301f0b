//! Cuts a text where its content says (FastCDC: Xia et al., USENIX ATC 2016). So parts that two texts have in common are cut
//! alike, even if something stands before them.

use fastcdc::v2020::FastCDC;

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

    /// All chunks.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = &'a str> {
        let mut from = 0;
        std::iter::from_fn(move || {
            let chunk = self.chunk(from)?;
            from += chunk.len();
            Some(chunk)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_the_text_and_are_cut_alike_behind_an_insertion() {
        let sizes = ChunkSizes { least: 64, average: 256, most: 1024 };
        let text: String = (0..4_000).map(|n| format!("é{} ", n * n % 1_009)).collect();
        let cut: Vec<_> = Cutter::new(&text, sizes).chunks().collect();
        assert_eq!(cut.concat(), text);
        let inserted = format!("something new {text}");
        let again: Vec<_> = Cutter::new(&inserted, sizes).chunks().collect();
        let found = again.iter().filter(|chunk| cut.contains(chunk)).count();
        assert!(found + 5 > cut.len(), "{found} of {}", cut.len());
    }
}
