//! An origin that answers `/SCHEME/CASE/…` with the bytes of that case, in clear and over TLS.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::cases::{Case, End};
use crate::support::origin::{Certificate, TestCa};

/// The origin.
pub(super) struct Origin {
    plain: SocketAddr,
    tls: SocketAddr,
    requests: Arc<Mutex<BTreeMap<String, usize>>>,
    tasks: [JoinHandle<()>; 2],
}

#[derive(Clone)]
struct Answers {
    cases: Arc<Vec<Case>>,
    requests: Arc<Mutex<BTreeMap<String, usize>>>,
}

impl Origin {
    pub(super) async fn start(ca: &TestCa, cases: Arc<Vec<Case>>) -> Self {
        let requests = Arc::new(Mutex::new(BTreeMap::new()));
        let answers = Answers { cases, requests: requests.clone() };
        let acceptor = TlsAcceptor::from(Arc::new(ca.server(Certificate::Good, &[b"http/1.1"])));
        let (plain, first) = listen(answers.clone(), None).await;
        let (tls, second) = listen(answers, Some(acceptor)).await;
        Self { plain, tls, requests, tasks: [first, second] }
    }

    /// The name and the URL of each call: each case in clear and over TLS.
    pub(super) fn calls(&self, cases: &[Case]) -> Vec<(String, String)> {
        let calls = cases.iter().flat_map(|case| {
            [("http", self.plain), ("https", self.tls)].map(|(scheme, at)| {
                let name = format!("{scheme}/{}", case.name);
                let url = format!("{scheme}://127.0.0.1:{}/{name}", at.port());
                (name, url)
            })
        });
        calls.collect()
    }

    /// How many requests came for each call.
    pub(super) fn requests(&self) -> BTreeMap<String, usize> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn listen(answers: Answers, tls: Option<TlsAcceptor>) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, tls.clone(), answers.clone()));
        }
    });
    (address, task)
}

async fn serve(stream: TcpStream, tls: Option<TlsAcceptor>, answers: Answers) {
    stream.set_nodelay(true).unwrap();
    match tls {
        None => {
            let mut stream = stream;
            converse(&mut stream, &answers).await;
        }
        Some(tls) => {
            let Ok(mut stream) = tls.accept(stream).await else { return };
            let end = converse(&mut stream, &answers).await;
            if end == End::Cut {
                // Only the TCP connection is shut: the client gets no `close_notify`, and no reset either.
                let (mut tcp, _) = stream.into_inner();
                let _ = tcp.shutdown().await;
                let _ = tcp.read_to_end(&mut Vec::new()).await;
            }
        }
    }
}

/// Answers requests until the connection is to end; tells how.
async fn converse(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), answers: &Answers) -> End {
    let mut buffer = Vec::new();
    while let Some(path) = request(stream, &mut buffer).await {
        let name = path.split('/').skip(1).take(2).collect::<Vec<_>>().join("/");
        let case = name.split_once('/').and_then(|(_, name)| answers.cases.iter().find(|case| case.name == name));
        let Some(case) = case else { return End::Close };
        *answers.requests.lock().unwrap().entry(name).or_default() += 1;
        if stream.write_all(&case.bytes).await.is_err() || stream.flush().await.is_err() {
            return End::Close;
        }
        match case.end {
            End::Open => {}
            End::Cut => return End::Cut,
            End::Close => {
                let _ = stream.shutdown().await;
                // What the client still sends must not turn the end into a reset.
                let _ = stream.read_to_end(&mut Vec::new()).await;
                return End::Close;
            }
        }
    }
    End::Close
}

/// Reads a request whose content, if any, has a length; gives its path.
async fn request(stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> Option<String> {
    let head = loop {
        if let Some(at) = memchr::memmem::find(buffer, b"\r\n\r\n") {
            break String::from_utf8_lossy(&buffer[..at + 4]).into_owned();
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let length =
        head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
    let whole = head.len() + length.unwrap_or(0);
    while buffer.len() < whole {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    buffer.drain(..whole);
    head.split(' ').nth(1).map(str::to_owned)
}
