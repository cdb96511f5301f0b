//! How the ports beside the data path are served: the admin port and the embedded collector. Whoever connects to them can
//! take neither descriptors from agents nor the port from others: connections, heads, request bodies and stalled
//! responses have limits.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Sleep, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// When there are no descriptors left, waiting a little lets connections end.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(50);

/// What the clients of one port may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Connections at once. One more takes the place of the oldest that has no request under way; if all have one, it is closed.
    pub(crate) connections: usize,
    /// How long a connection may wait for the end of a request's head, idle time between two requests included.
    pub(crate) head: Duration,
    /// How long a request's content may take, and how long a response may find no room.
    pub(crate) content: Duration,
}

/// Serves `router` until `stop`, then waits for requests under way.
pub(crate) async fn serve(listener: TcpListener, router: Router, limits: Limits, stop: CancellationToken) {
    let (places, tasks) = (Arc::new(Places::new(limits.connections)), TaskTracker::new());
    let service = TowerToHyperService::new(router);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "the admin port or the collector cannot accept a connection just now");
                sleep(PAUSE_AFTER_FAILURE).await;
                continue;
            }
        };
        let Some(place) = places.take() else { continue };
        // Without it each small answer may wait for the other side's delayed ACK.
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
    place: Place,
    stop: CancellationToken,
) {
    let service = service_fn(|mut request: Request<Incoming>| {
        let busy = place.busy();
        request.extensions_mut().insert(ConnectInfo(address));
        let answer = router.call(request.map(|body| Body::new(Timely::new(body, limits.content))));
        async move { answer.await.map(|response| response.map(|body| Held { body, _busy: busy })) }
    });
    let io = TokioIo::new(Patient { inner: stream, limit: limits.content, timer: None });
    let mut http1 = http1::Builder::new();
    http1.timer(TokioTimer::new()).header_read_timeout(limits.head);
    let mut serving = pin!(http1.serve_connection(io, service));
    // What becomes of a connection concerns its client alone.
    let _: Result<(), hyper::Error> = tokio::select! {
        served = serving.as_mut() => served,
        () = place.taken.leave.cancelled() => Ok(()),
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
}

/// The places of one port.
struct Places {
    most: usize,
    /// The oldest first.
    taken: Mutex<Vec<Arc<Taken>>>,
}

#[derive(Default)]
struct Taken {
    /// Requests under way.
    busy: AtomicUsize,
    /// Another connection gets the place.
    leave: CancellationToken,
}

/// The place of one connection, given back when it is dropped.
struct Place {
    places: Arc<Places>,
    taken: Arc<Taken>,
}

/// A request is under way. Dropped when its response has gone.
struct Busy(Arc<Taken>);

impl Places {
    fn new(most: usize) -> Self {
        Self { most, taken: Mutex::default() }
    }

    /// A place for one more connection.
    fn take(self: &Arc<Self>) -> Option<Place> {
        let mut all = self.lock();
        if all.len() >= self.most {
            let idle = all.iter().position(|taken| taken.busy.load(Ordering::Acquire) == 0)?;
            all.remove(idle).leave.cancel();
        }
        let taken = Arc::<Taken>::default();
        all.push(taken.clone());
        Some(Place { places: self.clone(), taken })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Taken>>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    fn busy(&self) -> Busy {
        self.taken.busy.fetch_add(1, Ordering::AcqRel);
        Busy(self.taken.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().retain(|taken| !Arc::ptr_eq(taken, &self.taken));
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A request's content, which must end in time.
struct Timely {
    body: Incoming,
    until: Pin<Box<Sleep>>,
}

impl Timely {
    fn new(body: Incoming, limit: Duration) -> Self {
        Self { body, until: Box::pin(sleep(limit)) }
    }
}

impl HttpBody for Timely {
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

/// A response's content, under way until it is dropped.
struct Held {
    body: Body,
    _busy: Busy,
}

impl HttpBody for Held {
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

/// A stream that fails when what is written finds no room for too long.
struct Patient<S> {
    inner: S,
    limit: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
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

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
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

    /// All that comes until the end, whichever way the connection ends.
    async fn rest(mut stream: TcpStream) -> String {
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all).await;
        String::from_utf8_lossy(&all).into_owned()
    }

    #[tokio::test]
    async fn half_a_head_and_an_idle_connection_end_in_time() {
        let (address, _stop) = started(Limits { connections: 9, head: SHORT, content: LONG }).await;
        assert!(!rest(send(address, b"GET / HTTP/1.1\r\nHo").await).await.contains("200"));
        assert!(rest(send(address, b"").await).await.is_empty());
        let kept = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        assert!(rest(send(address, kept).await).await.starts_with("HTTP/1.1 200 OK"));
    }

    #[tokio::test]
    async fn content_that_does_not_come_and_a_response_that_nobody_reads_end_in_time() {
        let (address, stop) = started(Limits { connections: 9, head: LONG, content: SHORT }).await;
        let half = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf";
        assert!(!rest(send(address, half).await).await.contains("200"));
        let _unread = send(address, b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let whole = rest(send(address, WHOLE).await).await;
        assert!(whole.ends_with("ok"), "{whole}");
        stop.cancel();
    }

    #[tokio::test]
    async fn one_more_takes_the_place_of_the_oldest_that_has_no_request() {
        let (address, stop) = started(Limits { connections: 3, head: LONG, content: LONG }).await;
        let never = send(address, b"GET /never HTTP/1.1\r\nHost: a\r\n\r\n").await;
        for _ in 0..5 {
            let half = send(address, b"GET / HTTP/1.1\r\nHo").await;
            let (next, whole) = (send(address, b"GET").await, send(address, WHOLE).await);
            assert!(rest(whole).await.ends_with("ok"));
            // It left for one of those.
            assert_eq!(rest(half).await, "");
            drop(next);
        }
        assert!(never.try_read(&mut [0]).is_err(), "it has a request under way, and waits for its answer");
        stop.cancel();
    }

    #[tokio::test]
    async fn where_all_have_a_request_one_more_is_closed() {
        let places = Arc::new(Places::new(1));
        let first = places.take().unwrap();
        let busy = first.busy();
        assert!(places.take().is_none());
        drop(busy);
        assert!(places.take().is_some() && first.taken.leave.is_cancelled());
        drop(first);
        assert!(places.lock().is_empty());
    }
}
