//! All integration tests, in one program: files by question.

mod collector;
mod delivery;
mod forwarding;
mod support;
