//! All integration tests, in one program: files by question.

mod capture;
mod clients;
mod collector;
mod command_line;
mod delivery;
mod forwarding;
mod interception;
mod support;
