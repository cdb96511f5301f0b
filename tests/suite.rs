//! All integration tests, in one program: files by question.

mod forwarding;
mod support;
