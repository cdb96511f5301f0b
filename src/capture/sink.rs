//! Where finished exchanges go.

use tokio::sync::oneshot;

use super::{Exchange, Reservation};

/// A finished exchange on its way to the reporting path, with the memory that it holds.
pub struct Finished {
    /// The exchange; boxed, for it is large and changes hands often.
    pub exchange: Box<Exchange>,
    /// Given back to the budget when dropped.
    pub reservation: Reservation,
    /// Told when the event is stored; dropped when it never will be.
    pub stored: Option<oneshot::Sender<()>>,
}

/// Takes finished exchanges. Must not block: it is called from the data path.
pub trait Sink: Send + Sync + 'static {
    /// Takes one.
    fn take(&self, finished: Finished);

    /// Whether a call may go out: where every call must be recorded, one that cannot be may not.
    fn admits(&self) -> bool {
        true
    }

    /// Whether the end of a response is held back until its event is stored.
    fn holds_ends(&self) -> bool {
        false
    }
}
