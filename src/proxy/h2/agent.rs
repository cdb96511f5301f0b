//! The agent's side of a connection. Paths that the library refuses are stored until their request is routed.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, ReadBuf};
use tokio_util::io::poll_read_buf;

use super::frames::Frames;
use crate::proxy::passing::passes_writes;
use crate::proxy::strict::{Verbatim, must_bypass};

/// How much is read at once.
const READ_BYTES: usize = 16 << 10;
/// The most stored paths of a connection. One more path is left to the library, which refuses it.
const PATHS_MAX: usize = 1024;
/// The most bytes of stored paths of a connection.
const PATHS_MAX_BYTES: usize = 4 << 20;

/// The paths of one connection, by their stand-ins.
#[derive(Clone, Default)]
pub(in crate::proxy) struct BypassedPaths(Arc<Mutex<Paths>>);

#[derive(Default)]
struct Paths {
    written: HashMap<String, Bytes>,
    bytes: usize,
}

impl BypassedPaths {
    /// Takes the original path of the request whose stand-in is `path`.
    pub(in crate::proxy) fn take(&self, path: &str) -> Option<Verbatim> {
        let mut paths = self.0.lock();
        let written = paths.written.remove(path)?;
        paths.bytes -= written.len();
        Some(Verbatim::new(written, Bytes::new()))
    }

    fn keep(&self, written: &[u8]) -> Option<Vec<u8>> {
        let mut paths = self.0.lock();
        if !must_bypass(written) || paths.written.len() >= PATHS_MAX || paths.bytes + written.len() > PATHS_MAX_BYTES
        {
            return None;
        }
        let stand_in = format!("/{}", uuid::Uuid::new_v4().simple());
        paths.bytes += written.len();
        paths.written.insert(stand_in.clone(), Bytes::copy_from_slice(written));
        Some(stand_in.into_bytes())
    }
}

/// The stream that an agent speaks HTTP/2 on.
pub(in crate::proxy) struct AgentH2<S> {
    inner: S,
    frames: Frames,
    bypassed: BypassedPaths,
    /// Bytes received, but not passed on yet.
    held: BytesMut,
    /// How many of the first bytes of `held` may be passed on.
    cleared: usize,
}

impl<S> AgentH2<S> {
    pub(in crate::proxy) fn new(inner: S) -> (Self, BypassedPaths) {
        let bypassed = BypassedPaths::default();
        let frames = Frames::of_client();
        (Self { inner, frames, bypassed: bypassed.clone(), held: BytesMut::new(), cleared: 0 }, bypassed)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for AgentH2<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.cleared > 0 {
                let bytes = this.cleared.min(out.remaining());
                out.put_slice(&this.held[..bytes]);
                this.held.advance(bytes);
                this.cleared -= bytes;
                return Poll::Ready(Ok(()));
            }
            this.held.reserve(READ_BYTES);
            if ready!(poll_read_buf(Pin::new(&mut this.inner), cx, &mut this.held))? == 0 {
                // The library gets the rest of an incomplete frame.
                this.cleared = this.held.len();
                if this.cleared == 0 {
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            let bypassed = &this.bypassed;
            this.cleared = this.frames.advance(&mut this.held, |path| bypassed.keep(path));
        }
    }
}

passes_writes!(AgentH2);
