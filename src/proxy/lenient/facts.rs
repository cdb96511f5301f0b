//! What hyper does not report of a response's head.

use bytes::Bytes;
use hyper::ext::ReasonPhrase;

use crate::capture::OriginFault;

/// What hyper does not report of a response's head.
#[derive(Debug, Clone, Default)]
pub(in crate::proxy) struct HeadFacts {
    /// The reason phrase, if it is not ASCII (hyper's parser drops such a phrase).
    pub(in crate::proxy) reason: Option<ReasonPhrase>,
    /// Field lines that no header map can hold, with their line ends. The agent gets them as they are.
    pub(in crate::proxy) lines: Bytes,
    /// The content ends with the connection.
    pub(in crate::proxy) is_until_close: bool,
    /// The faults of the head.
    pub(in crate::proxy) faults: Vec<OriginFault>,
}

impl HeadFacts {
    pub(super) fn note(&mut self, fault: OriginFault) {
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }
}
