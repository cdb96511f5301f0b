//! What OpenTelemetry's environment variables set for a sink.
//!
//! A section of `[[sinks]]` switches a sink on. The environment alone never does, because agents have such variables for themselves.
//! The variables fill in what a section leaves out, but they belong together: headers for one endpoint (a key, say) are never sent to
//! another. So a section that names its endpoint takes only the time-out, the compression and the resource from them.

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;
use url::Url;

use super::sinks::{Otlp, Sink};
use super::source::Source;
use crate::secret::Secret;

/// What is wrong with a variable.
pub(super) struct Wrong {
    pub(super) source: Source,
    pub(super) message: String,
}

/// Fills in what OpenTelemetry's variables say.
pub(super) fn fill_from_environment(sinks: &mut [Sink], env: &dyn Fn(&str) -> Option<String>) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    for sink in sinks {
        if let Sink::Otlp(otlp) = sink {
            wrong.extend(fill(otlp, env));
        }
    }
    wrong
}

fn fill(otlp: &mut Otlp, env: &dyn Fn(&str) -> Option<String>) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    // For traces alone, or for all signals.
    let first = |names: [&'static str; 2]| names.into_iter().find_map(|name| Some((name, env(name)?)));
    let mut report =
        |name, message: &str| wrong.push(Wrong { source: Source::Environment(name), message: message.to_owned() });
    if !otlp.own_endpoint {
        if let Some((name, text)) = first(["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"]) {
            let whole = name == "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
            match endpoint(&text, whole) {
                Some(url) => otlp.endpoint = url,
                None => report(name, "expected an http or https URL without user name and password"),
            }
        }
        if let Some((name, text)) = first(["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"])
            && text != "http/protobuf"
        {
            report(
                name,
                "expected `http/protobuf`, the only protocol that is supported; or give the section in `[[sinks]]` an `endpoint`",
            );
        }
        if let Some((name, text)) = first(["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"]) {
            match headers(&Secret::new(&text)) {
                // The section's own come first, so they are the ones that count.
                Ok(more) => otlp.headers.extend(more),
                Err(reason) => report(name, &format!("expected `name=value,name=value`: {reason}")),
            }
        }
        if let Some((_, file)) = first(["OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE"]) {
            otlp.certificate = Some(file.into());
        }
    }
    if let Some((name, text)) = first(["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"]) {
        match text.parse().ok().filter(|ms| (1..=86_400_000).contains(ms)) {
            Some(ms) => otlp.timeout = Duration::from_millis(ms),
            None => report(name, "expected milliseconds, from 1 to 86400000"),
        }
    }
    if let Some((name, text)) = first(["OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION"]) {
        match text.as_str() {
            "gzip" => otlp.gzip = true,
            "none" => otlp.gzip = false,
            _ => report(name, "expected `gzip` or `none`"),
        }
    }
    if let Some(text) = env("OTEL_RESOURCE_ATTRIBUTES") {
        match pairs(&text) {
            Some(pairs) => otlp.resource = pairs.into_iter().collect(),
            None => report("OTEL_RESOURCE_ATTRIBUTES", "expected `name=value,name=value`"),
        }
    }
    if let Some(name) = env("OTEL_SERVICE_NAME") {
        otlp.resource.insert("service.name".to_owned(), name);
    }
    otlp.disabled = env("OTEL_SDK_DISABLED").is_some_and(|text| text.eq_ignore_ascii_case("true"));
    wrong
}

/// `whole`: the URL is used as it is, without an added path.
fn endpoint(text: &str, whole: bool) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let fits = matches!(url.scheme(), "http" | "https") && url.username().is_empty() && url.password().is_none();
    match (fits, whole) {
        (false, _) => None,
        (true, true) => Some(url),
        (true, false) => Otlp::at(&url).ok().map(|otlp| otlp.endpoint),
    }
}

