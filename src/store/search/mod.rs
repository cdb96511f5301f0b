//! The search index: which bodies may have a text.
//!
//! It is derived data in a file of its own beside the store, made by one thread of one process ([`Indexer`]), and removed and
//! made again whenever it does not fit the store. Signatures of chunks (`crate::search`) stand in columns of about 18 KiB of text
//! that was stored one after the other, and 256 full columns are a block. Spans say which chunks the bodies of 128 events have.
//!
//! A search takes what the index lets through, reads it, and compares ([`Matcher`]). What is not in the index yet, or no longer,
//! is read as well. So a search finds the same with any index, or with none; only its time differs.

mod blocks;
mod bodies;
mod build;
mod contents;
mod file;
mod index;
mod matcher;
mod query;
mod ranges;
mod searched;
mod spans;
mod sweep;
#[cfg(test)]
mod tests;

pub use build::{Indexer, IndexerStep, SearchBounds};
pub(super) use file::size_bytes;
pub(super) use query::{attach, attach_patiently};
pub use searched::Searched;
