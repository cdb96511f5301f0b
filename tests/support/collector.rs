//! An OpenTelemetry collector of the test's own: it takes OTLP over HTTP, keeps what it gets, and answers as it is told.

use std::collections::VecDeque;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use flate2::read::GzDecoder;
use http::{HeaderMap, StatusCode, Uri};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::proxy::eventually;

/// How a request is answered.
#[derive(Debug, Clone)]
pub enum Answer {
    /// With this status, and `Retry-After` if it is given.
    Status(u16, Option<&'static str>),
    /// It is taken, but for so many.
    Partial(i64, &'static str),
    /// 413, unless it has at most so many spans.
    AtMost(usize),
}

/// One request as it came.
#[derive(Debug, Clone)]
pub struct Posted {
    pub path: String,
    pub headers: HeaderMap,
    /// As it was sent, without compression.
    pub bytes: Vec<u8>,
    pub request: ExportTraceServiceRequest,
    /// It was answered with 200.
    pub taken: bool,
}

/// Gone when dropped.
pub struct TestCollector {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    posted: Mutex<Vec<Posted>>,
    answers: Mutex<VecDeque<Answer>>,
    metrics: Mutex<Vec<ExportMetricsServiceRequest>>,
}

impl TestCollector {
    pub async fn start() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    /// On an address that was taken before.
    pub fn on(listener: TcpListener) -> Self {
        let (address, shared) = (listener.local_addr().unwrap(), Arc::new(Shared::default()));
        let routes = Router::new().fallback(take).with_state(shared.clone());
        let server = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { address, shared, server }
    }

    /// What goes into `endpoint`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next requests are answered so; further ones are taken.
    pub fn answer(&self, answers: &[Answer]) {
        self.shared.answers.lock().unwrap().extend(answers.iter().cloned());
    }

    pub fn posted(&self) -> Vec<Posted> {
        self.shared.posted.lock().unwrap().clone()
    }

    /// The spans of all requests that were taken.
    pub fn spans(&self) -> Vec<Span> {
        let taken = self.posted().into_iter().filter(|posted| posted.taken);
        taken.flat_map(|posted| spans(&posted.request)).collect()
    }

    /// What came to `/v1/metrics`.
    pub fn metrics(&self) -> Vec<ExportMetricsServiceRequest> {
        self.shared.metrics.lock().unwrap().clone()
    }

    pub async fn has(&self, spans: usize) -> Vec<Span> {
        eventually("the spans come", async || self.spans().len() >= spans).await;
        self.spans()
    }
}

impl Drop for TestCollector {
    fn drop(&mut self) {
        self.server.abort();
    }
}

pub fn spans(request: &ExportTraceServiceRequest) -> Vec<Span> {
    let scopes = request.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
    scopes.flat_map(|scope| scope.spans.iter().cloned()).collect()
}

/// An attribute as text.
pub fn attribute(span: &Span, name: &str) -> Option<String> {
    let found = span.attributes.iter().find(|pair| pair.key == name)?;
    Some(match found.value.as_ref()?.value.as_ref()? {
        Any::StringValue(text) => text.clone(),
        Any::IntValue(number) => number.to_string(),
        other => format!("{other:?}"),
    })
}

async fn take(State(shared): State<Arc<Shared>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let mut bytes = body.to_vec();
    if headers.get("content-encoding").is_some_and(|coding| coding == "gzip") {
        bytes.clear();
        GzDecoder::new(&body[..]).read_to_end(&mut bytes).unwrap();
    }
    if uri.path() == "/v1/metrics" {
        shared.metrics.lock().unwrap().push(ExportMetricsServiceRequest::decode(&bytes[..]).unwrap());
        return StatusCode::OK.into_response();
    }
    let request = ExportTraceServiceRequest::decode(&bytes[..]).unwrap();
    let count = spans(&request).len();
    let mut answers = shared.answers.lock().unwrap();
    let answer = match answers.front() {
        // It stays so.
        Some(Answer::AtMost(most)) => {
            if count > *most {
                Some(Answer::Status(413, None))
            } else {
                None
            }
        }
        _ => answers.pop_front(),
    };
    drop(answers);
    let taken = matches!(answer, None | Some(Answer::Partial(..)));
    let path = uri.path().to_owned();
    shared.posted.lock().unwrap().push(Posted { path, headers, bytes, request, taken });
    let reply = |partial_success| {
        let body = ExportTraceServiceResponse { partial_success }.encode_to_vec();
        ([("content-type", "application/x-protobuf")], body).into_response()
    };
    match answer {
        None | Some(Answer::AtMost(_)) => reply(None),
        Some(Answer::Partial(rejected_spans, why)) => {
            reply(Some(ExportTracePartialSuccess { rejected_spans, error_message: why.to_owned() }))
        }
        Some(Answer::Status(status, after)) => {
            let mut response = StatusCode::from_u16(status).unwrap().into_response();
            if let Some(after) = after {
                response.headers_mut().insert("retry-after", after.parse().unwrap());
            }
            response
        }
    }
}
