//! Bytes that were received from a stream, but not passed on yet. They take memory only while there are some, because most
//! connections are idle most of the time.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, ReadBuf};
use tokio_util::io::poll_read_buf;

/// How much is read at once: a head with content of usual size, so that both are passed on together. For a larger head, the buffer
/// grows.
pub(in crate::proxy) const READ_BYTES: usize = 16 << 10;

/// Reads more bytes to the end of `held`. Gives how many were read; 0 at the end of the stream.
///
/// # Errors
/// When the stream fails.
pub(in crate::proxy) fn poll_read_held(
    stream: &mut (impl AsyncRead + Unpin),
    cx: &mut Context<'_>,
    held: &mut BytesMut,
) -> Poll<io::Result<usize>> {
    if !held.is_empty() {
        held.reserve(READ_BYTES);
        return poll_read_buf(Pin::new(stream), cx, held);
    }
    *held = BytesMut::new();
    let mut room = [MaybeUninit::uninit(); READ_BYTES];
    let mut read = ReadBuf::uninit(&mut room);
    ready!(Pin::new(stream).poll_read(cx, &mut read))?;
    held.extend_from_slice(read.filled());
    Poll::Ready(Ok(held.len()))
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn bytes_are_added_and_only_bytes_take_memory() {
        let (mut far, mut near) = tokio::io::duplex(2 * READ_BYTES);
        let mut held = BytesMut::new();
        far.write_all(b"GET ").await.unwrap();
        assert_eq!(poll_fn(|cx| poll_read_held(&mut near, cx, &mut held)).await.unwrap(), 4);
        assert!(held.capacity() < READ_BYTES / 8, "{}", held.capacity());
        far.write_all(b"/ HTTP/1.1").await.unwrap();
        assert_eq!(poll_fn(|cx| poll_read_held(&mut near, cx, &mut held)).await.unwrap(), 10);
        assert_eq!(held, "GET / HTTP/1.1");
        held.clear();
        let idle = poll_fn(|cx| Poll::Ready(poll_read_held(&mut near, cx, &mut held))).await;
        assert!(idle.is_pending() && held.capacity() == 0, "{}", held.capacity());
        drop(far);
        assert_eq!(poll_fn(|cx| poll_read_held(&mut near, cx, &mut held)).await.unwrap(), 0);
    }
}
