//! What Unix and Windows do in different ways, under the same names: one folder for each of them. What a function is for stands in
//! the folder for Unix; that for Windows says what is missing there.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
pub(crate) use unix::{child, clock, disk, files, machine, ports, signals, terminal, users};
#[cfg(windows)]
pub(crate) use windows::{child, clock, disk, files, machine, ports, signals, terminal, users};
