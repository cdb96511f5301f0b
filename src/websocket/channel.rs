//! One side of a WebSocket: from its frames to its messages, decompressed.

use super::deflate::{Extensions, Inflater, Stuck};
use super::frame::{Frames, Head, Opcode, Piece};
use super::peer::{Close, Peer};
use super::utf8::Utf8;

/// The longest payload of a control frame (RFC 6455 section 5.5).
const CONTROL_MAX_BYTES: usize = 125;

/// The type of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Text in UTF-8.
    Text,
    /// Any bytes.
    Binary,
}

/// A piece of one side's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part<'a> {
    /// A message begins.
    Begins(Form),
    /// Some of its content, decompressed.
    Content(&'a [u8]),
    /// The message ends.
    Ends {
        /// It was complete, and all of it could be read.
        whole: bool,
        /// Its payload in bytes, as sent.
        bytes: u64,
    },
}

/// Counts of one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Complete messages.
    pub messages: u64,
    /// Binary ones among them.
    pub binary: u64,
    /// Payload of messages in bytes, as sent.
    pub bytes: u64,
    /// The same, decompressed, as far as it could be.
    pub clear_bytes: u64,
    /// Compressed messages.
    pub compressed: u64,
    /// Ping frames.
    pub pings: u64,
    /// Pong frames.
    pub pongs: u64,
}

/// Reads one side.
pub(super) struct Channel {
    side: Peer,
    extensions: Extensions,
    frames: Frames,
    frame: Frame,
    message: Option<Message>,
    inflater: Option<Inflater>,
    tally: Tally,
    close: Option<Close>,
    violation: Option<&'static str>,
    unread: Option<&'static str>,
}

/// What the current frame belongs to.
enum Frame {
    Message {
        last: bool,
    },
    Control {
        opcode: Opcode,
        payload: Vec<u8>,
    },
    /// Not read.
    Skipped,
}

struct Message {
    form: Form,
    compressed: bool,
    bytes: u64,
    whole: bool,
    /// For text that can be read.
    utf8: Option<Utf8>,
}

impl Channel {
    pub(super) fn new(side: Peer, extensions: Extensions) -> Self {
        Self {
            side,
            extensions,
            frames: Frames::new(),
            frame: Frame::Skipped,
            message: None,
            inflater: None,
            tally: Tally::default(),
            close: None,
            violation: None,
            unread: (extensions == Extensions::Unknown).then_some("unknown_extension"),
        }
    }

    pub(super) fn tally(&self) -> Tally {
        self.tally
    }

    pub(super) fn close(&self) -> Option<&Close> {
        self.close.as_ref()
    }

