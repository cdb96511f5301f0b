//! An oracle: our reader of WebSockets finds the messages, the end and the faults that the crate `tungstenite` finds, however
//! the bytes are split. It refuses what we only note, and reads nothing after that.
//!
//! It knows no permessage-deflate. There it finds the compressed messages, and they are inflated as RFC 7692 section 7.2.2
//! describes: all messages so far at once.

use std::collections::VecDeque;
use std::io::{self, Read, Write};

use flate2::read::DeflateDecoder;
use proptest::prelude::*;
use tungstenite::error::ProtocolError;
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

use super::testing::{Deflater, cut, frame};
use super::{Close, Conversation, Extensions, Form, Part, Peer, Summary};

/// The cases of each property.
const CASES: u32 = 10_000;

/// What one side has sent.
#[derive(Debug, Default, PartialEq, Eq)]
struct Heard {
    messages: Vec<(Form, Vec<u8>)>,
    pings: u64,
    pongs: u64,
    close: Option<Close>,
    /// The first fault, by our name for it.
    fault: Option<&'static str>,
}

fn ours(side: Peer, extensions: Extensions, pieces: &[&[u8]]) -> (Heard, Summary) {
    let (mut conversation, mut messages, mut message) = (Conversation::new(extensions), Vec::new(), None);
    for piece in pieces {
        conversation.read(side, piece, &mut |part| match part {
            Part::Begins(form) => message = Some((form, Vec::new())),
            Part::Content(content) => message.as_mut().unwrap().1.extend_from_slice(content),
            Part::Ends { whole: true, .. } => messages.extend(message.take()),
            Part::Ends { whole: false, .. } => {}
        });
    }
    let summary = conversation.summary();
    let tally = if side == Peer::Agent { summary.agent } else { summary.origin };
    let close = summary.close.clone().map(|(_, close)| close);
    let fault = summary.violation.map(|(_, fault)| fault);
    (Heard { messages, pings: tally.pings, pongs: tally.pongs, close, fault }, summary)
}

/// A connection that gives these pieces and takes everything.
struct Wire<'a>(VecDeque<&'a [u8]>);

impl Read for Wire<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let Some(piece) = self.0.pop_front() else { return Ok(0) };
        let (now, rest) = piece.split_at(piece.len().min(out.len()));
        out[..now.len()].copy_from_slice(now);
        if !rest.is_empty() {
            self.0.push_front(rest);
        }
        Ok(now.len())
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How much the oracle reads of one message: more than any here has.
const LIMIT_BYTES: usize = 1 << 16;

/// Also returns whether the oracle has stopped at a frame that is too large for it.
fn oracle(side: Peer, pieces: &[&[u8]]) -> (Heard, bool) {
    let role = if side == Peer::Agent { Role::Server } else { Role::Client };
    let config = WebSocketConfig::default()
        .read_buffer_size(1 << 10)
        .max_frame_size(Some(LIMIT_BYTES))
        .max_message_size(Some(LIMIT_BYTES));
    let pieces = pieces.iter().copied().filter(|piece| !piece.is_empty()).collect();
    let mut socket = WebSocket::from_raw_socket(Wire(pieces), role, Some(config));
    let mut heard = Heard::default();
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => heard.messages.push((Form::Text, text.as_bytes().to_vec())),
            Ok(Message::Binary(bytes)) => heard.messages.push((Form::Binary, bytes.to_vec())),
            Ok(Message::Ping(_)) => heard.pings += 1,
            Ok(Message::Pong(_)) => heard.pongs += 1,
            Ok(Message::Close(None)) => heard.close = Some(Close { code: None, reason: String::new() }),
            // Its stand-in for a frame with a code that nobody may send.
            Ok(Message::Close(Some(close))) if close.reason.as_str() == "Protocol violation" => {
                heard.fault = Some("bad_close_frame");
                return (heard, false);
            }
            Ok(Message::Close(Some(close))) => {
                heard.close = Some(Close { code: Some(close.code.into()), reason: close.reason.to_string() });
            }
            Ok(Message::Frame(_)) => unreachable!("only for writing"),
            Err(Error::ConnectionClosed | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => {
                return (heard, false);
            }
            Err(Error::Capacity(_)) => return (heard, true),
            Err(error) => {
                heard.fault = Some(fault(&error));
                return (heard, false);
            }
        }
    }
}

