//! Finding a text inside bodies (pure): how texts are compared, and signatures that say in which texts it cannot be.
//!
//! A search finds substrings. Case is ignored where a letter has one other form of its own ([`fold`]). A signature has a bit for
//! each four bytes that stand in a text, so it is some twentieth of it. A text without one of the bits of what is looked for does
//! not have it; what remains is read and compared. So a signature never decides that a text is found.

mod fold;
mod needle;
mod signature;
mod slices;

pub(crate) use fold::fold;
pub(crate) use needle::{NEEDLE_MAX_BYTES, Needle};
pub(crate) use signature::{SEAM_BYTES, Signature};
pub(crate) use slices::{BLOCK_COLUMNS, Columns, ROWS, row_of, sliced, without};
