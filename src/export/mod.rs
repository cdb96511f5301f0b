//! A stored event in other programs' forms: pure functions.

pub mod curl;
pub mod har;
mod shell;