/// Our name for a fault.
fn fault(error: &Error) -> &'static str {
    use ProtocolError as P;
    match error {
        Error::Utf8(_) => "invalid_utf8",
        Error::Protocol(P::InvalidOpcode(_)) => "reserved_opcode",
        Error::Protocol(P::NonZeroReservedBits) => "reserved_bit",
        Error::Protocol(P::UnmaskedFrameFromClient | P::MaskedFrameFromServer) => "wrong_masking",
        Error::Protocol(P::FragmentedControlFrame | P::ControlFrameTooBig) => "bad_control_frame",
        Error::Protocol(P::UnexpectedContinueFrame) => "continuation_of_nothing",
        Error::Protocol(P::ExpectedFragment(_)) => "message_within_message",
        Error::Protocol(P::ReceivedAfterClosing) => "frame_after_close",
        Error::Protocol(P::InvalidCloseSequence) => "bad_close_frame",
        error => unreachable!("{error:?}"),
    }
}

/// What a side does next.
#[derive(Debug, Clone)]
enum Act {
    /// Sends a message in these parts, with a ping before the parts of these numbers.
    Message {
        form: Form,
        parts: Vec<Vec<u8>>,
        pings: Vec<usize>,
    },
    /// Sends a control frame with this first byte.
    Control {
        first: u8,
        payload: Vec<u8>,
    },
    Fault(Fault),
}

#[derive(Debug, Clone)]
enum Fault {
    WrongMasking,
    /// A frame with this first byte: a reserved opcode or bit, a control frame that is not the last of its message, a
    /// continuation of nothing.
    First(u8),
    LongControl(u8),
    MessageWithinMessage,
    NotUtf8(Vec<u8>),
    Close(Vec<u8>),
}

/// The frames of an act.
fn frames(act: &Act, mask: Option<[u8; 4]>) -> Vec<u8> {
    match act {
        Act::Message { form, parts, pings } => {
            let mut out = Vec::new();
            for (index, part) in parts.iter().enumerate() {
                if pings.contains(&index) {
                    out.extend(frame(0x89, b"between", mask));
                }
                let opcode = match (index, form) {
                    (0, Form::Text) => 1,
                    (0, Form::Binary) => 2,
                    _ => 0,
                };
                out.extend(frame(if index + 1 == parts.len() { 0x80 } else { 0 } | opcode, part, mask));
            }
            out
        }
        Act::Control { first, payload } => frame(*first, payload, mask),
        Act::Fault(Fault::WrongMasking) => frame(0x81, b"x", if mask.is_some() { None } else { Some([1, 2, 3, 4]) }),
        Act::Fault(Fault::First(first)) => frame(*first, b"x", mask),
        Act::Fault(Fault::LongControl(first)) => frame(*first, &[b'x'; 126], mask),
        Act::Fault(Fault::MessageWithinMessage) => {
            [frame(0x01, b"a", mask), frame(0x8A, b"", mask), frame(0x82, b"b", mask)].concat()
        }
        Act::Fault(Fault::NotUtf8(bytes)) => {
            let (one, two) = bytes.split_at(bytes.len() / 2);
            [frame(0x01, one, mask), frame(0x80, two, mask)].concat()
        }
        Act::Fault(Fault::Close(payload)) => frame(0x88, payload, mask),
    }
}

fn any_message() -> impl Strategy<Value = Act> {
    let content = prop_oneof![
        3 => prop::sample::select(vec!["", "a", "é€", "🦀 and text", "{\"type\":\"x\"}"]).prop_map(|text| (Form::Text, text.as_bytes().to_vec())),
        1 => prop::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| (Form::Binary, bytes)),
        1 => (120usize..140).prop_map(|length| (Form::Binary, vec![7; length])),
    ];
    (content, prop::collection::vec(1usize..6, 0..4), prop::collection::vec(1usize..4, 0..3)).prop_map(
        |((form, content), sizes, pings)| {
            let parts = cut(&content, &sizes).into_iter().map(<[u8]>::to_vec).collect();
            Act::Message { form, parts, pings }
        },
    )
}

fn any_act() -> impl Strategy<Value = Act> {
    let payload = prop::collection::vec(any::<u8>(), 0..126);
    prop_oneof![
        4 => any_message(),
        1 => (prop::sample::select(vec![0x89u8, 0x8A]), payload).prop_map(|(first, payload)| Act::Control { first, payload }),
    ]
}

