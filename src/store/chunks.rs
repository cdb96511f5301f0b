//! The texts of bodies, stored once: cut into chunks at places that follow their content, so a text that comes again (an agent
//! resends its whole conversation with each call) is found again, also behind an insertion.
//!
//! A chunk has a number, a keyed hash by which it is found and checked, and its compressed text. Its references are counted
//! apart from the text (`chunk_refs`), because counting changes rows that are read and written often. An event names its chunks
//! by their numbers (`parts`). Long passages that come again are found without cutting them again (`passages`).

mod cut;
mod damage;
mod load;
mod parts;
mod passages;
mod references;
mod salvage;
mod save;
mod sums;
#[cfg(test)]
mod tests;

pub(super) use cut::Hasher;
pub(super) use damage::Damage;
pub(super) use load::{Loader, Unpacker};
pub(super) use parts::{bodies_of, references_of, runs_of, with_text};
pub(super) use salvage::{copy_key, salvage};
pub(super) use save::{Saver, forget};
pub(super) use sums::Sums;
