//! `[[sinks]]`

use super::super::shown::sinks;
use super::key::{Key, Kind, put};
use super::part::part;

pub(super) const KEYS: &[Key] = &[Key::new(
    "sinks",
    Kind::Section,
    "Where else events go, in addition to OTAS or (`otas.deliver = false`) instead of it: one section for each. Each has its \
     position in the store, and continues there after a restart. A new one begins with the next event. An event may arrive \
     twice. `\"jsonl\"`: each event as OTAS gets it, one per line, appended to a file that only its owner can read and that is \
     reopened after rotation; `\"-\"` is standard output (`serve` only, which then reports on standard error). `\"otlp\"`: each call \
     as a span for an OpenTelemetry collector (OTLP over HTTP, protobuf); `/v1/traces` is added to `endpoint`, and `headers_file` \
     holds `name=value,name=value` with percent-encoded values. `only = \"llm\"` sends only calls to models and tools. \
     `content = \"messages\"` adds what was said, at most `content_max_bytes` (65536; from 1024 to 1048576) an attribute; without it \
     spans hold no content. `compat = true` adds attributes that some backends still need. `metrics = true` also sends \
     metrics of model calls to `/v1/metrics`. `docs/sinks.md` describes the spans, and \
     says which `OTEL_*` variables apply.",
    |c, g| put(&mut c.sinks, g.sinks()),
    |c| (!c.sinks.is_empty()).then(|| sinks(&c.sinks)),
    part!(sinks),
)
.live()
.example(
    "[[sinks]]\ntype = \"jsonl\"\npath = \"events.jsonl\"\n\n[[sinks]]\ntype = \"otlp\"\nendpoint = \"http://localhost:4318\"\n\
     headers_file = \"otlp.headers\"\nonly = \"llm\"\ncontent = \"messages\"",
)];