fn any_fault() -> impl Strategy<Value = Fault> {
    let firsts = vec![0x83u8, 0x87, 0x8B, 0x8F, 0x03, 0xC1, 0xA2, 0x91, 0xF1, 0xC9, 0x09, 0x0A, 0x08, 0x80, 0x00];
    let code =
        prop_oneof![prop::sample::select(vec![0u16, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000]), 5000u16..];
    prop_oneof![
        1 => Just(Fault::WrongMasking),
        3 => prop::sample::select(firsts).prop_map(Fault::First),
        1 => prop::sample::select(vec![0x88u8, 0x89, 0x8A]).prop_map(Fault::LongControl),
        1 => Just(Fault::MessageWithinMessage),
        1 => prop::sample::select(vec![&b"\xFF"[..], b"ab\xC3", b"\xC3(", b"\xED\xA0\x80", b"\xF8\x88\x80\x80\x80", b"abc\xE2\x82"])
            .prop_map(|bytes| Fault::NotUtf8(bytes.to_vec())),
        1 => code.prop_map(|code| Fault::Close(code.to_be_bytes().to_vec())),
        1 => prop::sample::select(vec![&b"\x03"[..], b"\x03\xE8\xFF", b"\x0B\xB8a\xC3"]).prop_map(|bytes| Fault::Close(bytes.to_vec())),
    ]
}

/// The payload of a Close frame. The oracle takes 1014 for a code that nobody may send; IANA has registered it.
fn any_close() -> impl Strategy<Value = Vec<u8>> {
    let code =
        prop_oneof![prop::sample::select(vec![1000u16, 1001, 1003, 1007, 1011, 1013, 3000, 4999]), 3000u16..5000];
    prop_oneof![
        1 => Just(Vec::new()),
        4 => (code, prop::sample::select(vec!["", "bye", "à bientôt"]))
            .prop_map(|(code, reason)| [&code.to_be_bytes()[..], reason.as_bytes()].concat()),
    ]
}

/// The bytes of a side.
fn stream(side: Peer, acts: &[Act], mask: [u8; 4]) -> Vec<u8> {
    let mask = (side == Peer::Agent).then_some(mask);
    acts.iter().flat_map(|act| frames(act, mask)).collect()
}

fn any_side() -> impl Strategy<Value = Peer> {
    prop::sample::select(vec![Peer::Agent, Peer::Origin])
}

