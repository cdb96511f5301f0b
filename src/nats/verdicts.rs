//! What relays say of events (pure): to the proxy that sent them, and to each other.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What became of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Verdict {
    pub(crate) event: Uuid,
    #[serde(flatten)]
    pub(crate) decision: Decision,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub(crate) enum Decision {
    /// OTAS has it, under this id.
    Delivered { otas_event_id: String },
    /// OTAS refused it for good.
    Dead { reason: String },
    /// No relay knows it, and the stream does not have it.
    Unknown,
}

/// A message to a proxy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Verdicts {
    /// The question that this answers. Events of it that are not named here wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) answers: Option<Uuid>,
    pub(crate) verdicts: Vec<Verdict>,
}

impl Verdict {
    pub(crate) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// The question of a proxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ask {
    pub(crate) id: Uuid,
    pub(crate) events: Vec<Uuid>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_read_as_they_were_written() {
        let verdict = |decision| Verdict { event: Uuid::from_u128(1), decision };
        let all = Verdicts {
            answers: Some(Uuid::from_u128(2)),
            verdicts: vec![
                verdict(Decision::Delivered { otas_event_id: "e".into() }),
                verdict(Decision::Dead { reason: "answered 400".into() }),
                verdict(Decision::Unknown),
            ],
        };
        let json = serde_json::to_string(&all).unwrap();
        assert_eq!(serde_json::from_str::<Verdicts>(&json).unwrap(), all);
        assert!(json.contains(r#""verdict":"delivered","otas_event_id":"e""#), "{json}");
    }
}