pub(super) fn headers(text: &Secret) -> Result<Vec<(HeaderName, Secret)>, &'static str> {
    let field = |(name, value): (String, String)| {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| "a name is not valid for a header field")?;
        HeaderValue::from_str(&value).map_err(|_| "a value is not valid for a header field")?;
        Ok((name, Secret::new(&value)))
    };
    pairs(text.expose()).ok_or("a part of it has no `=`")?.into_iter().map(field).collect()
}

/// Names and values as in W3C Baggage, without properties: percent-encoded values, white space around them left out.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let pair = |part: &str| {
        let (name, value) = part.split_once('=')?;
        Some((name.trim().to_owned(), percent_decode_str(value.trim()).decode_utf8().ok()?.into_owned()))
    };
    parts.map(pair).collect()
}

#[cfg(test)]
#[cfg(feature = "otlp")]
mod tests {
    use super::*;

    fn filled(own: bool, variables: &[(&str, &str)]) -> (Otlp, Vec<String>) {
        let mut otlp = Otlp::at(&Url::parse("http://localhost:4318").unwrap()).unwrap();
        otlp.own_endpoint = own;
        let env =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        let wrong = fill(&mut otlp, &env);
        let problems = wrong.into_iter().map(|wrong| format!("{}: {}", wrong.source, wrong.message)).collect();
        (otlp, problems)
    }

    fn shown(otlp: &Otlp) -> Vec<(&str, &str)> {
        otlp.headers.iter().map(|(name, value)| (name.as_str(), value.expose())).collect()
    }

    #[test]
    fn the_environment_fills_in_what_the_section_leaves_out() {
        let (otlp, wrong) = filled(
            false,
            &[
                ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector.test/base/"),
                ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=a%20b , x-other=c"),
                ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
                ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
                ("OTEL_EXPORTER_OTLP_CERTIFICATE", "ca.pem"),
                ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
                ("OTEL_RESOURCE_ATTRIBUTES", "service.name=x,team=s%C3%BCd"),
                ("OTEL_SERVICE_NAME", "agent"),
            ],
        );
        assert_eq!(wrong, [""; 0]);
        assert_eq!(otlp.endpoint.as_str(), "https://collector.test/base/v1/traces");
        assert_eq!(shown(&otlp), [("x-key", "a b"), ("x-other", "c")]);
        assert_eq!((otlp.timeout.as_millis(), otlp.gzip, otlp.disabled), (2_500, true, false));
        assert_eq!(otlp.certificate.as_deref(), Some("ca.pem".as_ref()));
        assert_eq!(otlp.resource["service.name"], "agent");
        assert_eq!(otlp.resource["team"], "süd");
    }

    #[test]
    fn variables_for_traces_win_and_their_endpoint_is_used_unchanged() {
        let (otlp, _) = filled(
            false,
            &[
                ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://all.test"),
                ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces.test/x"),
                ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "none"),
                ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
                ("OTEL_SDK_DISABLED", "TRUE"),
            ],
        );
        assert_eq!((otlp.endpoint.as_str(), otlp.gzip, otlp.disabled), ("http://traces.test/x", false, true));
    }

    #[test]
    fn keys_for_the_environments_endpoint_never_go_to_the_sections() {
        let (otlp, wrong) = filled(
            true,
            &[
                ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://other.test"),
                ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=secret"),
                ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
                ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ],
        );
        assert_eq!((otlp.endpoint.as_str(), otlp.gzip), ("http://localhost:4318/v1/traces", true));
        assert!(otlp.headers.is_empty() && wrong.is_empty(), "{wrong:?}");
    }

    #[test]
    fn an_unusable_variable_is_named_without_its_value() {
        let (_, wrong) = filled(
            false,
            &[
                ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://user:hunter2@c.test"),
                ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
                ("OTEL_EXPORTER_OTLP_HEADERS", "hunter2"),
                ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
                ("OTEL_EXPORTER_OTLP_COMPRESSION", "zip"),
            ],
        );
        assert_eq!(wrong.len(), 5, "{wrong:?}");
        assert!(wrong.iter().all(|wrong| !wrong.contains("hunter2")), "{wrong:?}");
    }
}
