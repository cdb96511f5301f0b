//! An OpenTelemetry collector, over OTLP/HTTP with protobuf. Each event is a span.

mod attribute;
mod call;
mod compat;
mod content;
mod ids;
mod names;
mod reply;
mod shorten;
mod span;

use std::io::Write;
use std::sync::Arc;
use std::time::SystemTime;

use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use reqwest::{Client, redirect};

use self::call::Call;
use super::{Sending, Sent, SinkError};
use crate::config::{Otlp, Spans};
use crate::deliver::{TransportError, reply::retry_after};
use crate::store::EventRow;
use crate::tls::OriginTls;

/// Longer answers are cut.
const REPLY_LIMIT_BYTES: usize = 64 << 10;

/// A client of a collector.
pub(super) struct Collector {
    http: Client,
    settings: Otlp,
    fields: HeaderMap,
    resource: Resource,
}

impl Collector {
    /// `tls` sets which certificates are accepted, unless the settings name the collector's root.
    pub(super) fn new(settings: &Otlp, tls: &rustls::ClientConfig) -> Result<Self, SinkError> {
        let tls = match settings.certificate.as_deref() {
            None => tls.clone(),
            Some(file) => {
                OriginTls::load(Some(file), &[], &[], &[]).map_err(SinkError::Certificate)?.for_ourselves().clone()
            }
        };
        let http = Client::builder()
            // This process is itself a proxy, and the keys are for the collector only: no proxy, no redirects.
            .no_proxy()
            .redirect(redirect::Policy::none())
            .tls_backend_preconfigured(tls)
            .timeout(settings.timeout)
            .connect_timeout(settings.timeout / 2)
            .build()
            .map_err(|error| SinkError::Client(settings.endpoint.to_string(), error))?;
        Ok(Self { http, fields: fields(settings), resource: resource(settings), settings: settings.clone() })
    }

    pub(super) async fn send(&self, events: &Arc<Vec<EventRow>>) -> Sending {
        let (events, settings) = (events.clone(), self.settings.spans);
        // Long conversations take milliseconds.
        let spans = tokio::task::spawn_blocking(move || spans(&events, &settings)).await;
        let Ok(Converted { spans, skipped }) = spans else {
            let why = "the conversion to spans failed".to_owned();
            return Sending { sent: Sent::Refused(why), skipped: 0 };
        };
        if spans.is_empty() {
            return Sending { sent: Sent::Taken { refused: 0, said: String::new() }, skipped };
        }
        let sent = match self.post(self.body(spans)).await {
            Ok(sent) => sent,
            Err(error) => Sent::Later { why: error.to_string(), after: None },
        };
        Sending { sent, skipped }
    }

    fn body(&self, spans: Vec<Span>) -> Vec<u8> {
        let scope = InstrumentationScope {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, schema_url: String::new() }];
        let resource = Some(self.resource.clone());
        let resource_spans = vec![ResourceSpans { resource, scope_spans, schema_url: String::new() }];
        let body = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
        if self.settings.gzip { gzip(&body) } else { body }
    }

    async fn post(&self, body: Vec<u8>) -> Result<Sent, TransportError> {
        let request = self.http.post(self.settings.endpoint.clone()).headers(self.fields.clone()).body(body);
        let mut response = request.send().await?;
        let wait = response.headers().get(RETRY_AFTER).map(HeaderValue::as_bytes);
        let wait = wait.and_then(|value| retry_after(value, SystemTime::now()));
        let mut said = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            said.extend_from_slice(&chunk);
            if said.len() > REPLY_LIMIT_BYTES {
                break;
            }
        }
        Ok(reply::verdict(response.status().as_u16(), &said, wait))
    }
}

/// Events as spans.
struct Converted {
    spans: Vec<Span>,
    /// Events that the settings leave out.
    skipped: u64,
}

fn spans(events: &[EventRow], settings: &Spans) -> Converted {
    let calls = events.iter().map(Call::of).filter(|call| call.is_for(settings.only));
    let spans: Vec<Span> = calls.map(|call| span::of(&call, settings)).collect();
    Converted { skipped: (events.len() - spans.len()) as u64, spans }
}

/// The header fields of each request. If a name occurs twice, the first one counts.
fn fields(settings: &Otlp) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for (name, value) in &settings.headers {
        // The settings were validated.
        if let Ok(mut value) = HeaderValue::from_str(value.expose())
            && !fields.contains_key(name)
        {
            value.set_sensitive(true);
            fields.insert(name, value);
        }
    }
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
    fields.insert(USER_AGENT, HeaderValue::from_static(concat!("otas-proxy/", env!("CARGO_PKG_VERSION"))));
    if settings.gzip {
        fields.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    fields
}

/// The resource attributes of all spans.
fn resource(settings: &Otlp) -> Resource {
    let mut resource = settings.resource.clone();
    resource.entry(names::SERVICE_NAME.to_owned()).or_insert_with(|| env!("CARGO_PKG_NAME").to_owned());
    resource.entry(names::SERVICE_VERSION.to_owned()).or_insert_with(|| env!("CARGO_PKG_VERSION").to_owned());
    let attributes =
        resource.iter().map(|(name, value)| attribute::pair(name, Any::StringValue(value.clone()))).collect();
    Resource { attributes, ..Resource::default() }
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    // Writing to a Vec cannot fail.
    let _ = encoder.write_all(body);
    encoder.finish().unwrap_or_default()
}
