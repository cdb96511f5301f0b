//! `store info`: what the store holds, and what it takes on the disk.

use std::path::Path;
use std::process::ExitCode;

use serde_json::json;

use super::super::table::cell;
use super::super::{Done, say};
use crate::admin::page::format::{bytes, count};
use crate::config::Flags;
use crate::store::{Inspector, Sizes};

/// Print the size of the store, and what storing bodies once saves
///
/// Bodies of 1 KiB or more are stored as compressed chunks, each once. The command only reads the store, so it may run beside a
/// proxy.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flags: Flags,
}

pub(super) fn run(args: &Args) -> Done {
    let store = Inspector::open(&super::path(&args.flags)?)?;
    let sizes = store.sizes()?;
    if args.json {
        say::json(&format!("{:#}", as_json(store.path(), &sizes)))?;
    } else {
        say::raw(&shown(store.path(), &sizes))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn as_json(path: &Path, of: &Sizes) -> serde_json::Value {
    json!({
        "file": path.display().to_string(),
        "file_bytes": of.file_bytes,
        "log_bytes": of.log_bytes,
        "free_bytes": of.free_bytes,
        "events": of.events,
        "sessions": of.sessions,
        "chunks": of.chunks,
        "logical_bytes": of.logical_bytes,
        "shared_bytes": of.shared_bytes,
        "stored_bytes": of.stored_bytes,
        "search_bytes": of.search_bytes,
    })
}

fn shown(path: &Path, of: &Sizes) -> String {
    let lines = [
        ("file", cell(&path.display().to_string())),
        ("size", format!("{}, {} of it unused", bytes(of.file_bytes), bytes(of.free_bytes))),
        ("log", bytes(of.log_bytes)),
        ("events", count(of.events)),
        ("sessions", count(of.sessions)),
        ("chunks", count(of.chunks)),
        ("bodies", format!("{} in events", bytes(of.logical_bytes))),
        ("shared", format!("{} saved: stored once", bytes(of.shared_bytes))),
        ("stored", format!("{} in compressed chunks{}", bytes(of.stored_bytes), share(of))),
        ("search", format!("{} in the search index, a file of its own", bytes(of.search_bytes))),
    ];
    lines.into_iter().map(|(name, value)| format!("{name:<10}{value}\n")).collect()
}

/// What part of the bodies is stored.
fn share(of: &Sizes) -> String {
    match of.logical_bytes {
        0 => String::new(),
        bodies => format!(", {:.1} % of the bodies", of.stored_bytes as f64 * 100.0 / bodies as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_shown_with_what_is_saved() {
        let sizes = Sizes {
            file_bytes: 300 << 10,
            free_bytes: 32 << 10,
            events: 1_200,
            logical_bytes: 1_000 << 10,
            shared_bytes: 700 << 10,
            stored_bytes: 100 << 10,
            ..Sizes::default()
        };
        let text = shown(Path::new("events.db"), &sizes);
        for words in ["file      events.db\n", "bodies    ", " saved: stored once\n", "10.0 % of the bodies\n"] {
            assert!(text.contains(words), "{words}: {text}");
        }
        assert!(!shown(Path::new("x"), &Sizes::default()).contains('%'));
        assert_eq!(as_json(Path::new("events.db"), &sizes)["stored_bytes"], 100 << 10);
    }
}
