//! Faults of an origin's response that reached the agent all the same.

/// A violation of HTTP or TLS in a response, and what the proxy did about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OriginFault {
    /// The TLS connection ended without `close_notify`, and nothing else marks the end of the content: it may be
    /// truncated.
    NoCloseNotify,
    /// A `Content-Length` came with a `Transfer-Encoding`; it was ignored and removed.
    LengthBesideTransferEncoding,
    /// `Transfer-Encoding` was repeated or named an invalid coding; the valid part was passed on.
    TransferEncoding,
    /// An HTTP/1.0 response had a `Transfer-Encoding`; it was applied.
    TransferEncodingInHttp10,
    /// `Content-Length` named the same length more than once, or any length where there is no content; one or none was
    /// passed on.
    ContentLength,
    /// The status line had extra blanks or control characters; it was cleaned.
    StatusLine,
    /// A header line is not a valid field; it was passed on unchanged.
    InvalidField,
    /// A header line is not a valid field and looks like one that frames content; it was removed.
    InvalidFieldDropped,
    /// Blanks before a colon were removed.
    SpaceBeforeColon,
    /// A field spanned several lines; they were joined.
    FoldedField,
    /// A line contained a bare CR; it was replaced by a space.
    BareCr,
}

impl OriginFault {
    /// Its name in `metadata.origin_faults`.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoCloseNotify => "no_close_notify",
            Self::LengthBesideTransferEncoding => "length_beside_transfer_encoding",
            Self::TransferEncoding => "transfer_encoding",
            Self::TransferEncodingInHttp10 => "transfer_encoding_in_http_1_0",
            Self::ContentLength => "content_length",
            Self::StatusLine => "status_line",
            Self::InvalidField => "invalid_field",
            Self::InvalidFieldDropped => "invalid_field_dropped",
            Self::SpaceBeforeColon => "space_before_colon",
            Self::FoldedField => "folded_field",
            Self::BareCr => "bare_cr",
        }
    }
}
