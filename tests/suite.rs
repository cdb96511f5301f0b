//! All integration tests, in one program: files by question.

mod collector;
mod forwarding;
mod support;
