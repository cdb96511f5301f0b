//! The body of a post, from what is stored of an event.

use serde_json::Value;

use crate::event;

/// What a reader sees in their place.
const REMOVED: &str = "[removed: OTAS refused the event with its bodies]";

/// The stored object with `project_id` put in front. `None` when what is stored is no object.
pub(super) fn whole(project_id: &str, json: &[u8]) -> Option<Vec<u8>> {
    let rest = json.trim_ascii().strip_prefix(b"{")?;
    let mut body = Vec::with_capacity(json.len() + project_id.len() + 20);
    body.extend_from_slice(br#"{"project_id":"#);
    body.extend_from_slice(Value::from(project_id).to_string().as_bytes());
    if rest.trim_ascii() != b"}" {
        body.push(b',');
    }
    body.extend_from_slice(rest);
    Some(body)
}

/// The same without bodies, which says so. `None` when what is stored is no object.
pub(super) fn without_bodies(project_id: &str, json: &[u8]) -> Option<Vec<u8>> {
    whole(project_id, &event::without_bodies(json, REMOVED)?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_project_id_goes_in_front() {
        let body = |json: &str| whole("p-1", json.as_bytes()).map(|body| String::from_utf8(body).unwrap());
        assert_eq!(body(r#"{"path":"/v1"}"#).unwrap(), r#"{"project_id":"p-1","path":"/v1"}"#);
        assert_eq!(body("{}").unwrap(), r#"{"project_id":"p-1"}"#);
        assert_eq!(body("[1]"), None);
        assert_eq!(body(""), None);
        let odd = whole("a\"b", b"{}").unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&odd).unwrap(), json!({ "project_id": "a\"b" }));
    }

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
