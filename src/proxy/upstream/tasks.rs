//! The tasks that read and write upstream connections. They hold exchanges too, so a stopping proxy must be able to end
//! them; that costs something for each connection, and nothing for each request on it.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::task::{AbortHandle, JoinSet};

/// All of them. Clones are handles on the same ones.
#[derive(Clone, Default)]
pub struct Tasks(Arc<Mutex<JoinSet<()>>>);

impl Tasks {
    /// Runs `task` until it ends, or all are ended.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        let mut tasks = self.0.lock();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task)
    }

    /// Ends all.
    pub(crate) fn end_all(&self) {
        self.0.lock().abort_all();
    }
}

/// hyper runs the streams of an HTTP/2 connection by this. A stream that waits for the origin's window would not notice
/// by itself that its connection is to end.
impl<F: Future<Output: Send> + Send + 'static> hyper::rt::Executor<F> for Tasks {
    fn execute(&self, stream: F) {
        self.spawn(async move {
            stream.await;
        });
    }
}
