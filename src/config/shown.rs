//! Values as a report of the settings shows them: as they are written, with secrets masked.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use url::Url;

use super::next_proxy::NextProxy;
use super::sinks::{Only, Sink, Spans};
use super::types::{Agent, ClientCertificate, PinnedCertificate};
use crate::hosts::HostRules;
use crate::redact::{CaptureLevel, Redact};

/// As people write a base URL: without the slash that the `url` crate adds.
pub(super) fn url(url: &Url) -> String {
    url.as_str().trim_end_matches('/').to_owned()
}

pub(super) fn name_of<T: PartialEq + Copy>(names: &[(&'static str, T)], value: T) -> Option<String> {
    names.iter().find(|(_, named)| *named == value).map(|(name, _)| (*name).to_owned())
}

pub(super) fn path(path: &Path) -> String {
    path.display().to_string()
}

pub(super) fn ms(duration: Duration) -> String {
    duration.as_millis().to_string()
}

pub(super) fn addresses(all: &[SocketAddr]) -> String {
    format!("{:?}", all.iter().map(ToString::to_string).collect::<Vec<_>>())
}

/// The URL of a proxy with its password masked.
pub(super) fn next_proxy(proxy: &NextProxy) -> String {
    match (&proxy.credentials, proxy.to_string().split_once("://")) {
        (Some((name, password)), Some((scheme, rest))) => {
            format!("\"{scheme}://{name}:{}@{rest}\"", password.masked())
        }
        _ => format!("\"{proxy}\""),
    }
}

/// Only names: the rest is secret or in files.
pub(super) fn agents(all: &[Agent]) -> String {
    format!("{:?}", all.iter().map(|agent| &agent.name).collect::<Vec<_>>())
}

pub(super) fn client_certificates(all: &[ClientCertificate]) -> String {
    let entries = all.iter().map(|ours| {
        let ClientCertificate { hosts, cert_file, key_file } = ours;
        format!("{{ hosts = {hosts}, cert_file = {cert_file:?}, key_file = {key_file:?} }}")
    });
    format!("[{}]", entries.collect::<Vec<_>>().join(", "))
}

pub(super) fn capture_rules(all: &[(HostRules, CaptureLevel)]) -> String {
    let entries = all.iter().map(|(hosts, level)| {
        let level = name_of(&CaptureLevel::NAMES, *level).unwrap_or_default();
        format!("{{ hosts = {hosts}, capture = {level:?} }}")
    });
    format!("[{}]", entries.collect::<Vec<_>>().join(", "))
}

pub(super) fn patterns(redact: &Redact) -> String {
    let all = redact.patterns.iter().map(|(name, regex)| format!("{name:?}: {:?}", regex.as_str()));
    format!("{{{}}}", all.collect::<Vec<_>>().join(", "))
}

pub(super) fn redact_allow(redact: &Redact) -> String {
    let entries = redact.allow.iter().map(ToString::to_string);
    format!("[{}]", entries.collect::<Vec<_>>().join(", "))
}

pub(super) fn networks(all: &[ipnet::IpNet]) -> String {
    format!("{:?}", all.iter().map(ToString::to_string).collect::<Vec<_>>())
}

pub(super) fn pinned(all: &[PinnedCertificate]) -> String {
    let entries = all.iter().map(|PinnedCertificate { hosts, sha256 }| {
        let digits: String = sha256.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{{ hosts = {hosts}, sha256 = {digits:?} }}")
    });
    format!("[{}]", entries.collect::<Vec<_>>().join(", "))
}

/// What differs from the defaults.
fn spans(spans: &Spans) -> String {
    let only = if spans.only == Only::Llm { ", only = \"llm\"" } else { "" };
    let content = spans.content.map(|max| format!(", content = \"messages\", content_max_bytes = {max}"));
    let compat = if spans.compat { ", compat = true" } else { "" };
    let metrics = if spans.metrics { ", metrics = true" } else { "" };
    format!("{only}{}{compat}{metrics}", content.unwrap_or_default())
}

/// As the settings have them. Header fields are shown by name only.
pub(super) fn sinks(all: &[Sink]) -> String {
    let entry = |sink: &Sink| match sink {
        Sink::JsonLines(path) => {
            format!("{{ type = \"jsonl\", path = {:?} }}", path.as_deref().unwrap_or("-".as_ref()))
        }
        Sink::Otlp(otlp) => {
            let names: Vec<&str> = otlp.headers.iter().map(|(name, _)| name.as_str()).collect();
            let off = if otlp.disabled { " (off: OTEL_SDK_DISABLED)" } else { "" };
            format!(
                "{{ type = \"otlp\", endpoint = \"{}\", headers = {names:?}{} }}{off}",
                otlp.endpoint,
                spans(&otlp.spans)
            )
        }
    };
    format!("[{}]", all.iter().map(entry).collect::<Vec<_>>().join(", "))
}
