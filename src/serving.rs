//! Serves the ports beside the data path: the admin port and the embedded collector. Connections, heads, request bodies and
//! stalled responses are limited, so that clients cannot take descriptors from agents or the port from others.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::ConnectInfo;
use http::Request;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use parking_lot::{Mutex, MutexGuard};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Sleep, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// When descriptors run out, a short wait lets connections end.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(50);

/// Limits for the clients of one port.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Connections at once. A further one replaces the oldest without a request in flight. If all have one, the new connection
    /// is closed.
    pub(crate) connections: usize,
    /// How long a connection may wait for the end of a request's head. This includes idle time between two requests.
    pub(crate) head: Duration,
    /// How long a request's content may take, and how long a stalled response may last.
    pub(crate) content: Duration,
}

/// Serves `router` until `stop`, then waits for requests in flight.
pub(crate) async fn serve(listener: TcpListener, router: Router, limits: Limits, stop: CancellationToken) {
    let (places, tasks) = (Arc::new(Slots::new(limits.connections)), TaskTracker::new());
    let service = TowerToHyperService::new(router);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "the admin port or the collector cannot accept connections at the moment");
                sleep(PAUSE_AFTER_FAILURE).await;
                continue;
            }
        };
        let Some(place) = places.take() else { continue };
        // Otherwise each small answer may wait for the peer's delayed ACK.
        let _ = stream.set_nodelay(true);
        tasks.spawn(connection((stream, address), service.clone(), limits, place, stop.clone()));
    }
    tasks.close();
    tasks.wait().await;
}

