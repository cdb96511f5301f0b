//! Signatures side by side: as columns of a table whose rows are their bits. A search reads the few rows of what it looks for.

use super::signature::{BITS, SIGNATURE_BYTES, Signature};

/// The signatures of a block.
pub(crate) const BLOCK_COLUMNS: usize = 256;
/// The bytes of a bit's row.
const WIDTH: usize = BLOCK_COLUMNS / 8;
/// Bits whose rows are stored together: 4,000 bytes, which fit into a page.
const TOGETHER: usize = 125;
/// The stored rows of a block.
pub(crate) const ROWS: usize = BITS / TOGETHER;

/// Some of the columns of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Columns([u8; WIDTH]);

impl Columns {
    /// The first ones.
    pub(crate) fn first(count: usize) -> Self {
        let mut columns = Self([0; WIDTH]);
        (0..count.min(BLOCK_COLUMNS)).for_each(|column| columns.0[column / 8] |= 1 << (column % 8));
        columns
    }

    /// This one.
    pub(crate) fn only(column: usize) -> Self {
        let mut columns = Self([0; WIDTH]);
        columns.0.iter_mut().skip(column / 8).take(1).for_each(|byte| *byte = 1 << (column % 8));
        columns
    }

    /// Keeps those that have this bit. `row`: the stored row with it. A row of another length has none.
    pub(crate) fn keep(&mut self, bit: usize, row: &[u8]) {
        let from = bit % TOGETHER * WIDTH;
        let slice = row.get(from..from + WIDTH).unwrap_or(&[0; WIDTH]);
        self.0.iter_mut().zip(slice).for_each(|(mine, theirs)| *mine &= theirs);
    }

    /// Adds others.
    pub(crate) fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(mine, theirs)| *mine |= theirs);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(|byte| *byte == 0)
    }

    pub(crate) fn has(&self, column: usize) -> bool {
        self.0.get(column / 8).is_some_and(|byte| byte & (1 << (column % 8)) != 0)
    }
}

/// The stored row that a bit is in.
pub(crate) fn row_of(bit: usize) -> usize {
    bit / TOGETHER
}

/// The rows of a block with these signatures.
pub(crate) fn sliced(signatures: &[Signature]) -> Vec<Vec<u8>> {
    let mut rows = vec![vec![0; TOGETHER * WIDTH]; ROWS];
    for (column, signature) in signatures.iter().take(BLOCK_COLUMNS).enumerate() {
        for (at, byte) in signature.as_bytes().iter().enumerate().filter(|(_, byte)| **byte != 0) {
            for bit in (at * 8..at * 8 + 8).filter(|bit| byte & (1 << (bit % 8)) != 0) {
                rows[row_of(bit)][bit % TOGETHER * WIDTH + column / 8] |= 1 << (column % 8);
            }
        }
    }
    rows
}

/// The signatures of a block's rows, of which only these columns. `None`: the rows are damaged.
pub(crate) fn without(rows: &[Vec<u8>], kept: &Columns) -> Option<Vec<Signature>> {
    if rows.len() != ROWS || rows.iter().any(|row| row.len() != TOGETHER * WIDTH) {
        return None;
    }
    let column = |column: usize| {
        let mut bytes = [0; SIGNATURE_BYTES];
        for bit in 0..BITS {
            let slice = rows.get(row_of(bit)).and_then(|row| row.get(bit % TOGETHER * WIDTH + column / 8));
            bytes[bit / 8] |= ((slice.copied().unwrap_or_default() >> (column % 8)) & 1) << (bit % 8);
        }
        Signature::from_bytes(&bytes)
    };
    (0..BLOCK_COLUMNS).filter(|at| kept.has(*at)).map(column).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signatures() -> Vec<Signature> {
        let mut signatures = vec![Signature::default(); 77];
        for (n, signature) in signatures.iter_mut().enumerate() {
            signature.add(format!("the text of number {n} is {}", n * 7_919).as_bytes());
        }
        signatures
    }

    #[test]
    fn a_block_has_the_bits_of_its_signatures() {
        let (signatures, rows) = (signatures(), sliced(&signatures()));
        assert_eq!(rows.len(), ROWS);
        for bit in (0..BITS).step_by(3) {
            let mut columns = Columns::first(signatures.len());
            columns.keep(bit, &rows[row_of(bit)]);
            for (at, signature) in signatures.iter().enumerate() {
                assert_eq!(columns.has(at), signature.has_all(&[bit]), "{bit} {at}");
            }
            assert!(!columns.has(signatures.len()));
        }
        let mut columns = Columns::first(3);
        assert!(!columns.is_empty());
        columns.keep(0, b"short");
        assert!(columns.is_empty());
        columns.add(&Columns::first(2));
        assert!(columns.has(0) && columns.has(1) && !columns.has(2));
    }

    #[test]
    fn columns_are_taken_out_of_a_block() {
        let (signatures, rows) = (signatures(), sliced(&signatures()));
        let mut kept = Columns::first(signatures.len());
        kept.0[0] = 0b1010_0001;
        let left = without(&rows, &kept).unwrap();
        assert_eq!(left.len(), signatures.len() - 5);
        assert_eq!(left[..4], [0, 5, 7, 8].map(|at| signatures[at].clone()));
        assert_eq!(without(&rows[1..], &kept), None);
    }
}
