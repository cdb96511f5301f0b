//! What was wrong with an origin's response that reached the agent all the same.

/// Something in a response that breaks the rules of HTTP or TLS, and what was made of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OriginFault {
    /// The TLS connection ended without `close_notify`, and nothing else marks the content's end: it may have been cut off.
    NoCloseNotify,
    /// A `Content-Length` stood beside `Transfer-Encoding`; it was ignored and left out.
    LengthBesideTransferEncoding,
    /// `Transfer-Encoding` was repeated, or named a coding that is none; what is left of it went on.
    TransferEncoding,
    /// An HTTP/1.0 response had a `Transfer-Encoding`; it was followed.
    TransferEncodingInHttp10,
    /// `Content-Length` named the same length more than once, or any length where there is no content; one or none went on.
    ContentLength,
    /// The status line was written oddly (blanks, control characters); it was cleaned.
    StatusLine,
    /// A header line is no valid field; it went on as it was.
    InvalidField,
    /// A header line is no valid field and looks like one that frames content; it was left out.
    InvalidFieldDropped,
    /// Blanks before a colon were removed.
    SpaceBeforeColon,
    /// A field went over more than one line; they were joined.
    FoldedField,
    /// A CR stood in a line; a space went on in its place.
    BareCr,
}

impl OriginFault {
    /// As `metadata.origin_faults` has it.
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
