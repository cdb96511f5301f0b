//! `TestOtas`: an OTAS as strict as measured, with faults that can be switched on and off.
//!
//! It is the collector behind a layer that injects faults, on a free port of 127.0.0.1. Both services, UASAM and Brain, are at
//! [`TestOtas::url`].

use std::collections::{HashMap, HashSet, VecDeque};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use otas_proxy::collector::{Agent, CollectorOptions, Ledger, StoredEvent, StoredSession, issue_key, routes};
use otas_proxy::secret::Secret;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use uuid::Uuid;

use super::nobody::Nobody;

const LOG_PATH: &str = "/api/v1/backend/log/agent/";
const UASAM_PATHS: &str = "/api/agent/";
const SESSION_PATH: &str = "/api/agent/v1/session/create/";
const KEY_HEADER: &str = "x-otas-agent-key";
const TOKEN_HEADER: &str = "x-otas-agent-session-token";

/// A test's own OTAS. Stops when dropped.
pub struct TestOtas {
    address: SocketAddr,
    project_id: Uuid,
    key: Mutex<Secret>,
    shared: Arc<Shared>,
    server: tokio::sync::Mutex<Listening>,
}

/// The state of its port.
enum Listening {
    Serves(Server),
    Refuses(Nobody),
    /// Only while it changes.
    Neither,
}

impl TestOtas {
    /// Starts one with one project and one agent, named `agent`.
    pub async fn start() -> Self {
        let (project_id, key) = (Uuid::new_v4(), issue_key().unwrap());
        let agent = Agent { key: key.clone(), project_id, name: "agent".to_owned() };
        let ledger = Ledger::open(CollectorOptions { db: None, agents: vec![agent] }).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::over(ledger));
        let server = tokio::sync::Mutex::new(Listening::Serves(Server::start(listener, Arc::clone(&shared))));
        Self { address, project_id, key: Mutex::new(key), shared, server }
    }

    /// The base URL of both services.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The agent's current key.
    pub fn key(&self) -> Secret {
        self.key.lock().unwrap().clone()
    }

    /// The project that the key belongs to.
    pub fn project_id(&self) -> Uuid {
        self.project_id
    }

    /// Adds another agent to the project. Returns its key.
    pub async fn another_agent(&self, name: &str) -> Secret {
        let key = issue_key().unwrap();
        let agent = Agent { key: key.clone(), project_id: self.project_id, name: name.to_owned() };
        self.shared.ledger.register(agent).await.unwrap();
        key
    }

    /// The bodies of the saved events as received, in order of arrival.
    pub async fn events(&self) -> Vec<Value> {
        self.stored_events().await.into_iter().map(|event| event.body).collect()
    }

    /// The saved events with everything stored about them, such as the session.
    pub async fn stored_events(&self) -> Vec<StoredEvent> {
        self.shared.ledger.events(None, usize::MAX).await.unwrap()
    }

    /// The sessions opened so far.
    pub async fn sessions(&self) -> Vec<StoredSession> {
        self.shared.ledger.sessions().await.unwrap()
    }

    /// Opens a session with this key. Returns its token.
    pub async fn session_token(&self, key: &Secret) -> Secret {
        let opening = Request::post(SESSION_PATH).header(KEY_HEADER, key.expose());
        let answer = self.shared.collect(opening.body(Bytes::from_static(b"{}")).unwrap()).await;
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap();
        Secret::new(body["response"]["jwt_token"].as_str().unwrap())
    }

    /// The posts of events that were not answered with 201, in order of the answers.
    pub fn refused(&self) -> Vec<Refused> {
        self.shared.faults().refused.clone()
    }

    /// The number of posts of events that have arrived.
    pub fn posts(&self) -> u64 {
        *self.shared.posts.borrow()
    }

    /// The maximum number of posts in flight so far.
    pub fn most_posts_at_once(&self) -> usize {
        self.shared.faults().under_way.most
    }

    /// The calls to UASAM so far.
    pub fn uasam_calls(&self) -> Vec<UasamCall> {
        self.shared.faults().uasam_calls.clone()
    }

    /// Waits until `n` events are saved, and returns all. Panics after `within`.
    pub async fn events_at_least(&self, n: u64, within: Duration) -> Vec<Value> {
        let mut saved = self.shared.ledger.saved();
        if timeout(within, saved.wait_for(|saved| *saved >= n)).await.is_err() {
            let (saved, posts, refused) = (*saved.borrow(), self.posts(), self.refused());
            panic!("{saved} of {n} events after {within:?} ({posts} posts; refused: {refused:#?})");
        }
        self.events().await
    }

    /// Waits until `n` posts of events have arrived. Panics after `within`.
    pub async fn posts_at_least(&self, n: u64, within: Duration) {
        let mut posts = self.shared.posts.subscribe();
        let waited = timeout(within, posts.wait_for(|posts| *posts >= n)).await;
        assert!(waited.is_ok(), "{} of {n} posts after {within:?}", self.posts());
    }
}

