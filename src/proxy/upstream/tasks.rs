//! The tasks that read and write upstream connections. They hold exchanges, so a stopping proxy must end them. This costs a little for
//! each connection, and nothing for each request.

use std::sync::Arc;

use futures_util::FutureExt as _;
use parking_lot::Mutex;
use tokio::task::{AbortHandle, JoinSet};

/// All these tasks. Clones share them.
#[derive(Clone, Default)]
pub struct Tasks(Arc<Mutex<JoinSet<()>>>);

impl Tasks {
    /// Runs `task` until it ends, or until [`Self::end_all`].
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        let mut tasks = self.0.lock();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task)
    }

    /// Ends all tasks.
    pub(crate) fn end_all(&self) {
        self.0.lock().abort_all();
    }
}

/// hyper runs the streams of an HTTP/2 connection with this. A stream that waits for the origin's window would not notice by itself
/// that its connection must end.
impl<F: Future<Output: Send> + Send + 'static> hyper::rt::Executor<F> for Tasks {
    fn execute(&self, stream: F) {
        // Not an `async` block, which would hold the stream's state twice.
        self.spawn(stream.map(drop));
    }
}
