//! From what a layer holds to a typed value, or to a sentence that says what was expected.

mod agents;
mod certificates;
mod entry;
mod hosts;
mod queue;
mod redaction;
mod simple;
mod sinks;
mod value;

#[cfg(feature = "nats")]
pub(crate) use queue::is_subject_part;
pub(crate) use simple::listen_address;
pub(super) use value::{Given, Refused, Value, toml_type};
