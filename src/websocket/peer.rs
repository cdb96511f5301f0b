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