/// The faults.
impl TestOtas {
    /// Ends as by `kill -9`: every connection is reset and the port refuses connections. Saved events stay.
    pub async fn down(&self) {
        let mut listening = self.server.lock().await;
        if let Listening::Serves(server) = std::mem::replace(&mut *listening, Listening::Neither) {
            server.kill().await;
        }
        *listening = Listening::Refuses(Nobody::at(self.address));
    }

    /// Listens again on the same port and works: ends `down`, `hang`, `slow`, `overload`, `answer_all` and `uasam_away`.
    /// Requests that already hang stay so.
    pub async fn up(&self) {
        self.shared.faults().lasting = Lasting::default();
        let mut listening = self.server.lock().await;
        *listening = match std::mem::replace(&mut *listening, Listening::Neither) {
            Listening::Refuses(nobody) => Listening::Serves(Server::start(nobody.listen(), Arc::clone(&self.shared))),
            as_it_was => as_it_was,
        };
    }

    /// Accepts connections and requests, and never answers.
    pub fn hang(&self) {
        self.shared.faults().lasting.hang = true;
    }

    /// Delays the answer to each event by this time.
    pub fn slow(&self, per_event: Duration) {
        self.shared.faults().lasting.slow = per_event;
    }

    /// Fails under load, as [`Overload`] describes.
    pub fn overload(&self, overload: Overload) {
        self.shared.faults().lasting.overload = Some(Arc::new(KeyChecks::new(overload)));
    }

    /// Answers the next `times` posts of events like this, without saving them.
    pub fn answer_next(&self, times: usize, answer: Answer) {
        self.shared.faults().answers.extend(std::iter::repeat_n(answer, times));
    }

    /// Gives every post of an event this answer.
    pub fn answer_all(&self, answer: Answer) {
        self.shared.faults().lasting.answer = Some(answer);
    }

    /// UASAM is unreachable for Brain, which then reports every key as bad.
    pub fn uasam_away(&self) {
        self.shared.faults().lasting.uasam_away = true;
    }

    /// Saves the next `times` events, and resets the connection instead of answering.
    pub fn lose_answers(&self, times: usize) {
        self.shared.faults().lost_answers += times;
    }

    /// Saves the next `times` events, and never answers.
    pub fn withhold_answers(&self, times: usize) {
        self.shared.faults().withheld_answers += times;
    }

    /// Refuses all session tokens issued so far.
    pub async fn expire_tokens(&self) {
        let sessions = self.sessions().await;
        self.shared.faults().expired.extend(sessions.into_iter().map(|session| session.session_id.to_string()));
    }

    /// New session tokens have this lifetime.
    pub fn tokens_live(&self, lifetime: Duration) {
        self.shared.faults().tokens_live = Some(lifetime);
    }

    /// Revokes the agent's key, as issuing a new one does. [`TestOtas::key`] returns the new one.
    pub async fn revoke_key(&self) {
        self.give_key(issue_key().unwrap()).await;
    }

    /// Replaces the agent's key with `key`.
    pub async fn give_key(&self, key: Secret) {
        let agent = Agent { key: key.clone(), project_id: self.project_id, name: "agent".to_owned() };
        self.shared.ledger.register(agent).await.unwrap();
        *self.key.lock().unwrap() = key;
    }
}

/// The measured overload: a limited number of keys is checked at once. A post that waits too long for its check is answered
/// with 401 `invalid_or_expired_agent_key`, however valid its key. Its check still runs, because UASAM does not know that Brain
/// has given up. With more than `max_in_flight` posts, all posts in flight fail this way.
#[derive(Clone, Copy)]
pub struct Overload {
    /// The maximum number of parallel posts that succeed. Measured: 20.
    pub max_in_flight: usize,
    /// Parallel key checks. Measured: 2, one for each core.
    pub workers: usize,
    /// The duration of a key check. Measured: 200 ms.
    pub key_check: Duration,
    /// How long Brain waits for UASAM. Measured: 5 s.
    pub time_out: Duration,
}