    /// The first violation of RFC 6455 or RFC 7692.
    pub(super) fn violation(&self) -> Option<&'static str> {
        self.violation
    }

    /// Why messages are not read, from the start or from some point on.
    pub(super) fn unread(&self) -> Option<&'static str> {
        self.unread
    }

    /// Whether the side is between two messages.
    pub(super) fn is_between(&self) -> bool {
        self.frames.is_between() && self.message.is_none()
    }

    /// Reads the next bytes, and reports what they hold.
    pub(super) fn read(&mut self, bytes: &[u8], found: &mut impl FnMut(Part<'_>)) {
        // Taken out, because each frame changes the rest of the state.
        let mut frames = std::mem::replace(&mut self.frames, Frames::new());
        frames.read(bytes, &mut |piece| match piece {
            Piece::Head(head) => self.head(&head, found),
            Piece::Payload(payload) => self.payload(payload, found),
            Piece::End => self.end(found),
        });
        self.frames = frames;
        if self.frames.is_lost() {
            self.unread.get_or_insert("impossible_length");
            self.broken_off(found);
        }
    }

    fn head(&mut self, head: &Head, found: &mut impl FnMut(Part<'_>)) {
        let Head { last, rsv1, opcode, .. } = *head;
        self.check(head);
        if self.close.is_some() {
            self.frame = Frame::Skipped;
            return;
        }
        self.frame = match opcode {
            Opcode::Close | Opcode::Ping | Opcode::Pong => Frame::Control { opcode, payload: Vec::new() },
            Opcode::Reserved => Frame::Skipped,
            Opcode::Continuation if self.message.is_none() => Frame::Skipped,
            Opcode::Continuation => Frame::Message { last },
            Opcode::Text | Opcode::Binary => {
                self.broken_off(found);
                let form = if opcode == Opcode::Text { Form::Text } else { Form::Binary };
                self.begin(form, rsv1);
                found(Part::Begins(form));
                Frame::Message { last }
            }
        };
    }

    fn begin(&mut self, form: Form, compressed: bool) {
        let alone = match (self.extensions, self.side) {
            (Extensions::Deflate { agent_alone, .. }, Peer::Agent) => Some(agent_alone),
            (Extensions::Deflate { origin_alone, .. }, Peer::Origin) => Some(origin_alone),
            _ => None,
        };
        if compressed && self.unread.is_none() {
            match alone {
                Some(alone) => {
                    self.inflater.get_or_insert_with(|| Inflater::new(alone));
                }
                None => self.unread = Some("unknown_extension"),
            }
        }
        let whole = self.unread.is_none();
        let utf8 = (form == Form::Text && whole).then(Utf8::default);
        self.message = Some(Message { form, compressed, bytes: 0, whole, utf8 });
    }

    /// Notes a violation. Reading goes on as long as frames can be separated.
    fn check(&mut self, head: &Head) {
        let Head { last, rsv1, rsv23, opcode, mask, length, padded } = *head;
        let control = matches!(opcode, Opcode::Close | Opcode::Ping | Opcode::Pong);
        let deflate = matches!(self.extensions, Extensions::Deflate { .. });
        let unknown = self.extensions == Extensions::Unknown;
        let first = matches!(opcode, Opcode::Text | Opcode::Binary);
        let wrong = if self.close.is_some() {
            Some("frame_after_close")
        } else if mask.is_some() != (self.side == Peer::Agent) {
            Some("wrong_masking")
        } else if padded {
            Some("padded_length")
        } else if opcode == Opcode::Reserved {
            Some("reserved_opcode")
        } else if !unknown && (rsv23 || rsv1 && !(deflate && first)) {
            Some("reserved_bit")
        } else if control && (!last || length > CONTROL_MAX_BYTES as u64) {
            Some("bad_control_frame")
        } else if opcode == Opcode::Continuation && self.message.is_none() {
            Some("continuation_of_nothing")
        } else if first && self.message.is_some() {
            Some("message_within_message")
        } else {
            None
        };
        if let Some(wrong) = wrong {
            self.violation.get_or_insert(wrong);
        }
    }

    fn payload(&mut self, payload: &[u8], found: &mut impl FnMut(Part<'_>)) {
        match &mut self.frame {
            Frame::Message { .. } => self.content(payload, found),
            Frame::Control { payload: kept, .. } => {
                let room = CONTROL_MAX_BYTES - kept.len();
                kept.extend_from_slice(&payload[..payload.len().min(room)]);
            }
            Frame::Skipped => {}
        }
    }

    fn content(&mut self, payload: &[u8], found: &mut impl FnMut(Part<'_>)) {
        let Some(message) = &mut self.message else { return };
        message.bytes += payload.len() as u64;
        self.tally.bytes += payload.len() as u64;
        if self.unread.is_some() {
            message.whole = false;
            return;
        }
        let (clear_bytes, utf8, violation) = (&mut self.tally.clear_bytes, &mut message.utf8, &mut self.violation);
        let mut clear = |piece: &[u8]| {
            *clear_bytes += piece.len() as u64;
            check_text(utf8, violation, |utf8| utf8.takes(piece));
            found(Part::Content(piece));
        };
        match self.inflater.as_mut().filter(|_| message.compressed) {
            Some(inflater) => {
                let inflated = inflater.read(payload, &mut clear);
                self.stuck(inflated);
            }
            None => clear(payload),
        }
    }

    fn stuck(&mut self, inflated: Result<(), Stuck>) {
        let Err(stuck) = inflated else { return };
        self.unread = Some(match stuck {
            Stuck::Damaged => "damaged_compression",
            Stuck::TooLarge => "message_too_large",
        });
        self.inflater = None;
        if let Some(message) = &mut self.message {
            (message.whole, message.utf8) = (false, None);
        }
    }

    fn end(&mut self, found: &mut impl FnMut(Part<'_>)) {
        match std::mem::replace(&mut self.frame, Frame::Skipped) {
            Frame::Message { last: true } => self.message_ends(found),
            Frame::Control { opcode: Opcode::Ping, .. } => self.tally.pings += 1,
            Frame::Control { opcode: Opcode::Pong, .. } => self.tally.pongs += 1,
            Frame::Control { opcode: Opcode::Close, payload } => {
                self.broken_off(found);
                if !Close::is_valid(&payload) {
                    self.violation.get_or_insert("bad_close_frame");
                }
                self.close = Some(Close::read(&payload));
            }
            _ => {}
        }
    }

    fn message_ends(&mut self, found: &mut impl FnMut(Part<'_>)) {
        let Some(message) = &mut self.message else { return };
        let (clear_bytes, utf8, violation) = (&mut self.tally.clear_bytes, &mut message.utf8, &mut self.violation);
        if let Some(inflater) = self.inflater.as_mut().filter(|_| message.compressed) {
            let inflated = inflater.end(&mut |piece| {
                *clear_bytes += piece.len() as u64;
                check_text(utf8, violation, |utf8| utf8.takes(piece));
                found(Part::Content(piece));
            });
            self.stuck(inflated);
        }
        if let Some(Message { form, compressed, bytes, whole, mut utf8 }) = self.message.take() {
            check_text(&mut utf8, &mut self.violation, Utf8::ends);
            self.tally.messages += 1;
            self.tally.binary += u64::from(form == Form::Binary);
            self.tally.compressed += u64::from(compressed);
            found(Part::Ends { whole, bytes });
        }
    }

    /// The current message stays incomplete.
    fn broken_off(&mut self, found: &mut impl FnMut(Part<'_>)) {
        if let Some(message) = self.message.take() {
            found(Part::Ends { whole: false, bytes: message.bytes });
        }
    }
}

/// Notes text that is not UTF-8 (RFC 6455 section 8.1), once a message.
fn check_text(
    text: &mut Option<Utf8>,
    violation: &mut Option<&'static str>,
    is_valid: impl FnOnce(&mut Utf8) -> bool,
) {
    if text.as_mut().is_some_and(|utf8| !is_valid(utf8)) {
        violation.get_or_insert("invalid_utf8");
        *text = None;
    }
}
