//! Connections to origins: resolve, connect, TLS, HTTP. They are kept for the next request while they are usable.

mod connection;
mod dial;
mod errors;
mod idle;
mod load;
mod next_proxy;
mod origins;
mod pool;
mod receiving;
mod resolve;
mod responses;
mod restore;
mod settings;
mod target;
mod tasks;
mod tcp;
mod tls_sessions;
mod websockets;

pub(super) use connection::{H2_CONNECTION_WINDOW_BYTES, H2_STREAM_WINDOW_BYTES, Upstream, open};
pub(super) use dial::dial;
pub(super) use errors::{bad_head, caused_by, is_malformed, words};
pub(super) use load::{SHARED_CONTENT_MAX_BYTES, StreamPlace};
pub(super) use next_proxy::{authorization, unauthorized};
pub use origins::Origins;
pub use pool::Pool;
pub use resolve::Resolver;
pub(super) use responses::{ResponseNotes, Responses};
pub(super) use restore::StandIn;
pub(super) use settings::{ENABLE_CONNECT_PROTOCOL, FRAME_HEADER_BYTES, SETTING_BYTES};
pub(super) use target::{Sharer, Target, TlsTarget, Way};
pub use tasks::Tasks;
pub(super) use tcp::{Dialled, OriginStream};
pub use tls_sessions::TlsSessions;
pub use websockets::Websockets;
