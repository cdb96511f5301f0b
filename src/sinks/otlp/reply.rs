//! Judges a collector's reply (OTLP 1.x, "OTLP/HTTP Response"). Pure.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;

use crate::sinks::Sent;

/// `google.rpc.Status`, the body of error replies.
#[derive(Clone, PartialEq, Message)]
struct ErrorStatus {
    #[prost(string, tag = "2")]
    message: String,
}

/// The collector's message is cut at this length.
const SAID_CHARS: usize = 200;

/// The result of a batch, from the reply.
pub(super) fn verdict(status: u16, body: &[u8], retry_after: Option<Duration>) -> Sent {
    match status {
        200..=299 => {
            // A 2xx with another body means accepted as well.
            let partial = ExportTraceServiceResponse::decode(body).ok().and_then(|reply| reply.partial_success);
            let partial = partial.unwrap_or_default();
            Sent::Taken {
                rejected_spans: u64::try_from(partial.rejected_spans).unwrap_or(0),
                said: shortened(&partial.error_message),
            }
        }
        413 => Sent::TooLarge(said(status, body)),
        429 | 502..=504 => Sent::Later { why: said(status, body), after: retry_after },
        _ => Sent::Refused(said(status, body)),
    }
}

fn said(status: u16, body: &[u8]) -> String {
    let message = ErrorStatus::decode(body).map(|failure| failure.message).unwrap_or_default();
    match message.is_empty() {
        true => format!("the collector answered {status}"),
        false => format!("the collector answered {status}: {}", shortened(&message)),
    }
}

fn shortened(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(SAID_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;

    use super::*;

    #[test]
    fn a_partial_success_counts_the_rejected_spans() {
        let reply = |rejected_spans, error_message: &str| {
            let error_message = error_message.to_owned();
            let partial_success = Some(ExportTracePartialSuccess { rejected_spans, error_message });
            verdict(200, &ExportTraceServiceResponse { partial_success }.encode_to_vec(), None)
        };
        assert_eq!(reply(3, "too old"), Sent::Taken { rejected_spans: 3, said: "too old".into() });
        assert_eq!(reply(-3, ""), Sent::Taken { rejected_spans: 0, said: String::new() });
        assert_eq!(verdict(202, b"", None), Sent::Taken { rejected_spans: 0, said: String::new() });
        assert_eq!(
            verdict(200, b"{\"partialSuccess\":{}}", None),
            Sent::Taken { rejected_spans: 0, said: String::new() }
        );
    }

    #[test]
    fn only_retryable_replies_are_retried() {
        let after = Some(Duration::from_secs(7));
        for status in [429, 502, 503, 504] {
            assert!(
                matches!(verdict(status, b"", after), Sent::Later { after: told, .. } if told == after),
                "{status}"
            );
        }
        for status in [301, 400, 401, 403, 404, 408, 500, 501] {
            assert!(matches!(verdict(status, b"", after), Sent::Refused(_)), "{status}");
        }
        assert!(matches!(verdict(413, b"", None), Sent::TooLarge(_)));
    }

    #[test]
    fn error_messages_are_cut() {
        let body = ErrorStatus { message: format!("no\u{1b} {}", "é".repeat(1_000)) }.encode_to_vec();
        let Sent::Refused(said) = verdict(400, &body, None) else { panic!() };
        assert!(said.starts_with("the collector answered 400: no é") && said.chars().count() < 240, "{said}");
    }
}
