//! The facts of calls to language models, and to the tools of their agents, read off a copy of what passes.

pub mod names;
