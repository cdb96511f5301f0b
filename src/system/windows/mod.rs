//! For Windows.

pub(crate) mod child;
pub(crate) mod clock;
pub(crate) mod disk;
pub(crate) mod files;
pub(crate) mod machine;
pub(crate) mod ports;
pub(crate) mod signals;
pub(crate) mod terminal;
pub(crate) mod users;
