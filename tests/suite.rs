//! All integration tests, in one program: files by question.

mod collector;
mod delivery;
mod events;
mod forwarding;
mod outage;
mod support;
