//! Where events go in addition to OTAS: the entries of `[[sinks]]`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;
use url::Url;

use crate::secret::Secret;

/// An entry of `[[sinks]]`.
#[derive(Clone, PartialEq)]
pub enum Sink {
    /// Each event as a line of JSON, as OTAS is sent it. `None`: to standard output.
    JsonLines(Option<PathBuf>),
    /// Each event as a span, to an OpenTelemetry collector.
    Otlp(Box<Otlp>),
}

/// A collector that takes OTLP over HTTP.
#[derive(Clone, PartialEq)]
pub struct Otlp {
    /// Where spans are posted.
    pub endpoint: Url,
    /// The section sets the endpoint, not the environment.
    pub(super) own_endpoint: bool,
    /// Header fields that go with each request. Their values may be keys.
    pub headers: Vec<(HeaderName, Secret)>,
    /// The file that they were read from.
    pub headers_file: Option<PathBuf>,
    /// Limit for one request.
    pub timeout: Duration,
    /// Requests are compressed.
    pub gzip: bool,
    /// A further root (PEM) that the collector may be signed by.
    pub certificate: Option<PathBuf>,
    /// The resource that spans come from: `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_SERVICE_NAME`.
    pub resource: BTreeMap<String, String>,
    /// `OTEL_SDK_DISABLED`: it is left out.
    pub disabled: bool,
    /// What spans say.
    pub spans: Spans,
}

/// What an OpenTelemetry collector is sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spans {
    /// Which calls become spans.
    pub only: Only,
    /// The most bytes of each attribute with messages, instructions or tools. `None`: spans hold no content.
    pub content: Option<usize>,
    /// Attributes that some backends still need are added.
    pub compat: bool,
    /// Metrics of model calls are sent as well.
    pub metrics: bool,
}

/// Which calls become spans.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Only {
    /// All.
    #[default]
    All,
    /// Calls to models and tools.
    Llm,
}

const TRACES: &str = "v1/traces";
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

impl Sink {
    /// The name under which the store keeps its position from one start to the next.
    pub fn name(&self) -> String {
        match self {
            Self::JsonLines(None) => "jsonl -".to_owned(),
            Self::JsonLines(Some(path)) => format!("jsonl {}", path.display()),
            Self::Otlp(otlp) => format!("otlp {}", otlp.endpoint),
        }
    }

    /// Whether it writes to standard output.
    pub fn is_stdout(&self) -> bool {
        matches!(self, Self::JsonLines(None))
    }
}

impl Otlp {
    /// A collector at this endpoint, to which `/v1/traces` is added.
    ///
    /// # Errors
    /// When no path can be added to it.
    pub fn at(base: &Url) -> Result<Self, url::ParseError> {
        let mut endpoint = base.clone();
        endpoint
            .path_segments_mut()
            .map_err(|()| url::ParseError::RelativeUrlWithCannotBeABaseBase)?
            .pop_if_empty()
            .extend(TRACES.split('/'));
        Ok(Self {
            endpoint,
            own_endpoint: true,
            headers: Vec::new(),
            headers_file: None,
            timeout: DEFAULT_TIMEOUT,
            gzip: false,
            certificate: None,
            resource: BTreeMap::new(),
            disabled: false,
            spans: Spans::default(),
        })
    }

    /// Where metrics are posted: beside the spans. `None`: the endpoint is not one of OTLP's usual form.
    pub fn metrics_endpoint(&self) -> Option<Url> {
        let mut endpoint = self.endpoint.clone();
        let path = endpoint.path().strip_suffix(TRACES)?.to_owned();
        endpoint.set_path(&format!("{path}v1/metrics"));
        Some(endpoint)
    }
}
