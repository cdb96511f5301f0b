//! All integration tests, in one program: files by question.

mod capture;
mod clients;
mod command_line;
mod forwarding;
mod interception;
mod support;
