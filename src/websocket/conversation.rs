//! Both sides of a WebSocket: their messages, and how it ended.

use super::channel::{Channel, Part, Tally};
use super::deflate::Extensions;
use super::peer::{Close, Peer};

/// A summary of a WebSocket.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    /// What the agent sent.
    pub agent: Tally,
    /// What the origin sent.
    pub origin: Tally,
    /// Who sent the first Close frame, and its content. `None`: nobody did.
    pub close: Option<(Peer, Close)>,
    /// The other side sent a Close frame, too.
    pub close_answered: bool,
    /// The side that ended in the middle of a frame or a message.
    pub unfinished: Option<Peer>,
    /// The first violation of the standards, and the side that made it.
    pub violation: Option<(Peer, &'static str)>,
    /// Why messages of a side were not read, from the start or from some point on.
    pub unread: Option<(Peer, &'static str)>,
    /// The extensions in use.
    pub extensions: Extensions,
}

/// Reads both sides.
pub struct Conversation {
    agent: Channel,
    origin: Channel,
    extensions: Extensions,
    closed_by: Option<Peer>,
}

impl Conversation {
    /// For a WebSocket whose handshake agreed on these extensions.
    pub fn new(extensions: Extensions) -> Self {
        Self {
            agent: Channel::new(Peer::Agent, extensions),
            origin: Channel::new(Peer::Origin, extensions),
            extensions,
            closed_by: None,
        }
    }

    /// Reads the next bytes of `from`, and reports what they hold, piece by piece.
    pub fn read(&mut self, from: Peer, bytes: &[u8], found: &mut impl FnMut(Part<'_>)) {
        let channel = match from {
            Peer::Agent => &mut self.agent,
            Peer::Origin => &mut self.origin,
        };
        channel.read(bytes, found);
        if self.closed_by.is_none() && channel.close().is_some() {
            self.closed_by = Some(from);
        }
    }

    /// Why messages of `side` are not read, from the start or from some point on.
    pub fn unread(&self, side: Peer) -> Option<&'static str> {
        match side {
            Peer::Agent => self.agent.unread(),
            Peer::Origin => self.origin.unread(),
        }
    }

    /// The summary so far.
    pub fn summary(&self) -> Summary {
        let first = |of: fn(&Channel) -> Option<&'static str>| {
            let agent = of(&self.agent).map(|what| (Peer::Agent, what));
            agent.or_else(|| of(&self.origin).map(|what| (Peer::Origin, what)))
        };
        let close = self.closed_by.and_then(|by| {
            let close = if by == Peer::Agent { self.agent.close() } else { self.origin.close() };
            close.map(|close| (by, close.clone()))
        });
        let unfinished = [(Peer::Agent, &self.agent), (Peer::Origin, &self.origin)];
        Summary {
            agent: self.agent.tally(),
            origin: self.origin.tally(),
            close,
            close_answered: self.agent.close().is_some() && self.origin.close().is_some(),
            unfinished: unfinished.into_iter().find(|(_, channel)| !channel.is_between()).map(|(peer, _)| peer),
            violation: first(Channel::violation),
            unread: first(Channel::unread),
            extensions: self.extensions,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::channel::Form;
    use super::super::testing::{Deflater, cut, frame};
    use super::*;

    const MASK: Option<[u8; 4]> = Some([7, 0, 200, 9]);
    const DEFLATE: Extensions = Extensions::Deflate { agent_alone: false, origin_alone: false };

    /// A message that was found: its type, its content, and whether it is complete.
    type Found = (Form, Vec<u8>, Option<bool>);

    /// The messages of one side in these bytes, split into these pieces.
    fn heard(conversation: &mut Conversation, from: Peer, bytes: &[u8], cuts: &[usize]) -> Vec<Found> {
        let mut messages: Vec<Found> = Vec::new();
        for piece in cut(bytes, cuts) {
            conversation.read(from, piece, &mut |part| match part {
                Part::Begins(form) => messages.push((form, Vec::new(), None)),
                Part::Content(content) => messages.last_mut().unwrap().1.extend_from_slice(content),
                Part::Ends { whole, .. } => messages.last_mut().unwrap().2 = Some(whole),
            });
        }
        messages
    }

    fn text(text: &str) -> Found {
        (Form::Text, text.as_bytes().to_vec(), Some(true))
    }

    fn violation_of(extensions: Extensions, from: Peer, bytes: &[u8]) -> Option<&'static str> {
        let mut conversation = Conversation::new(extensions);
        heard(&mut conversation, from, bytes, &[]);
        conversation.summary().violation.map(|(_, what)| what)
    }

    #[test]
    fn fragments_are_one_message_and_control_frames_may_come_between_them() {
        let mut conversation = Conversation::new(Extensions::None);
        let bytes = [
            frame(0x01, b"Hel", MASK),
            frame(0x89, b"ping", MASK),
            frame(0x00, b"", MASK),
            frame(0x8A, b"", MASK),
            frame(0x80, b"lo", MASK),
            frame(0x82, b"\0\xFF", MASK),
        ]
        .concat();
        let messages = heard(&mut conversation, Peer::Agent, &bytes, &[5, 9]);
        assert_eq!(messages, [text("Hello"), (Form::Binary, b"\0\xFF".to_vec(), Some(true))]);
        let Summary { agent, violation, unfinished, close, .. } = conversation.summary();
        let expected = Tally { messages: 2, binary: 1, bytes: 7, clear_bytes: 7, compressed: 0, pings: 1, pongs: 1 };
        assert_eq!((agent, violation, unfinished, close), (expected, None, None, None));
    }

    #[test]
    fn both_sides_are_inflated_each_with_its_own_context() {
        for (agent_alone, origin_alone) in [(false, false), (true, false), (false, true), (true, true)] {
            let mut conversation = Conversation::new(Extensions::Deflate { agent_alone, origin_alone });
            for (side, alone, mask) in [(Peer::Agent, agent_alone, MASK), (Peer::Origin, origin_alone, None)] {
                let mut deflater = Deflater::new();
                let said = "the same again, the same again";
                let bytes: Vec<u8> = (0..3)
                    .flat_map(|_| {
                        let payload = deflater.message(said.as_bytes(), alone);
                        let (first, second) = payload.split_at(payload.len() / 2);
                        [frame(0x41, first, mask), frame(0x89, b"", mask), frame(0x80, second, mask)].concat()
                    })
                    .chain(frame(0x81, b"not compressed", mask))
                    .collect();
                let expected = [text(said), text(said), text(said), text("not compressed")];
                assert_eq!(heard(&mut conversation, side, &bytes, &[3, 1, 1, 7]), expected);
            }
            let Summary { agent, origin, violation, unread, .. } = conversation.summary();
            assert_eq!((agent.messages, agent.compressed, agent.clear_bytes, agent.pings), (4, 3, 104, 3));
            assert!(agent.bytes < agent.clear_bytes && origin.clear_bytes == 104);
            assert_eq!((violation, unread), (None, None));
        }
    }

    #[test]
    fn the_first_close_frame_shows_who_closed_and_why() {
        let mut conversation = Conversation::new(Extensions::None);
        heard(&mut conversation, Peer::Origin, &frame(0x88, b"\x03\xF3restarting", None), &[3]);
        let close = Close { code: Some(1011), reason: "restarting".to_owned() };
        assert_eq!(conversation.summary().close, Some((Peer::Origin, close.clone())));
        assert!(!conversation.summary().close_answered);
        heard(&mut conversation, Peer::Agent, &frame(0x88, b"\x03\xE8", MASK), &[]);
        assert_eq!(conversation.summary().close, Some((Peer::Origin, close)));
        assert!(conversation.summary().close_answered);
        heard(&mut conversation, Peer::Agent, &frame(0x81, b"late", MASK), &[]);
        assert_eq!(conversation.summary().violation, Some((Peer::Agent, "frame_after_close")));
        assert_eq!(conversation.summary().agent.messages, 0);
        assert_eq!(Close::read(b""), Close { code: None, reason: String::new() });
    }

    #[test]
    fn violations_of_the_standard_are_noted() {
        let violation = |from, bytes: &[u8]| violation_of(Extensions::None, from, bytes);
        assert_eq!(violation(Peer::Agent, &frame(0x81, b"x", None)), Some("wrong_masking"));
        assert_eq!(violation(Peer::Origin, &frame(0x81, b"x", MASK)), Some("wrong_masking"));
        assert_eq!(violation(Peer::Origin, &frame(0x83, b"x", None)), Some("reserved_opcode"));
        assert_eq!(violation(Peer::Origin, &frame(0xA1, b"x", None)), Some("reserved_bit"));
        assert_eq!(violation(Peer::Origin, &frame(0xC1, b"x", None)), Some("reserved_bit"));
        assert_eq!(violation_of(DEFLATE, Peer::Origin, &frame(0xC9, b"x", None)), Some("reserved_bit"));
        assert_eq!(violation(Peer::Origin, &frame(0x09, b"x", None)), Some("bad_control_frame"));
        assert_eq!(violation(Peer::Origin, &frame(0x89, &[0; 126], None)), Some("bad_control_frame"));
        assert_eq!(violation(Peer::Origin, &frame(0x80, b"x", None)), Some("continuation_of_nothing"));
        let within = [frame(0x01, b"a", None), frame(0x81, b"b", None)].concat();
        assert_eq!(violation(Peer::Origin, &within), Some("message_within_message"));
        assert_eq!(violation(Peer::Origin, &[0x81, 126, 0, 1, b'x']), Some("padded_length"));
        assert_eq!(violation(Peer::Origin, &frame(0x81, b"\xFF", None)), Some("invalid_utf8"));
        assert_eq!(violation(Peer::Origin, &frame(0x81, b"a\xC3", None)), Some("invalid_utf8"));
        assert_eq!(violation(Peer::Origin, &frame(0x82, b"\xFF", None)), None);
        for bad in [&b"\x03"[..], b"\x03\xED", b"\0\0", b"\x13\x88", b"\x03\xE8\xFF"] {
            assert_eq!(violation(Peer::Origin, &frame(0x88, bad, None)), Some("bad_close_frame"), "{bad:?}");
        }
        assert_eq!(violation(Peer::Origin, &frame(0x81, b"x", None)), None);
    }

    #[test]
    fn messages_that_cannot_be_inflated_are_still_counted() {
        let mut conversation = Conversation::new(DEFLATE);
        let bytes = [frame(0xC1, b"\xFF\xFF\xFF", None), frame(0x81, b"after", None)].concat();
        let messages = heard(&mut conversation, Peer::Origin, &bytes, &[]);
        assert_eq!(messages.iter().map(|message| message.2).collect::<Vec<_>>(), [Some(false), Some(false)]);
        let Summary { origin, unread, .. } = conversation.summary();
        assert_eq!((origin.messages, origin.bytes), (2, 8));
        assert_eq!(unread, Some((Peer::Origin, "damaged_compression")));
        let mut unknown = Conversation::new(Extensions::Unknown);
        assert_eq!(
            heard(&mut unknown, Peer::Origin, &frame(0xF1, b"?", None), &[]),
            [(Form::Text, vec![], Some(false))]
        );
        assert_eq!(unknown.summary().unread.map(|(_, why)| why), Some("unknown_extension"));
        assert_eq!(unknown.summary().violation, None);
    }

    #[test]
    fn a_side_that_ends_in_the_middle_is_reported() {
        let whole = frame(0x81, b"Hello", None);
        for end in 1..whole.len() {
            let mut conversation = Conversation::new(Extensions::None);
            heard(&mut conversation, Peer::Origin, &whole[..end], &[]);
            assert_eq!(conversation.summary().unfinished, Some(Peer::Origin), "{end}");
        }
        let mut conversation = Conversation::new(Extensions::None);
        heard(&mut conversation, Peer::Origin, &frame(0x01, b"first", None), &[]);
        assert_eq!(conversation.summary().unfinished, Some(Peer::Origin));
    }

    proptest! {
        #[test]
        fn any_split_of_the_bytes_gives_the_same_conversation(
            texts in prop::collection::vec(("[a-d ]{0,400}", any::<bool>(), 0usize..3), 0..5),
            noise in prop::collection::vec(any::<u8>(), 0..60),
            alone in any::<bool>(),
            cuts in prop::collection::vec(1usize..40, 0..40),
        ) {
            let extensions = Extensions::Deflate { agent_alone: alone, origin_alone: false };
            let mut deflater = Deflater::new();
            let mut bytes = Vec::new();
            for (text, compressed, fragments) in &texts {
                let payload =
                    if *compressed { deflater.message(text.as_bytes(), alone) } else { text.clone().into_bytes() };
                let first = if *compressed { 0x41 } else { 0x01 };
                let size = payload.len() / (fragments + 1) + 1;
                let mut pieces: Vec<&[u8]> = payload.chunks(size).collect();
                if pieces.is_empty() {
                    pieces.push(b"");
                }
                for (index, piece) in pieces.iter().enumerate() {
                    let last = if index + 1 == pieces.len() { 0x80 } else { 0 };
                    bytes.extend(frame(last | if index == 0 { first } else { 0 }, piece, MASK));
                }
            }
            let sent = bytes.len();
            bytes.extend_from_slice(&noise);
            let (mut once, mut cut) = (Conversation::new(extensions), Conversation::new(extensions));
            let messages = heard(&mut once, Peer::Agent, &bytes, &[]);
            prop_assert_eq!(&messages, &heard(&mut cut, Peer::Agent, &bytes, &cuts));
            prop_assert_eq!(once.summary(), cut.summary());
            let mut clean = Conversation::new(extensions);
            let expected: Vec<Found> = texts.iter().map(|(said, ..)| text(said)).collect();
            prop_assert_eq!(heard(&mut clean, Peer::Agent, &bytes[..sent], &cuts), expected);
            prop_assert_eq!(clean.summary().violation, None);
        }

        #[test]
        fn random_bytes_never_panic_and_come_in_bounded_pieces(
            bytes in prop::collection::vec(any::<u8>(), 0..4000),
            first in prop::sample::select(vec![0x41u8, 0xC1, 0x81, 0x02, 0x88]),
            cuts in prop::collection::vec(1usize..200, 0..30),
        ) {
            for (side, mask) in [(Peer::Agent, MASK), (Peer::Origin, None)] {
                let mut conversation = Conversation::new(DEFLATE);
                let mut largest = 0;
                let bytes = [frame(first, &bytes, mask), bytes.clone()].concat();
                for piece in cut(&bytes, &cuts) {
                    conversation.read(side, piece, &mut |part| if let Part::Content(content) = part {
                        largest = largest.max(content.len());
                    });
                }
                prop_assert!(largest <= bytes.len().max(32 << 10));
                conversation.summary();
            }
        }
    }
}