impl Overload {
    /// As measured, with all times divided by `faster`.
    pub fn measured(faster: u32) -> Self {
        Self {
            max_in_flight: 20,
            workers: 2,
            key_check: Duration::from_millis(200) / faster,
            time_out: Duration::from_secs(5) / faster,
        }
    }
}

/// A scripted answer.
#[derive(Clone)]
pub struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    /// A status without body and headers.
    pub fn new(status: u16) -> Self {
        Self { status: StatusCode::from_u16(status).unwrap(), headers: HeaderMap::new(), body: String::new() }
    }

    /// With this body.
    pub fn body(mut self, content_type: &str, body: &str) -> Self {
        self.body = body.to_owned();
        self.header("content-type", content_type)
    }

    /// A refusal in OTAS's format.
    pub fn refusal(status: u16, description: &str) -> Self {
        let body = json!({"status": 0, "status_description": description});
        Self::new(status).body("application/json", &body.to_string())
    }

    /// With this header: `retry-after`, `location`.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.insert(HeaderName::try_from(name).unwrap(), HeaderValue::from_str(value).unwrap());
        self
    }
}

impl From<Answer> for Response<Bytes> {
    fn from(Answer { status, headers, body }: Answer) -> Self {
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }
}

/// A post of an event that was not answered with 201.
#[derive(Debug, Clone, PartialEq)]
pub struct Refused {
    /// The status of the answer.
    pub status: u16,
    /// Its `status_description`, or the content type if the answer is not OTAS's JSON.
    pub reason: String,
    /// The posted body.
    pub body: String,
}

/// A call to UASAM.
#[derive(Debug, Clone, PartialEq)]
pub struct UasamCall {
    /// The path that was called.
    pub path: String,
    /// What was sent to it.
    pub body: String,
}

/// The state that survives restarts: stored data and faults.
struct Shared {
    ledger: Ledger,
    collector: TowerToHyperService<Router>,
    faults: Mutex<Faults>,
    posts: watch::Sender<u64>,
}

#[derive(Default)]
struct Faults {
    lasting: Lasting,
    answers: VecDeque<Answer>,
    lost_answers: usize,
    withheld_answers: usize,
    expired: HashSet<String>,
    tokens_live: Option<Duration>,
    /// Tokens that claim a shorter lifetime, and the original tokens.
    short_lived: HashMap<String, ShortLived>,
    refused: Vec<Refused>,
    uasam_calls: Vec<UasamCall>,
    under_way: UnderWay,
}

#[derive(Clone)]
struct ShortLived {
    token: String,
    until: SystemTime,
}

/// Posts of events in flight: now and the maximum.
#[derive(Default)]
struct UnderWay {
    now: usize,
    most: usize,
}

/// How the answer to a saved event is lost.
enum Loss {
    BreakOff,
    Silence,
}

impl Faults {
    fn next_loss(&mut self) -> Option<Loss> {
        if self.lost_answers > 0 {
            self.lost_answers -= 1;
            return Some(Loss::BreakOff);
        }
        if self.withheld_answers > 0 {
            self.withheld_answers -= 1;
            return Some(Loss::Silence);
        }
        None
    }
}

/// Faults that last until `up()`.
#[derive(Clone, Default)]
struct Lasting {
    hang: bool,
    slow: Duration,
    overload: Option<Arc<KeyChecks>>,
    answer: Option<Answer>,
    uasam_away: bool,
}

/// Resets the connection instead of answering.
#[derive(Debug, thiserror::Error)]
#[error("broken off on purpose")]
struct BreakOff;

impl Shared {
    fn over(ledger: Ledger) -> Self {
        let collector = TowerToHyperService::new(routes::router(ledger.clone()));
        Self { ledger, collector, faults: Mutex::default(), posts: watch::Sender::new(0) }
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap()
    }

