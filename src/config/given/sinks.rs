//! `[[sinks]]`: reads the sections.

use std::path::PathBuf;

use http::HeaderName;
use url::Url;

use super::super::key_file::read_secret_file;
use super::super::otel::headers;
use super::super::sinks::{Only, Otlp, Sink, Spans};
use super::entry::Entry;
use super::value::{Given, Refused, bad};
use crate::secret::Secret;

/// Where a collector on the same machine listens.
const DEFAULT_ENDPOINT: &str = "http://localhost:4318";
const SINKS: &str = "a section `[[sinks]]` for each, with `type = \"jsonl\"` or `type = \"otlp\"`";
const NAMES: [&str; 9] =
    ["type", "path", "endpoint", "headers_file", "only", "content", "content_max_bytes", "compat", "metrics"];
/// The most bytes of an attribute with content, unless the section says otherwise. Many backends show longer ones badly.
const DEFAULT_CONTENT_MAX_BYTES: usize = 64 << 10;

/// `type`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    JsonLines,
    Otlp,
}

impl Given<'_> {
    /// The sinks. Reads their files of headers.
    pub(in crate::config) fn sinks(&self) -> Result<Vec<Sink>, Refused> {
        let mut names = Vec::new();
        self.tables(SINKS, &NAMES, |entry| {
            let sink = sink(entry)?;
            if names.contains(&sink.name()) {
                return Err(bad(SINKS, "two entries have the same destination"));
            }
            names.push(sink.name());
            Ok(sink)
        })
    }
}

fn sink(entry: &Entry<'_>) -> Result<Sink, Refused> {
    let kind = |given: Given<'_>| given.one_of(&[("jsonl", Kind::JsonLines), ("otlp", Kind::Otlp)]);
    let kind = entry.required("type", kind)?;
    let others = if kind == Kind::JsonLines { &NAMES[2..] } else { &NAMES[1..2] };
    if let Some(name) = others.iter().find(|name| entry.has(name)) {
        return Err(bad(SINKS, &format!("`{name}` has no meaning with this `type`")));
    }
    match kind {
        Kind::JsonLines => {
            let path = |path: Given<'_>| if path.is_text("-") { Ok(None) } else { path.path().map(Some) };
            let path = entry.optional("path", path)?;
            let path = path.ok_or_else(|| bad(SINKS, "`jsonl` needs a `path`: a file, or \"-\""))?;
            Ok(Sink::JsonLines(path))
        }
        Kind::Otlp if cfg!(not(feature = "otlp")) => {
            Err(bad(SINKS, "`otlp` is not in this build (cargo feature `otlp`)"))
        }
        Kind::Otlp => {
            let named = entry.optional("endpoint", |given| given.url())?;
            let base = named.clone().map_or_else(|| Url::parse(DEFAULT_ENDPOINT), Ok);
            let at = base.and_then(|base| Otlp::at(&base));
            let mut otlp = at.map_err(|_| bad(SINKS, "no path can be added to its `endpoint`"))?;
            otlp.own_endpoint = named.is_some();
            let headers = entry.optional("headers_file", headers_in)?;
            (otlp.headers_file, otlp.headers) =
                headers.map(|(file, headers)| (Some(file), headers)).unwrap_or_default();
            otlp.spans = spans(entry)?;
            Ok(Sink::Otlp(Box::new(otlp)))
        }
    }
}

fn spans(entry: &Entry<'_>) -> Result<Spans, Refused> {
    let only = |given: Given<'_>| given.one_of(&[("all", Only::All), ("llm", Only::Llm)]);
    let has_messages = |given: Given<'_>| given.one_of(&[("none", false), ("messages", true)]);
    let max_bytes = entry.optional("content_max_bytes", |given| given.number(1_024..=1 << 20))?;
    let has_messages = entry.optional("content", has_messages)?.unwrap_or_default();
    if max_bytes.is_some() && !has_messages {
        return Err(bad(SINKS, "`content_max_bytes` needs `content = \"messages\"`"));
    }
    Ok(Spans {
        only: entry.optional("only", only)?.unwrap_or(Only::All),
        content: has_messages.then(|| max_bytes.unwrap_or(DEFAULT_CONTENT_MAX_BYTES)),
        compat: entry.optional("compat", |given| given.switch())?.unwrap_or_default(),
        metrics: entry.optional("metrics", |given| given.switch())?.unwrap_or_default(),
    })
}

fn headers_in(file: Given<'_>) -> Result<(PathBuf, Vec<(HeaderName, Secret)>), Refused> {
    let path = file.path()?;
    let text = read_secret_file(&path, "headers").map_err(Refused::because)?;
    let headers = headers(&text).map_err(|reason| bad("`name=value,name=value`", reason))?;
    Ok((path, headers))
}
