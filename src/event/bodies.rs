//! The body to post, from a stored event: with the project id, and without the bodies where OTAS refuses them.

use serde_json::{Map, Value};

/// The fields that hold bodies.
const BODIES: [&str; 3] = ["request_body", "response_body", "post_data"];

/// The event without its bodies: `note` replaces them, and `metadata.cut` gets `bodies_removed`. `None` when `json` is
/// not an object.
pub fn without_bodies(json: &[u8], note: &str) -> Option<Vec<u8>> {
    let mut event: Map<String, Value> = serde_json::from_slice(json).ok()?;
    for name in BODIES {
        if let Some(body) = event.get_mut(name).filter(|body| body.as_str() != Some("")) {
            *body = note.into();
        }
    }
    if let Some(cut) = cut_of(&mut event) {
        cut.insert("bodies_removed".to_owned(), true.into());
    }
    serde_json::to_vec(&event).ok()
}

/// The event whose bodies cannot be read whole from the store: `metadata.cut.bodies_damaged` says so. `note`: stands in place of
/// bodies that cannot be read at all. `None` when `json` is not an object.
pub fn with_damage(json: &[u8], note: Option<&str>) -> Option<Vec<u8>> {
    let mut event: Map<String, Value> = serde_json::from_slice(json).ok()?;
    for (name, size) in [("request_body", "request_size_bytes"), ("response_body", "response_size_bytes")] {
        if let Some(note) = note
            && event.get(size).and_then(Value::as_u64) != Some(0)
            && let Some(body) = event.get_mut(name).filter(|body| body.as_str() == Some(""))
        {
            *body = note.into();
        }
    }
    if let Some(cut) = cut_of(&mut event) {
        cut.insert("bodies_damaged".to_owned(), true.into());
    }
    serde_json::to_vec(&event).ok()
}

/// The body of a post: the stored object with `project_id` in front. At most 2,621,440 bytes for an id of up to 200. `None` when
/// `json` is not an object.
pub fn with_project_id(json: &[u8], project_id: &str) -> Option<Vec<u8>> {
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

/// `metadata.cut`, made if there is none; `None` if something else stands there.
pub(super) fn cut_of(event: &mut Map<String, Value>) -> Option<&mut Map<String, Value>> {
    object(event, "metadata").and_then(|metadata| object(metadata, "cut"))
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
        let body = |json: &str| with_project_id(json.as_bytes(), "p-1").map(|body| String::from_utf8(body).unwrap());
        assert_eq!(body(r#"{"path":"/v1"}"#).unwrap(), r#"{"project_id":"p-1","path":"/v1"}"#);
        assert_eq!(body("{}").unwrap(), r#"{"project_id":"p-1"}"#);
        assert_eq!(body("[1]"), None);
        assert_eq!(body(""), None);
        let odd = with_project_id(b"{}", "a\"b").unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&odd).unwrap(), json!({ "project_id": "a\"b" }));
    }

    #[test]
    fn an_event_says_that_its_bodies_are_damaged() {
        let event =
            json!({ "request_body": "", "request_size_bytes": 0, "response_body": "", "response_size_bytes": 9 });
        let damaged = |note| -> Value {
            serde_json::from_slice(&with_damage(event.to_string().as_bytes(), note).unwrap()).unwrap()
        };
        let (all, part) = (damaged(Some("[damaged]")), damaged(None));
        assert_eq!((&all["request_body"], &all["response_body"]), (&json!(""), &json!("[damaged]")));
        assert_eq!((&part["request_body"], &part["response_body"]), (&json!(""), &json!("")));
        assert_eq!(
            (&all["metadata"], &part["metadata"]),
            (&json!({ "cut": { "bodies_damaged": true } }), &all["metadata"])
        );
        assert_eq!(with_damage(b"half {", None), None);
    }

    #[test]
    fn bodies_are_removed_and_the_event_says_so() {
        let event = json!({ "path": "/", "request_body": "secret", "response_body": "", "metadata": { "cut": { "method": "M" } } });
        let without = without_bodies(event.to_string().as_bytes(), "[gone]").unwrap();
        assert_eq!(
            serde_json::from_slice::<Value>(&without).unwrap(),
            json!({
                "path": "/", "request_body": "[gone]", "response_body": "",
                "metadata": { "cut": { "method": "M", "bodies_removed": true } },
            })
        );
        let bare: Value = serde_json::from_slice(&without_bodies(b"{}", "").unwrap()).unwrap();
        assert_eq!(bare["metadata"]["cut"]["bodies_removed"], true);
        assert_eq!(without_bodies(b"[]", ""), None);
    }
}
