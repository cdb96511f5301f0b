//! An OpenTelemetry collector, over OTLP/HTTP with protobuf. Each event is a span; turns of agents and their calls to tools are
//! spans as well.
//!
//! ```text
//!  feed         events -> spans, each event once
//!    |- call         what is read of an event
//!    |- span         the span of a call: attribute, content (shorten), compat
//!    |- metrics      what is measured of model calls
//!    |- turns        which turn a call belongs to; held: what it keeps of calls; turn_span: the spans of turns and tools
//!    |- ids          of traces and spans
//!  reply        what the collector's answer means
//! ```

mod attribute;
mod call;
mod compat;
mod content;
mod feed;
mod held;
mod ids;
mod metrics;
mod names;
mod reply;
mod shorten;
mod span;
mod turn_span;
mod turns;

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::metrics::v1::{ResourceMetrics, ScopeMetrics};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use parking_lot::Mutex;
use prost::Message;
use reqwest::{Client, redirect};
use tracing::warn;
use url::Url;

use self::feed::{Batch, Feed};
use super::{Sending, Sent, SinkError};
use crate::clock::now_ms;
use crate::config::Otlp;
use crate::deliver::{TransportError, reply::retry_after};
use crate::store::EventRow;
use crate::tls::{OriginTls, system_roots};

/// How often metrics are sent, as in OpenTelemetry's own libraries.
const METRICS_EVERY: Duration = Duration::from_secs(60);
/// Longer answers are cut.
const REPLY_LIMIT_BYTES: usize = 64 << 10;

/// A client of a collector.
pub(super) struct Collector {
    http: Client,
    settings: Otlp,
    fields: HeaderMap,
    resource: Resource,
    feed: Arc<Mutex<Feed>>,
    /// When metrics were last sent, or tried.
    metrics_sent_at: Mutex<Instant>,
}

