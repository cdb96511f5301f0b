//! The state of the connection, and why there is none.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_nats::{ClientError, ConnectError, ConnectErrorKind, ConnectOptions, Event, rustls};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::in_words;

/// The state of the connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Link {
    /// How often it was made.
    pub(crate) connects: u64,
    /// Whether it stands.
    pub(crate) is_up: bool,
    /// Why there is none, or the last refusal by the server, such as a missing permission. A new connection clears it.
    pub(crate) refusal: Option<String>,
}

/// Follows the events of a client.
pub(super) struct Follower {
    told: watch::Sender<Link>,
    /// For an attempt of our own: the client's events tell only the kind of a failure ("IO error").
    servers: Vec<String>,
    options: ConnectOptions,
    /// The kind of failure whose cause is known.
    explained: Mutex<Option<String>>,
    explains: AtomicBool,
}

impl Follower {
    pub(super) fn new(servers: &[String], options: ConnectOptions) -> (Arc<Self>, watch::Receiver<Link>) {
        let (told, link) = watch::channel(Link::default());
        let (explained, explains) = (Mutex::default(), AtomicBool::default());
        (Arc::new(Self { told, servers: servers.to_vec(), options, explained, explains }), link)
    }

    pub(super) fn note(self: &Arc<Self>, event: &Event) {
        match event {
            Event::Connected => *self.explained.lock() = None,
            Event::ClientError(error) => self.explain(error),
            _ => {}
        }
        self.told.send_if_modified(|link| {
            match event {
                Event::Connected => *link = Link { connects: link.connects + 1, is_up: true, refusal: None },
                Event::Disconnected | Event::Closed => link.is_up = false,
                // What was missed is asked for again, as after a loss of the connection.
                Event::SlowConsumer(_) => link.connects += 1,
                Event::ServerError(error) => link.refusal = Some(error.to_string()),
                Event::ClientError(_) | Event::LameDuckMode | Event::Draining => return false,
            }
            true
        });
    }

    /// Looks for the cause of a failure to connect, once for each kind.
    fn explain(self: &Arc<Self>, error: &ClientError) {
        let kind = error.to_string();
        if self.explained.lock().as_ref() == Some(&kind) || self.explains.swap(true, Ordering::AcqRel) {
            return;
        }
        let follower = self.clone();
        tokio::spawn(async move {
            let attempt = follower.options.clone().connect(&*follower.servers).await;
            follower.explains.store(false, Ordering::Release);
            let Err(error) = attempt else { return };
            let why = why(&error);
            follower.told.send_if_modified(|link| {
                let is_news = !link.is_up && link.refusal.as_ref() != Some(&why);
                if is_news {
                    *follower.explained.lock() = Some(kind);
                    link.refusal = Some(why);
                }
                is_news
            });
        });
    }
}

/// Why there is no connection, and what to do.
pub(super) fn why(error: &ConnectError) -> String {
    match error.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
            "the server refuses the credentials: check `queue.credentials_file`".to_owned()
        }
        ConnectErrorKind::TimedOut => "it does not answer".to_owned(),
        ConnectErrorKind::Tls => format!("{}: check `queue.ca_file`", in_words(error)),
        _ => match tls_error(error) {
            Some(refused @ rustls::Error::InvalidCertificate(_)) => {
                format!(
                    "its certificate is not accepted: {refused}: check `queue.ca_file`, and the name in `queue.nats_url`"
                )
            }
            Some(other) => format!("TLS failed: {other}: has the server TLS?"),
            None => in_words(error),
        },
    }
}

/// The cause within TLS.
fn tls_error(error: &ConnectError) -> Option<&rustls::Error> {
    let error: &(dyn std::error::Error + 'static) = error;
    std::iter::successors(Some(error), |error| error.source())
        // An I/O error does not count its content among its causes.
        .filter_map(|error| error.downcast_ref::<std::io::Error>()?.get_ref())
        .find_map(|content| content.downcast_ref::<rustls::Error>())
}
