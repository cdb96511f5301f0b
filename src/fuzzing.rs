//! The entry points of the fuzz targets (`fuzz/`). Each asserts properties of one reader for any input. The tests here
//! also repeat every input in `fuzz/regressions/TARGET`.

pub use crate::event::fuzzing::{content_codings, events};
pub use crate::llm::fuzzing::{event_stream, model_call};
pub use crate::proxy::fuzzing::{connect_target, first_bytes, requests, responses, socks_messages};
pub use crate::redact::fuzzing::masking_time;
pub use crate::websocket::fuzzing::websocket;

/// A fuzz target.
pub type Target = fn(&[u8]);

/// All targets by name.
pub const TARGETS: [(&str, Target); 11] = [
    ("connect_target", connect_target),
    ("content_codings", content_codings),
    ("event_stream", event_stream),
    ("events", events),
    ("first_bytes", first_bytes),
    ("masking_time", masking_time),
    ("model_call", model_call),
    ("requests", requests),
    ("responses", responses),
    ("socks_messages", socks_messages),
    ("websocket", websocket),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// A regression is an input that a target found once, or an example to start from.
    #[test]
    fn regressions_stay_fixed() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/regressions");
        for (name, target) in TARGETS {
            let files: Vec<_> =
                std::fs::read_dir(folder.join(name)).unwrap().map(|file| file.unwrap().path()).collect();
            assert!(!files.is_empty(), "{name} has none to begin from");
            for file in files {
                target(&std::fs::read(file).unwrap());
            }
        }
    }
}
