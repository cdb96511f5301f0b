//! Removing the bodies from a stored event.

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
    if let Some(cut) = object(&mut event, "metadata").and_then(|metadata| object(metadata, "cut")) {
        cut.insert("bodies_removed".to_owned(), true.into());
    }
    serde_json::to_vec(&event).ok()
}

/// The member object of that name, created if missing. `None` if the member is not an object.
fn object<'a>(parent: &'a mut Map<String, Value>, name: &str) -> Option<&'a mut Map<String, Value>> {
    parent.entry(name).or_insert_with(|| Value::Object(Map::new())).as_object_mut()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

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
