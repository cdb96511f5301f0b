//! All integration tests, in one program: files by question.

mod capture;
mod forwarding;
mod interception;
mod support;
