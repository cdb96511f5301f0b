//! The two sides of a WebSocket, and the frame by which a side closes it.

/// One side of a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// The client; it masks its frames.
    Agent,
    /// The server.
    Origin,
}

/// A Close frame (RFC 6455 section 5.5.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    /// The status code, if it has one.
    pub code: Option<u16>,
    /// The reason, as far as it is text: at most 123 bytes.
    pub reason: String,
}

impl Close {
    /// Whether a Close frame may have this payload: none, or a status code that endpoints may send (RFC 6455 section 7.4, and
    /// IANA's registry of close codes) and a reason in UTF-8.
    pub(super) fn is_valid(payload: &[u8]) -> bool {
        match payload {
            [] => true,
            [first, second, reason @ ..] => {
                let code = u16::from_be_bytes([*first, *second]);
                matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) && std::str::from_utf8(reason).is_ok()
            }
            [_] => false,
        }
    }

    pub(super) fn read(payload: &[u8]) -> Self {
        match payload {
            [first, second, reason @ ..] => Self {
                code: Some(u16::from_be_bytes([*first, *second])),
                reason: String::from_utf8_lossy(reason).into_owned(),
            },
            _ => Self { code: None, reason: String::new() },
        }
    }
}
