//! What the events of a conversation with a model must hold, whatever SDK led it.

use super::stage::Same;
use crate::support::standin::llm::says;

/// A question asked twice, answered whole and then streamed: said by the program, and kept in the events.
pub(super) fn is_told_and_kept(same: &Same, path: &str) {
    let streamed = same.said.lines().nth(1).expect("two lines").replace('|', "");
    assert_eq!((same.said.lines().next(), streamed), (Some(&*says()), says()));
    assert_eq!(same.events.len(), 2);
    for (event, end) in same.events.iter().zip(["}", "\n\n"]) {
        assert_eq!((&event["method"], &event["path"]), (&"POST".into(), &path.into()));
        assert!(event["request_body"].as_str().unwrap().contains("Good evening?"), "{event:#}");
        let body = event["response_body"].as_str().unwrap();
        assert!(body.contains("café") && body.ends_with(end), "{event:#}");
        assert!(!event.to_string().contains("sk-stand-in"), "a key in an event: {event:#}");
    }
    let streams = |event: &serde_json::Value| event["request_body"].as_str().unwrap().contains("\"stream\":true");
    assert_eq!(same.events.iter().map(streams).collect::<Vec<_>>(), [false, true]);
}
