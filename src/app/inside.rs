//! The listeners inside the network namespace of a run's command.

use std::sync::Arc;

use tokio::net::TcpListener;

use super::App;
use super::error::{AppError, step};
use super::ports::adopt;
use crate::netns::{self, Inside, RefusedCounter};
use crate::proxy::{self, Door};

impl App {
    /// Serves the namespace of a run's command, too. Returns what tells how many packets the namespace has refused.
    ///
    /// # Errors
    /// When its sockets cannot be used.
    pub fn serve_inside(&self, inside: Inside) -> Result<RefusedCounter, AppError> {
        let Inside { proxy, redirected, names, diag, refused } = inside;
        self.shared.admission.peers.look_inside(diag);
        self.listen(adopt("the namespace's proxy", proxy)?, Door::ProxyInside);
        for listener in redirected {
            self.listen(adopt("the namespace's connections", listener)?, Door::RedirectedInside);
        }
        for names in names {
            netns::serve_dns(&self.shared, names)
                .map_err(|error| step("answer questions for names in the namespace".to_owned(), error))?;
        }
        Ok(refused)
    }

    fn listen(&self, listener: TcpListener, door: Door) {
        self.shared.lifecycle.tasks.spawn(proxy::listen(self.shared.clone(), Arc::new(listener), door));
    }
}