    async fn answer(&self, peer: SocketAddr, request: Request<Incoming>) -> Result<Response<Body>, BreakOff> {
        let posts_event = request.uri().path() == LOG_PATH && request.method() == http::Method::POST;
        if posts_event {
            self.posts.send_modify(|posts| *posts += 1);
        }
        let lasting = self.faults().lasting.clone();
        if lasting.hang {
            std::future::pending::<()>().await;
        }
        let (mut head, body) = request.into_parts();
        let body = body.collect().await.map_err(|_| BreakOff)?.to_bytes();
        head.extensions.insert(ConnectInfo(peer));
        if posts_event {
            let _ends = self.post_begins();
            return self.answer_event(lasting, Request::from_parts(head, body)).await;
        }
        if head.uri.path().starts_with(UASAM_PATHS) {
            let (path, body) = (head.uri.path().to_owned(), String::from_utf8_lossy(&body).into_owned());
            self.faults().uasam_calls.push(UasamCall { path, body });
            if lasting.uasam_away {
                return Err(BreakOff);
            }
            if let Some(checks) = &lasting.overload {
                checks.check().await;
            }
        }
        let opens_session = head.uri.path() == SESSION_PATH;
        let answer = self.collect(Request::from_parts(head, body)).await;
        let lifetime = self.faults().tokens_live.filter(|_| opens_session);
        Ok(match lifetime {
            Some(lifetime) => self.with_short_lived_token(answer, lifetime).await,
            None => answer,
        })
    }

    /// The answer to opening a session, with a token that claims this lifetime.
    async fn with_short_lived_token(&self, answer: Response<Body>, lifetime: Duration) -> Response<Body> {
        let (mut head, body) = answer.into_parts();
        let mut body: Value = serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap();
        if let Some(token) = body["response"]["jwt_token"].as_str().map(str::to_owned) {
            let mut claims = claims_of(&token).unwrap();
            let until = SystemTime::now() + lifetime;
            let since_1970 = until.duration_since(SystemTime::UNIX_EPOCH).unwrap();
            claims["iat"] = json!(since_1970.as_secs_f64() - lifetime.as_secs_f64());
            claims["exp"] = json!(since_1970.as_secs_f64());
            let shown = format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()));
            body["response"]["jwt_token"] = json!(shown);
            self.faults().short_lived.insert(shown, ShortLived { token, until });
        }
        head.headers.remove(header::CONTENT_LENGTH);
        Response::from_parts(head, body.to_string().into())
    }

    fn post_begins(&self) -> PostEnds<'_> {
        let mut faults = self.faults();
        let under_way = &mut faults.under_way;
        under_way.now += 1;
        under_way.most = under_way.most.max(under_way.now);
        PostEnds(self)
    }

    async fn answer_event(&self, lasting: Lasting, post: Request<Bytes>) -> Result<Response<Body>, BreakOff> {
        let posted = post.body().clone();
        let (answer, body) = match self.fault(&lasting).await {
            Some(answer) => answer.into_parts(),
            None => {
                let (head, body) = self.collect(self.with_its_token(post)).await.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                (head, body)
            }
        };
        if answer.status == StatusCode::CREATED {
            let loss = self.faults().next_loss();
            match loss {
                Some(Loss::BreakOff) => return Err(BreakOff),
                Some(Loss::Silence) => std::future::pending().await,
                None => {}
            }
        } else {
            let reason = reason(&answer.headers, &body);
            let body = String::from_utf8_lossy(&posted).into_owned();
            self.faults().refused.push(Refused { status: answer.status.as_u16(), reason, body });
        }
        Ok(Response::from_parts(answer, body.into()))
    }

    /// Injects the faults that come before the collector. Returns an answer if the request must not reach it.
    async fn fault(&self, lasting: &Lasting) -> Option<Response<Bytes>> {
        let scripted = self.faults().answers.pop_front();
        if let Some(answer) = scripted.or_else(|| lasting.answer.clone()) {
            return Some(answer.into());
        }
        sleep(lasting.slow).await;
        let key_checked = match &lasting.overload {
            _ if lasting.uasam_away => false,
            Some(checks) => checks.in_time().await,
            None => true,
        };
        (!key_checked).then(|| Answer::refusal(401, "invalid_or_expired_agent_key").into())
    }

    /// The post with an original token in place of a shortened one that the collector would not know.
    fn with_its_token(&self, mut post: Request<Bytes>) -> Request<Bytes> {
        let shown = post.headers().get(TOKEN_HEADER).and_then(|token| token.to_str().ok()).unwrap_or_default();
        let session = session_of(shown);
        let short_lived = self.faults().short_lived.get(shown).cloned();
        if let Some(ShortLived { token, until }) = short_lived {
            let token = if SystemTime::now() < until { &token } else { "an.expired.token" };
            post.headers_mut().insert(TOKEN_HEADER, HeaderValue::from_str(token).unwrap());
        }
        if session.is_some_and(|session| self.faults().expired.contains(&session)) {
            post.headers_mut().insert(TOKEN_HEADER, HeaderValue::from_static("an.expired.token"));
        }
        post
    }

    async fn collect(&self, request: Request<Bytes>) -> Response<Body> {
        let answered: Result<_, Infallible> = self.collector.call(request.map(Body::from)).await;
        answered.unwrap()
    }
}

