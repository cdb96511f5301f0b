//! What agents did, from the store: the list of their runs, one run as a tree, and what one model call changed against the one
//! before it. It only reads. Conversations are read one after another, and of each only what a tree needs is kept.
//!
//! ```text
//!  list       the runs, from the index alone
//!    |- attribution    which of several runs made a call to another than a model (pure)
//!  read       one run: its calls from the index, then the conversation of each
//!    |- memory    what was read before
//!    |- cache     which calls missed the prompt cache, and why
//!    |- build     the tree: runs (pure)
//!    |- place     where the calls to others than models belong in it
//!  compare    the call before a model call, and what changed
//! ```

mod attribution;
mod build;
mod cache;
mod compare;
mod error;
mod id;
mod json;
mod list;
mod memory;
mod place;
mod read;
mod totals;
mod tree;

pub use self::compare::{Compared, ModelEvent, compare, event, previous};
pub use self::error::ViewError;
pub use self::id::RunId;
pub use self::list::{Listed, find, list};
pub use self::memory::Memory;
pub use self::read::{Limits, read, read_with};
pub use self::totals::Totals;
pub use self::tree::{LeftOut, Miss, ModelCall, Parent, Run, Step, Thread, ToolCall, ToolResult, Turn};
