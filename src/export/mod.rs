//! Exports stored events to formats of other programs. Pure functions.

pub mod curl;
pub mod har;
#[cfg(test)]
mod oracle;
mod shell;