/// Counts a post of an event as in flight until it is dropped.
struct PostEnds<'a>(&'a Shared);

impl Drop for PostEnds<'_> {
    fn drop(&mut self) {
        // A panic in `drop` would hide the original panic.
        if let Ok(mut faults) = self.0.faults.lock() {
            faults.under_way.now -= 1;
        }
    }
}

/// The session in a token, valid or not.
fn session_of(token: &str) -> Option<String> {
    Some(claims_of(token)?["agent_session_id"].as_str()?.to_owned())
}

fn claims_of(token: &str) -> Option<Value> {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    serde_json::from_slice(&claims).ok()
}

fn reason(headers: &HeaderMap, body: &[u8]) -> String {
    let json: Value = serde_json::from_slice(body).unwrap_or_default();
    let content_type = || headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    json["status_description"].as_str().unwrap_or_else(content_type).to_owned()
}

/// UASAM under load, as [`Overload`] describes.
struct KeyChecks {
    limits: Overload,
    workers: Arc<Semaphore>,
    load: Mutex<Load>,
}

#[derive(Default)]
struct Load {
    arrived: u64,
    in_flight: usize,
    /// The posts up to this one will time out.
    late_up_to: u64,
}

impl KeyChecks {
    fn new(limits: Overload) -> Self {
        Self { limits, workers: Arc::new(Semaphore::new(limits.workers)), load: Mutex::default() }
    }

    /// One key check, when its turn comes.
    async fn check(&self) {
        let (workers, takes) = (Arc::clone(&self.workers), self.limits.key_check);
        let check = tokio::spawn(async move {
            let _worker = workers.acquire().await;
            sleep(takes).await;
        });
        check.await.unwrap();
    }

    /// The key check of a post. Brain waits for it only this long.
    async fn in_time(&self) -> bool {
        let deadline = Instant::now() + self.limits.time_out;
        let (number, _leaves) = self.enter();
        let checked = tokio::time::timeout_at(deadline, self.check()).await.is_ok();
        let late = self.load.lock().unwrap().late_up_to >= number;
        if checked && late {
            sleep_until(deadline).await;
        }
        checked && !late
    }

    fn enter(&self) -> (u64, Leaves<'_>) {
        let mut load = self.load.lock().unwrap();
        load.arrived += 1;
        load.in_flight += 1;
        if load.in_flight > self.limits.max_in_flight {
            load.late_up_to = load.arrived;
        }
        (load.arrived, Leaves(&self.load))
    }
}

/// A post in flight, until it is dropped, for example when its sender disconnects.
struct Leaves<'a>(&'a Mutex<Load>);

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        if let Ok(mut load) = self.0.lock() {
            load.in_flight -= 1;
        }
    }
}

/// What `down()` ends: the listener and all connections.
struct Server {
    die: oneshot::Sender<()>,
    dead: JoinHandle<()>,
}

impl Server {
    fn start(listener: TcpListener, shared: Arc<Shared>) -> Self {
        let (die, dying) = oneshot::channel();
        Self { die, dead: tokio::spawn(serve(listener, shared, dying)) }
    }

    async fn kill(self) {
        drop(self.die);
        self.dead.await.unwrap();
    }
}

/// Serves until the other end of `dying` is dropped. Then no socket is open.
async fn serve(listener: TcpListener, shared: Arc<Shared>, mut dying: oneshot::Receiver<()>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut dying => break,
            Some(_) = connections.join_next() => {}
            Ok((stream, peer)) = listener.accept() => {
                connections.spawn(serve_connection(stream, peer, Arc::clone(&shared)));
            }
        }
    }
    drop(listener);
    connections.shutdown().await;
}

async fn serve_connection(stream: TcpStream, peer: SocketAddr, shared: Arc<Shared>) {
    let service = service_fn(|request| shared.answer(peer, request));
    stream.set_nodelay(true).unwrap();
    // An error means that the sender left or a fault reset the connection.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}