async fn connection(
    (stream, address): (TcpStream, SocketAddr),
    router: TowerToHyperService<Router>,
    limits: Limits,
    place: SlotGuard,
    stop: CancellationToken,
) {
    let service = service_fn(|mut request: Request<Incoming>| {
        let busy = place.busy();
        request.extensions_mut().insert(ConnectInfo(address));
        let answer = router.call(request.map(|body| Body::new(TimedRequestBody::new(body, limits.content))));
        async move { answer.await.map(|response| response.map(|body| ResponseInFlight { body, _busy: busy })) }
    });
    let io = TokioIo::new(WriteTimeout { inner: stream, limit: limits.content, timer: None });
    let mut http1 = http1::Builder::new();
    http1.timer(TokioTimer::new()).header_read_timeout(limits.head);
    let mut serving = pin!(http1.serve_connection(io, service));
    // Connection errors concern only the client.
    let _: Result<(), hyper::Error> = tokio::select! {
        served = serving.as_mut() => served,
        () = place.taken.leave.cancelled() => Ok(()),
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
}

/// The connection slots of one port.
struct Slots {
    most: usize,
    /// Oldest first.
    taken: Mutex<Vec<Arc<Slot>>>,
}

#[derive(Default)]
struct Slot {
    /// Requests in flight.
    busy: AtomicUsize,
    /// Another connection gets the slot.
    leave: CancellationToken,
}

/// The slot of one connection. Freed when dropped.
struct SlotGuard {
    slots: Arc<Slots>,
    taken: Arc<Slot>,
}

/// A request in flight, until its response has been sent.
struct RequestGuard(Arc<Slot>);

impl Slots {
    fn new(most: usize) -> Self {
        Self { most, taken: Mutex::default() }
    }

    /// A slot for one more connection.
    fn take(self: &Arc<Self>) -> Option<SlotGuard> {
        let mut all = self.lock();
        if all.len() >= self.most {
            let idle = all.iter().position(|taken| taken.busy.load(Ordering::Acquire) == 0)?;
            all.remove(idle).leave.cancel();
        }
        let taken = Arc::<Slot>::default();
        all.push(taken.clone());
        Some(SlotGuard { slots: self.clone(), taken })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Slot>>> {
        self.taken.lock()
    }
}

impl SlotGuard {
    fn busy(&self) -> RequestGuard {
        self.taken.busy.fetch_add(1, Ordering::AcqRel);
        RequestGuard(self.taken.clone())
    }
}

impl Drop for SlotGuard {
    fn drop(&mut self) {
        self.slots.lock().retain(|taken| !Arc::ptr_eq(taken, &self.taken));
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A request's content, with a time limit.
struct TimedRequestBody {
    body: Incoming,
    until: Pin<Box<Sleep>>,
}

impl TimedRequestBody {
    fn new(body: Incoming, limit: Duration) -> Self {
        Self { body, until: Box::pin(sleep(limit)) }
    }
}

impl HttpBody for TimedRequestBody {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        ready!(self.until.as_mut().poll(cx));
        Poll::Ready(Some(Err("the request's content did not end in time".into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A response's content, in flight until it is dropped.
struct ResponseInFlight {
    body: Body,
    _busy: RequestGuard,
}

impl HttpBody for ResponseInFlight {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream that fails when a write is blocked for too long.
struct WriteTimeout<S> {
    inner: S,
    limit: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<S> WriteTimeout<S> {
    fn in_time<T>(&mut self, written: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.timer = None;
            return written;
        }
        let limit = self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(limit)));
        timer.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteTimeout<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteTimeout<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.in_time(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.in_time(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        self.in_time(flushed, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::{get, post};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);
    const SHORT: Duration = Duration::from_millis(50);
    const WHOLE: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

    async fn started(limits: Limits) -> (SocketAddr, CancellationToken) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let router = Router::new()
            .route("/", get(|| async { "ok" }))
            .route("/", post(|body: Bytes| async move { body }))
            .route("/big", get(|| async { vec![b'x'; 64 << 20] }))
            .route("/never", get(std::future::pending::<&str>));
        tokio::spawn(serve(listener, router, limits, stop.clone()));
        (address, stop)
    }

    async fn send(to: SocketAddr, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(to).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream
    }

    /// Reads everything until the connection ends in any way.
    async fn rest(mut stream: TcpStream) -> String {
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all).await;
        String::from_utf8_lossy(&all).into_owned()
    }

    #[tokio::test]
    async fn an_incomplete_head_and_an_idle_connection_time_out() {
        let (address, _stop) = started(Limits { connections: 9, head: SHORT, content: LONG }).await;
        assert!(!rest(send(address, b"GET / HTTP/1.1\r\nHo").await).await.contains("200"));
        assert!(rest(send(address, b"").await).await.is_empty());
        let kept = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        assert!(rest(send(address, kept).await).await.starts_with("HTTP/1.1 200 OK"));
    }

    #[tokio::test]
    async fn missing_content_and_an_unread_response_time_out() {
        let (address, stop) = started(Limits { connections: 9, head: LONG, content: SHORT }).await;
        let half = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf";
        assert!(!rest(send(address, half).await).await.contains("200"));
        let _unread = send(address, b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let whole = rest(send(address, WHOLE).await).await;
        assert!(whole.ends_with("ok"), "{whole}");
        stop.cancel();
    }

    #[tokio::test]
    async fn a_new_connection_replaces_the_oldest_idle_one() {
        let (address, stop) = started(Limits { connections: 3, head: LONG, content: LONG }).await;
        let never = send(address, b"GET /never HTTP/1.1\r\nHost: a\r\n\r\n").await;
        for _ in 0..5 {
            let half = send(address, b"GET / HTTP/1.1\r\nHo").await;
            let (next, whole) = (send(address, b"GET").await, send(address, WHOLE).await);
            assert!(rest(whole).await.ends_with("ok"));
            // It was closed for one of them.
            assert_eq!(rest(half).await, "");
            drop(next);
        }
        assert!(never.try_read(&mut [0]).is_err(), "its request is in flight");
        stop.cancel();
    }

    #[tokio::test]
    async fn a_new_connection_is_closed_when_all_are_busy() {
        let places = Arc::new(Slots::new(1));
        let first = places.take().unwrap();
        let busy = first.busy();
        assert!(places.take().is_none());
        drop(busy);
        assert!(places.take().is_some() && first.taken.leave.is_cancelled());
        drop(first);
        assert!(places.lock().is_empty());
    }
}
