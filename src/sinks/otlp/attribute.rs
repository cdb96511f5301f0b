//! Attributes in OpenTelemetry's form. Pure.

use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};

/// An attribute.
pub(super) fn pair(name: &str, value: Any) -> KeyValue {
    KeyValue { key: name.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

/// A text.
#[expect(clippy::unnecessary_wraps, reason = "the added value may be absent")]
pub(super) fn text(value: &str) -> Option<Any> {
    Some(Any::StringValue(value.to_owned()))
}

/// A number. Absent if it is out of range.
pub(super) fn integer(value: u64) -> Option<Any> {
    i64::try_from(value).ok().map(Any::IntValue)
}
