//! The body of a post, from what is stored of an event.

use serde_json::{Map, Value};

/// The fields that hold what agents and origins sent.
const BODIES: [&str; 3] = ["request_body", "response_body", "post_data"];

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

/// The same without bodies, which says so: in their places, and in `metadata.cut`. `None` when what is stored is no object.
pub(super) fn without_bodies(project_id: &str, json: &[u8]) -> Option<Vec<u8>> {
    let mut event: Map<String, Value> = serde_json::from_slice(json).ok()?;
    for name in BODIES {
        if let Some(body) = event.get_mut(name).filter(|body| body.as_str() != Some("")) {
            *body = REMOVED.into();
        }
    }
    if let Some(metadata) = object(&mut event, "metadata").and_then(|metadata| object(metadata, "cut")) {
        metadata.insert("bodies_removed".to_owned(), true.into());
    }
    whole(project_id, &serde_json::to_vec(&event).ok()?)
}

/// The object of that name, made if there is none; `None` if something else stands there.
fn object<'a>(parent: &'a mut Map<String, Value>, name: &str) -> Option<&'a mut Map<String, Value>> {
    parent.entry(name).or_insert_with(|| Value::Object(Map::new())).as_object_mut()
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
        let event = json!({ "path": "/", "request_body": "secret", "response_body": "", "metadata": { "cut": { "method": "M" } } });
        let body = without_bodies("p", event.to_string().as_bytes()).unwrap();
        assert_eq!(
            serde_json::from_slice::<Value>(&body).unwrap(),
            json!({
                "project_id": "p", "path": "/", "request_body": REMOVED, "response_body": "",
                "metadata": { "cut": { "method": "M", "bodies_removed": true } },
            })
        );
        let bare = without_bodies("p", b"{}").unwrap();
        let bare: Value = serde_json::from_slice(&bare).unwrap();
        assert_eq!(bare["metadata"]["cut"]["bodies_removed"], true);
        assert_eq!(without_bodies("p", b"[]"), None);
    }
}
