//! Amazon's event stream encoding: compared with the crate `aws-smithy-eventstream`, which the AWS SDK for Rust uses.

use aws_smithy_eventstream::frame::{DecodedFrame, MessageFrameDecoder, write_message_to};
use aws_smithy_types::DateTime;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use bytes::Buf;
use proptest::prelude::*;

use super::super::frames::Scanner;
use super::{CASES, pieces};

/// The kind, the name, the message and the payload of a frame.
type Read = (String, String, String, Vec<u8>);

/// How a stream ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Between,
    Inside,
    Damaged,
}

fn ours(pieces: &[&[u8]]) -> (Vec<Read>, End) {
    let (mut scanner, mut frames) = (Scanner::default(), Vec::new());
    for piece in pieces {
        scanner.read(piece, &mut |frame| {
            frames.push((frame.kind.into(), frame.name.into(), frame.message.into(), frame.payload.to_vec()));
        });
    }
    assert_eq!(scanner.skipped(), 0, "no frame is that large");
    let end = match (scanner.is_damaged(), scanner.is_between()) {
        (true, _) => End::Damaged,
        (false, true) => End::Between,
        (false, false) => End::Inside,
    };
    (frames, end)
}

fn oracle(stream: &[u8]) -> (Vec<Read>, End) {
    let (mut decoder, mut rest, mut frames) = (MessageFrameDecoder::new(), stream, Vec::new());
    loop {
        let frame = rest;
        match decoder.decode_frame(&mut rest) {
            Ok(DecodedFrame::Complete(message)) => frames.push(read(&message)),
            Ok(DecodedFrame::Incomplete) if frame.is_empty() => return (frames, End::Between),
            // The oracle judges a prelude only when the frame is complete. We need not wait for that.
            Ok(DecodedFrame::Incomplete) if is_bad_prelude(frame) => return (frames, End::Damaged),
            Ok(DecodedFrame::Incomplete) => return (frames, End::Inside),
            Err(_) => return (frames, End::Damaged),
        }
    }
}

/// What our reader takes from a message. The last of several headers with one name counts.
fn read(message: &Message) -> Read {
    let text = |names: &[&str]| {
        let named = message.headers().iter().rfind(|header| names.contains(&header.name().as_str()));
        named.and_then(|header| header.value().as_string().ok()).map_or("", |text| text.as_str()).to_owned()
    };
    let name = text(&[":event-type", ":exception-type"]);
    let name = if name.is_empty() { text(&[":error-code"]) } else { name };
    (text(&[":message-type"]), name, text(&[":error-message"]), message.payload().to_vec())
}

/// Whether a frame begins with a complete prelude that no frame can have: its checksum is wrong, or its lengths do not fit each
/// other or exceed 16 MiB of payload and 128 KiB of headers.
fn is_bad_prelude(frame: &[u8]) -> bool {
    let Some(mut prelude) = frame.get(..12) else { return false };
    let checksum = crc32fast::hash(&prelude[..8]);
    let (total, headers) = (prelude.get_u32(), prelude.get_u32());
    let limit = (16 << 20) + (128 << 10) + 16;
    prelude.get_u32() != checksum || !(16..=limit).contains(&total) || headers > total - 16
}

/// Makes the checksums of a frame right, if it has room for them.
fn seal(frame: &mut [u8]) {
    let Some(end) = frame.len().checked_sub(4).filter(|end| *end >= 12) else { return };
    let prelude = crc32fast::hash(&frame[..8]);
    frame[8..12].copy_from_slice(&prelude.to_be_bytes());
    let all = crc32fast::hash(&frame[..end]);
    frame[end..].copy_from_slice(&all.to_be_bytes());
}

fn any_header() -> impl Strategy<Value = Header> {
    let names =
        vec![":message-type", ":event-type", ":exception-type", ":error-code", ":error-message", ":content-type"];
    let name = prop_oneof![4 => prop::sample::select(names).prop_map(str::to_owned), 1 => "[a-z:é]{0,6}"];
    let value = prop_oneof![
        6 => "[a-zA-Zé ]{0,12}".prop_map(|text| HeaderValue::String(text.into())),
        1 => any::<bool>().prop_map(HeaderValue::Bool),
        1 => any::<i8>().prop_map(HeaderValue::Byte),
        1 => any::<i16>().prop_map(HeaderValue::Int16),
        1 => any::<i32>().prop_map(HeaderValue::Int32),
        1 => any::<i64>().prop_map(HeaderValue::Int64),
        1 => prop::collection::vec(any::<u8>(), 0..9).prop_map(|bytes| HeaderValue::ByteArray(bytes.into())),
        1 => (0i64..4_000_000_000).prop_map(|seconds| HeaderValue::Timestamp(DateTime::from_secs(seconds))),
        1 => any::<u128>().prop_map(HeaderValue::Uuid),
    ];
    (name, value).prop_map(|(name, value)| Header::new(name, value))
}

fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    (prop::collection::vec(any_header(), 0..5), prop::collection::vec(any::<u8>(), 0..40)).prop_map(
        |(headers, payload)| {
            let mut frame = Vec::new();
            write_message_to(&Message::new_from_parts(headers, payload), &mut frame).unwrap();
            frame
        },
    )
}

/// Damage to a stream.
#[derive(Debug, Clone)]
enum Damage {
    None,
    Cut,
    Flip(u8),
    Insert(u8),
    Remove,
    /// A changed byte in a frame whose checksums are right.
    Sealed(u8),
}

fn any_damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        2 => Just(Damage::None),
        1 => Just(Damage::Cut),
        2 => (0u8..8).prop_map(|bit| Damage::Flip(1 << bit)),
        1 => any::<u8>().prop_map(Damage::Insert),
        1 => Just(Damage::Remove),
        4 => any::<u8>().prop_map(Damage::Sealed),
    ]
}

fn damaged(frames: &[Vec<u8>], damage: &Damage, at: prop::sample::Index) -> Vec<u8> {
    let mut stream = frames.concat();
    if stream.is_empty() {
        return stream;
    }
    let place = at.index(stream.len());
    match damage {
        Damage::None => {}
        Damage::Cut => stream.truncate(place),
        Damage::Flip(bit) => stream[place] ^= bit,
        Damage::Insert(byte) => stream.insert(place, *byte),
        Damage::Remove => drop(stream.remove(place)),
        Damage::Sealed(byte) => {
            let mut frames = frames.to_vec();
            let frame = at.get_mut(&mut frames);
            // Not the first four bytes: the frame would have another length.
            let places = frame.len() - 8;
            frame[4 + place % places] = *byte;
            seal(frame);
            stream = frames.concat();
        }
    }
    stream
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn a_stream_of_frames_has_the_frames_and_the_damage_that_an_independent_reader_finds(
        frames in prop::collection::vec(any_frame(), 0..4),
        damage in any_damage(),
        at in any::<prop::sample::Index>(),
        sizes in prop::collection::vec(1usize..60, 1..6),
    ) {
        let stream = damaged(&frames, &damage, at);
        prop_assert_eq!(ours(&pieces(&stream, &sizes)), oracle(&stream));
    }
}
