//! Reads content of a message into a buffer of hyper.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::BufMut as _;
use tokio::io::{AsyncRead, ReadBuf};
use tokio_util::io::poll_read_buf;

/// How much is read at once, at most. hyper doubles its buffer while reads fill it, up to 400 KiB for each connection.
const READ_MAX_BYTES: usize = 32 << 10;

/// Reads content into `out`, at most `most_bytes`. Gives how many bytes were read; 0 at the end.
pub(in crate::proxy) fn poll_read_content(
    stream: &mut (impl AsyncRead + Unpin),
    cx: &mut Context<'_>,
    out: &mut ReadBuf<'_>,
    most_bytes: usize,
) -> Poll<io::Result<usize>> {
    poll_read_buf(Pin::new(stream), cx, &mut out.limit(most_bytes.min(READ_MAX_BYTES)))
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    /// What is read at once into so much room.
    async fn read(content: &[u8], room_bytes: usize, most_bytes: usize) -> Vec<u8> {
        let (mut stream, mut buffer) = (content, vec![0; room_bytes]);
        let mut out = ReadBuf::new(&mut buffer);
        let bytes = poll_fn(|cx| poll_read_content(&mut stream, cx, &mut out, most_bytes)).await.unwrap();
        assert_eq!(bytes, out.filled().len());
        out.filled().to_vec()
    }

    #[tokio::test]
    async fn no_more_is_read_than_there_is_than_fits_and_than_is_allowed() {
        let content: Vec<u8> = (0..200_000_u32).map(|n| n as u8).collect();
        for (room, most, expected) in [
            (100, 1_000, 100),
            (1_000, 100, 100),
            (300_000, usize::MAX, READ_MAX_BYTES),
            (READ_MAX_BYTES + 1, READ_MAX_BYTES + 1, READ_MAX_BYTES),
        ] {
            assert_eq!(read(&content, room, most).await, content[..expected]);
        }
        assert_eq!(read(&content[..7], 1_000, 1_000).await, content[..7]);
        assert_eq!(read(b"", 1_000, 1_000).await, b"");
    }
}
