//! All integration tests, in one program: files by question.

mod clients;
mod command_line;
mod forwarding;
mod support;
