//! Turns of OpenAI's Responses protocol over WebSocket: the agent asks with one message, and the origin answers with
//! the events that it would stream over HTTP. Turns are recognised by their messages, because gateways use other paths.

use super::channel::Form;
use super::label::Label;
use super::peer::Peer;

/// Turns that may be in flight. The protocol allows one at a time; further ones are answered in order.
const OPEN_MAX: usize = 16;

/// The meaning of the end of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    None,
    /// The agent has asked: a turn begins.
    Begins,
    /// The oldest turn in flight is answered completely.
    Completes,
    /// The oldest turn in flight failed.
    Fails {
        /// The status code of the failure, if the origin names one.
        status: Option<u16>,
    },
}

/// Follows the turns of one WebSocket.
#[derive(Default)]
pub struct Turns {
    agent: Option<Label>,
    origin: Option<Label>,
    open: usize,
}

impl Turns {
    /// A message begins.
    pub fn begins(&mut self, from: Peer, form: Form) {
        // Messages of the origin matter only while a turn is in flight.
        let matters = form == Form::Text && (from == Peer::Agent || self.open > 0);
        *self.of(from) = matters.then(Label::new);
    }

    /// Some content of the current message.
    pub fn content(&mut self, from: Peer, content: &[u8]) {
        if let Some(label) = self.of(from)
            && !is_decided(label)
        {
            label.read(content);
        }
    }

    /// Whether the agent's current message begins a turn, or may still turn out to.
    pub fn may_ask(&self) -> bool {
        let asks_or_unknown = |label: &Label| match label.get() {
            Some(label) => label == ASKS,
            None => !label.is_over(),
        };
        self.open < OPEN_MAX && self.agent.as_ref().is_some_and(asks_or_unknown)
    }

    /// Whether the agent's current message begins a turn.
    pub fn asks(&self) -> bool {
        self.may_ask() && self.agent.as_ref().is_some_and(|label| label.get() == Some(ASKS))
    }

    /// The current message ends.
    pub fn ends(&mut self, from: Peer) -> Step {
        let asks = from == Peer::Agent && self.asks();
        let Some(label) = self.of(from).take() else { return Step::None };
        if asks {
            self.open += 1;
            return Step::Begins;
        }
        if from == Peer::Agent || self.open == 0 {
            return Step::None;
        }
        let step = match label.get() {
            Some("response.completed" | "response.incomplete" | "response.cancelled" | "response.done") => {
                Step::Completes
            }
            Some("response.failed") => Step::Fails { status: None },
            Some("error") => Step::Fails { status: label.status().filter(|status| *status >= 400) },
            _ => return Step::None,
        };
        self.open -= 1;
        step
    }

    fn of(&mut self, from: Peer) -> &mut Option<Label> {
        match from {
            Peer::Agent => &mut self.agent,
            Peer::Origin => &mut self.origin,
        }
    }
}

const ASKS: &str = "response.create";

/// Whether the rest of the message does not matter. An error may name its status after its type.
fn is_decided(label: &Label) -> bool {
    label.is_over() || label.get().is_some_and(|label| label != "error")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(turns: &mut Turns, from: Peer, text: &str) -> Step {
        turns.begins(from, Form::Text);
        text.as_bytes().chunks(3).for_each(|piece| turns.content(from, piece));
        turns.ends(from)
    }

    #[test]
    fn a_turn_goes_from_the_question_to_the_end_of_its_answer() {
        let mut turns = Turns::default();
        assert_eq!(says(&mut turns, Peer::Origin, r#"{"type":"error"}"#), Step::None);
        assert_eq!(says(&mut turns, Peer::Agent, r#"{"model":"m","type":"response.create"}"#), Step::Begins);
        assert_eq!(says(&mut turns, Peer::Agent, r#"{"type":"other"}"#), Step::None);
        assert_eq!(says(&mut turns, Peer::Origin, r#"{"type":"response.output_text.delta"}"#), Step::None);
        assert_eq!(says(&mut turns, Peer::Origin, r#"{"type":"response.completed","response":{}}"#), Step::Completes);
        assert_eq!(says(&mut turns, Peer::Origin, r#"{"type":"response.completed"}"#), Step::None);
    }

    #[test]
    fn failures_have_their_status_and_requests_are_answered_in_order() {
        let mut turns = Turns::default();
        for _ in 0..3 {
            assert_eq!(says(&mut turns, Peer::Agent, r#"{"type":"response.create"}"#), Step::Begins);
        }
        assert_eq!(says(&mut turns, Peer::Origin, r#"{"type":"response.failed"}"#), Step::Fails { status: None });
        let error = r#"{"type":"error","status":429,"error":{"message":"slow down"}}"#;
        assert_eq!(says(&mut turns, Peer::Origin, error), Step::Fails { status: Some(429) });
        assert_eq!(says(&mut turns, Peer::Origin, r#"{"type":"response.incomplete"}"#), Step::Completes);
        assert_eq!(says(&mut turns, Peer::Origin, r#"{"type":"response.failed"}"#), Step::None);
    }

    #[test]
    fn a_message_that_may_begin_a_turn_is_recognised_before_its_end() {
        let mut turns = Turns::default();
        turns.begins(Peer::Agent, Form::Text);
        assert!(turns.may_ask() && !turns.asks());
        turns.content(Peer::Agent, br#"{"type":"response.create","input":""#);
        assert!(turns.may_ask() && turns.asks());
        turns.begins(Peer::Agent, Form::Text);
        turns.content(Peer::Agent, br#"{"type":"ping","input":""#);
        assert!(!turns.may_ask());
        turns.begins(Peer::Agent, Form::Binary);
        assert!(!turns.may_ask());
        for _ in 0..OPEN_MAX {
            assert_eq!(says(&mut turns, Peer::Agent, r#"{"type":"response.create"}"#), Step::Begins);
        }
        assert_eq!(says(&mut turns, Peer::Agent, r#"{"type":"response.create"}"#), Step::None);
    }
}