/// Until its first fault a side is heard as the oracle hears it; after that the oracle reads nothing.
fn agree(ours: &Heard, oracle: &Heard) -> Result<(), TestCaseError> {
    if oracle.fault.is_none() {
        prop_assert_eq!(ours, oracle);
        return Ok(());
    }
    // It has one name for text and for the reason of a Close frame.
    let same =
        ours.fault == oracle.fault || (oracle.fault, ours.fault) == (Some("invalid_utf8"), Some("bad_close_frame"));
    prop_assert!(same, "{:?} is {:?}", oracle.fault, ours.fault);
    prop_assert!(ours.messages.starts_with(&oracle.messages));
    prop_assert!(ours.pings >= oracle.pings && ours.pongs >= oracle.pongs);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn a_side_is_heard_as_by_an_independent_reader(
        side in any_side(),
        mut acts in prop::collection::vec(any_act(), 0..5),
        fault in prop::option::of(any_fault()),
        (close, late) in (prop::option::of(any_close()), any::<bool>()),
        (mask, unfinished) in (any::<[u8; 4]>(), prop::option::weighted(0.2, 1usize..40)),
        cuts in prop::collection::vec(1usize..30, 0..30),
    ) {
        acts.extend(fault.map(Act::Fault));
        acts.extend(close.map(|payload| Act::Control { first: 0x88, payload }));
        // As a server, the oracle reads nothing after a Close frame.
        if late && side == Peer::Origin {
            acts.push(Act::Control { first: 0x89, payload: Vec::new() });
        }
        let mut bytes = stream(side, &acts, mask);
        bytes.truncate(bytes.len() - unfinished.unwrap_or_default().min(bytes.len()));
        let pieces = cut(&bytes, &cuts);
        let (ours, summary) = ours(side, Extensions::None, &pieces);
        let (oracle, too_large) = oracle(side, &pieces);
        prop_assert!(!too_large);
        // We see the fault in a header; the oracle waits for the payload.
        if oracle.fault.is_none() && ours.fault.is_some() {
            prop_assert!(summary.unfinished.is_some());
            return Ok(());
        }
        agree(&ours, &oracle)?;
    }

    #[test]
    fn damaged_bytes_are_refused_as_by_an_independent_reader(
        side in any_side(),
        acts in prop::collection::vec(any_act(), 1..5),
        (mask, at, bits) in (any::<[u8; 4]>(), any::<prop::sample::Index>(), 1u8..),
        cuts in prop::collection::vec(1usize..30, 0..30),
    ) {
        let mut bytes = stream(side, &acts, mask);
        let at = at.index(bytes.len());
        bytes[at] ^= bits;
        let pieces = cut(&bytes, &cuts);
        let (ours, summary) = ours(side, Extensions::None, &pieces);
        let (oracle, too_large) = oracle(side, &pieces);
        prop_assert!(ours.messages.starts_with(&oracle.messages));
        let incomplete = summary.unfinished.is_some() || summary.unread.is_some();
        match (ours.fault, oracle.fault) {
            // It judges the first two bytes of a header, we the whole header.
            (None, Some(fault)) => prop_assert!(incomplete, "{} is not noted", fault),
            // A length in more bytes than it needs (RFC 6455 section 5.2), which the oracle accepts.
            (Some("padded_length"), None) => {}
            // As a server, it reads nothing after a Close frame.
            (Some(_), None) => prop_assert!(incomplete || oracle.close.is_some(), "{:?}", ours.fault),
            (None, None) if too_large => prop_assert!(incomplete),
            (None, None) => prop_assert_eq!(ours, oracle),
            (Some(_), Some(_)) => {}
        }
    }

    #[test]
    fn compressed_messages_are_those_that_an_independent_reader_finds_inflated_at_once(
        side in any_side(),
        (alone, other_alone) in any::<(bool, bool)>(),
        texts in prop::collection::vec((prop::sample::select(vec!["", "a", "the same again, the same again", "é€🦀"]), 1usize..5, any::<bool>()), 0..5),
        long in prop::option::weighted(0.1, 1000usize..70_000),
        (sizes, pings) in (prop::collection::vec(1usize..20, 0..4), prop::collection::vec(1usize..4, 0..2)),
        mask in any::<[u8; 4]>(),
        cuts in prop::collection::vec(1usize..50, 0..30),
    ) {
        let (agent_alone, origin_alone) = if side == Peer::Agent { (alone, other_alone) } else { (other_alone, alone) };
        let texts = texts.into_iter().map(|(text, times, compressed)| (text.repeat(times), compressed));
        let texts: Vec<_> = texts.chain(long.map(|length| ("long ".repeat(length / 5), true))).collect();
        let (mut deflater, mut sent, mut plain) = (Deflater::new(), Vec::new(), Vec::new());
        for (text, compressed) in &texts {
            let payload = if *compressed { deflater.message(text.as_bytes(), alone) } else { text.clone().into_bytes() };
            let parts = cut(&payload, &sizes).into_iter().map(<[u8]>::to_vec).collect();
            let message = Act::Message { form: Form::Text, parts, pings: pings.clone() };
            let mut bytes = stream(side, std::slice::from_ref(&message), mask);
            // What the oracle gets: binary, without the bit of the extension.
            plain.extend_from_slice(&bytes);
            let first = plain.len() - bytes.len();
            plain[first] ^= 0x03;
            bytes[0] |= if *compressed { 0x40 } else { 0 };
            sent.extend(bytes);
        }
        let (ours, summary) = ours(side, Extensions::Deflate { agent_alone, origin_alone }, &cut(&sent, &cuts));
        let (oracle, too_large) = oracle(side, &[&plain]);
        prop_assert!(!too_large && oracle.fault.is_none());
        let (mut history, mut inflated, mut expected) = (Vec::new(), 0, Vec::new());
        for ((_, payload), (_, compressed)) in oracle.messages.iter().zip(&texts) {
            if !compressed {
                expected.push((Form::Text, payload.clone()));
                continue;
            }
            if alone {
                (history, inflated) = (Vec::new(), 0);
            }
            history.extend_from_slice(payload);
            history.extend_from_slice(&[0, 0, 0xFF, 0xFF]);
            // An empty last block ends the deflate stream.
            let whole = [&history[..], &[1, 0, 0, 0xFF, 0xFF]].concat();
            let mut all = Vec::new();
            DeflateDecoder::new(&whole[..]).read_to_end(&mut all).unwrap();
            expected.push((Form::Text, all.split_off(inflated)));
            inflated += expected.last().map_or(0, |(_, text)| text.len());
        }
        prop_assert_eq!((summary.violation, summary.unread, ours.pings), (None, None, oracle.pings));
        prop_assert_eq!(ours.messages, expected);
    }
}
