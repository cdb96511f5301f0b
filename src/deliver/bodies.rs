//! The body to post of an event that OTAS refused with its bodies.

use crate::event;

/// Stands in place of a body.
const REMOVED: &str = "[removed: OTAS refused the event with its bodies]";

/// The stored event without its bodies, which it says. `None` when what is stored is not an object.
pub(super) fn without_bodies(project_id: &str, json: &[u8]) -> Option<Vec<u8>> {
    event::with_project_id(&event::without_bodies(json, REMOVED)?, project_id)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn bodies_are_removed_and_the_event_says_so() {
        let body = without_bodies("p", br#"{"request_body":"large","metadata":{}}"#).unwrap();
        let metadata = json!({ "cut": { "bodies_removed": true } });
        assert_eq!(
            serde_json::from_slice::<Value>(&body).unwrap(),
            json!({ "project_id": "p", "request_body": REMOVED, "metadata": metadata })
        );
        assert_eq!(without_bodies("p", b"[]"), None);
    }
}