impl Collector {
    /// `tls` sets which certificates are accepted, unless the settings name the collector's root.
    pub(super) fn new(settings: &Otlp, tls: &rustls::ClientConfig) -> Result<Self, SinkError> {
        let tls = match settings.certificate.as_deref() {
            None => tls.clone(),
            Some(file) => OriginTls::load(system_roots(), Some(file), &[], &[], &[])
                .map_err(SinkError::Certificate)?
                .for_ourselves()
                .clone(),
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
        let feed = Arc::new(Mutex::new(Feed::new(settings.spans, now())));
        let (fields, resource) = (fields(settings), resource(settings));
        let metrics = Mutex::new(Instant::now());
        Ok(Self { http, fields, resource, settings: settings.clone(), feed, metrics_sent_at: metrics })
    }

    /// Takes events, and sends at most so many of those that it has. `may_wait`: calls of sub-agents may wait for their parent.
    pub(super) async fn send(&self, events: &Arc<Vec<EventRow>>, most: usize, may_wait: bool) -> Sending {
        let (taken, last) = (events.clone(), events.last().map_or(0, |last| last.id));
        let converted = self.with_feed(move |feed| {
            feed.take(&taken, now_ms(), may_wait);
            feed.batch(most)
        });
        let Some(Batch { spans, events: count, skipped, up_to }) = converted.await else {
            let sent = Sent::Refused("the conversion to spans failed".to_owned());
            return Sending { sent, events: events.len() as u64, skipped: 0, up_to: last };
        };
        Sending { sent: self.send_spans(spans).await, events: count, skipped, up_to }
    }

    /// Whether the model calls up to this position must be read again before more is sent.
    pub(super) fn lacks(&self, position: i64) -> bool {
        self.feed.lock().lacks(position)
    }

    /// The row after which it takes further events. `None`: some of those that it has are not sent yet.
    pub(super) fn takes_after(&self) -> Option<i64> {
        self.feed.lock().takes_after()
    }

    /// Whether calls wait for others.
    pub(super) fn waits(&self) -> bool {
        self.feed.lock().waits()
    }

    /// Takes the last model calls up to a position, to find the turns that are still open.
    pub(super) async fn recall(&self, calls: Vec<EventRow>, position: i64) {
        self.with_feed(move |feed| feed.recall(&calls, position, now_ms())).await;
    }

    /// Notes that the current batch is done, and all rows up to this one.
    pub(super) fn done(&self, up_to: i64) {
        self.feed.lock().done(up_to);
    }

    /// Sends the spans of turns that are over although no call came, at most so many. `None`: there are none. Otherwise also their
    /// number.
    pub(super) async fn send_late(&self, most: usize) -> Option<(Sent, usize)> {
        let spans = self.feed.lock().late(now_ms(), most);
        let count = spans.len();
        if count == 0 {
            return None;
        }
        let sent = self.send_spans(spans).await;
        let is_done = match &sent {
            Sent::Taken { .. } | Sent::Refused(_) => true,
            Sent::TooLarge(_) => count == 1,
            Sent::Later { .. } => false,
        };
        if is_done {
            self.feed.lock().done_late(count);
        }
        Some((sent, count))
    }

    /// Sends the metrics, if it is time.
    pub(super) async fn send_due_metrics(&self) {
        if self.metrics_sent_at.lock().elapsed() >= METRICS_EVERY {
            self.send_metrics().await;
        }
    }

    /// Sends the metrics, if they have changed. They are cumulative: what fails is in the next ones.
    async fn send_metrics(&self) {
        *self.metrics_sent_at.lock() = Instant::now();
        let metrics = self.feed.lock().metrics(now());
        let Some(endpoint) = self.settings.metrics_endpoint().filter(|_| !metrics.is_empty()) else { return };
        let scope_metrics = vec![ScopeMetrics { scope: Some(scope()), metrics, schema_url: String::new() }];
        let resource = Some(self.resource.clone());
        let resource_metrics = vec![ResourceMetrics { resource, scope_metrics, schema_url: String::new() }];
        let body = ExportMetricsServiceRequest { resource_metrics }.encode_to_vec();
        match self.post(endpoint, self.coded(body)).await {
            Ok(Sent::Taken { .. }) => self.feed.lock().done_metrics(),
            Ok(Sent::Refused(why) | Sent::TooLarge(why) | Sent::Later { why, .. }) => {
                warn!(endpoint = %self.settings.endpoint, why, "the collector takes no metrics");
            }
            Err(error) => warn!(endpoint = %self.settings.endpoint, %error, "the collector takes no metrics"),
        }
    }

    /// Sends the turns that are still open, because the proxy stops.
    pub(super) async fn stop(&self) {
        let spans = self.feed.lock().stop();
        // If it fails, the next process sends them.
        let _ = self.send_spans(spans).await;
        self.send_metrics().await;
    }

    /// Long conversations take milliseconds. `None`: it panicked.
    async fn with_feed<T: Send + 'static>(&self, act: impl FnOnce(&mut Feed) -> T + Send + 'static) -> Option<T> {
        let feed = self.feed.clone();
        tokio::task::spawn_blocking(move || act(&mut feed.lock())).await.ok()
    }

    async fn send_spans(&self, spans: Vec<Span>) -> Sent {
        if spans.is_empty() {
            return Sent::Taken { rejected_spans: 0, said: String::new() };
        }
        match self.post(self.settings.endpoint.clone(), self.body(spans)).await {
            Ok(sent) => sent,
            Err(error) => Sent::Later { why: error.to_string(), after: None },
        }
    }

    fn body(&self, spans: Vec<Span>) -> Vec<u8> {
        let scope_spans = vec![ScopeSpans { scope: Some(scope()), spans, schema_url: String::new() }];
        let resource = Some(self.resource.clone());
        let resource_spans = vec![ResourceSpans { resource, scope_spans, schema_url: String::new() }];
        self.coded(ExportTraceServiceRequest { resource_spans }.encode_to_vec())
    }

    fn coded(&self, body: Vec<u8>) -> Vec<u8> {
        if self.settings.gzip { gzip(&body) } else { body }
    }

    async fn post(&self, endpoint: Url, body: Vec<u8>) -> Result<Sent, TransportError> {
        let request = self.http.post(endpoint).headers(self.fields.clone()).body(body);
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

fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: env!("CARGO_PKG_NAME").to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    }
}

/// Now, in nanoseconds since 1970.
fn now() -> u64 {
    u64::try_from(now_ms()).unwrap_or(0).saturating_mul(1_000_000)
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
