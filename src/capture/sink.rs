//! Where finished exchanges go.

use tokio::sync::oneshot;

use super::{Exchange, Reservation};

/// A finished exchange on its way to the reporting path, with the memory that it holds.
pub struct Finished {
    /// The exchange, boxed because it is large and moves often.
    pub exchange: Box<Exchange>,
    /// Released on drop.
    pub reservation: Reservation,
    /// Notified when the event is stored; dropped if it never will be.
    pub stored: Option<oneshot::Sender<()>>,
}

/// Takes finished exchanges. Must not block: it is called from the data path.
pub trait Sink: Send + Sync + 'static {
    /// Takes a finished exchange.
    fn take(&self, finished: Finished);

    /// Whether a call may go out. In strict mode, a call that cannot be recorded may not.
    fn admits(&self) -> bool {
        true
    }

    /// Whether the end of a response is held back until its event is stored.
    fn holds_ends(&self) -> bool {
        false
    }
}
