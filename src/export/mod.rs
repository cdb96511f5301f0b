//! Exports stored events to formats of other programs. Pure functions.

pub mod curl;
pub mod har;
mod shell;
