//! The stream of HTTP/2 frames of one side. Its header blocks are read, and a `:path` in them can be replaced. Everything else
//! passes unchanged (RFC 9113 4, 6.2). Pure.

use bytes::{BufMut, BytesMut};

use super::hpack;

const PREFACE_BYTES: usize = 24;
const HEADER_BYTES: usize = 9;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 0x20;
const PRIORITY_BYTES: usize = 5;
/// The longest frame. A peer may raise this limit, but neither of our sides does.
const FRAME_MAX_BYTES: usize = 16 << 10;
/// The longest block that is read. The library refuses longer ones by its own limit.
const BLOCK_MAX_BYTES: usize = 512 << 10;
/// The most frames of a block that is read.
const FRAMES_MAX: usize = 128;

/// The position in the stream.
#[derive(Debug)]
pub(super) struct Frames {
    /// This many bytes pass, then a frame begins.
    passing: usize,
    /// The part of that frame's header that has passed already.
    header: Vec<u8>,
}

/// The frames cannot be followed any more, so everything passes.
const LOST: usize = usize::MAX;

/// One frame of a header block.
struct Frame {
    flags: u8,
    stream: [u8; 4],
    /// Its length, including its header.
    bytes: usize,
}

impl Frames {
    /// At the beginning of a client's stream.
    pub(super) fn of_client() -> Self {
        Self { passing: PREFACE_BYTES, header: Vec::new() }
    }

    /// How many of the next bytes pass, whatever they are. 0: a frame begins here.
    pub(super) fn passing(&self) -> usize {
        match self.header.len() {
            0 => self.passing,
            begun => HEADER_BYTES - begun,
        }
    }

    /// Notes that these bytes passed without [`Self::advance`].
    pub(super) fn passed(&mut self, mut bytes: &[u8]) {
        while self.passing != LOST && !bytes.is_empty() {
            let skipped = self.passing.min(bytes.len());
            bytes = &bytes[skipped..];
            self.passing -= skipped;
            if self.passing > 0 {
                return;
            }
            let (header, rest) = bytes.split_at(bytes.len().min(HEADER_BYTES - self.header.len()));
            self.header.extend_from_slice(header);
            bytes = rest;
            if let [a, b, c, _, _, _, _, _, _] = self.header[..] {
                self.passing = u32::from_be_bytes([0, a, b, c]) as usize;
                self.header.clear();
            }
        }
    }

    /// Returns how many of the first bytes of `held` can pass. `replace` may return a replacement for a path, which is then put into
    /// `held`.
    pub(super) fn advance(
        &mut self,
        held: &mut BytesMut,
        mut replace: impl FnMut(&[u8]) -> Option<Vec<u8>>,
    ) -> usize {
        let mut gone = 0;
        while gone < held.len() {
            let passing = self.passing().min(held.len() - gone);
            if passing > 0 {
                self.passed(&held[gone..gone + passing]);
                gone += passing;
                continue;
            }
            match held[gone..] {
                [a, b, c, kind, ..] if kind != HEADERS => {
                    self.passing = HEADER_BYTES + u32::from_be_bytes([0, a, b, c]) as usize;
                }
                [_, _, _, _, ..] => match block(&held[gone..]) {
                    Block::Unfinished => break,
                    Block::Malformed => self.passing = LOST,
                    Block::Whole(frames) => {
                        let before: usize = frames.iter().map(|frame| frame.bytes).sum();
                        let after = replaced(&held[gone..gone + before], &frames, &mut replace);
                        if let Some(after) = &after {
                            let rest = held.split_off(gone + before);
                            held.truncate(gone);
                            held.extend_from_slice(after);
                            held.unsplit(rest);
                        }
                        self.passing = after.map_or(before, |after| after.len());
                    }
                },
                _ => break,
            }
        }
        gone
    }
}

enum Block {
    /// More bytes are needed.
    Unfinished,
    /// It is not a header block, or too long.
    Malformed,
    Whole(Vec<Frame>),
}

/// The frames of the header block that begins here.
fn block(bytes: &[u8]) -> Block {
    let (mut frames, mut at) = (Vec::<Frame>::new(), 0);
    loop {
        let Some(&[a, b, c, kind, flags, s, t, r, m]) = bytes[at..].first_chunk::<HEADER_BYTES>() else {
            return Block::Unfinished;
        };
        let (length, stream) = (u32::from_be_bytes([0, a, b, c]) as usize, [s, t, r, m]);
        let expected = if frames.is_empty() { HEADERS } else { CONTINUATION };
        let same = frames.first().is_none_or(|first| first.stream == stream);
        if kind != expected || !same || length > FRAME_MAX_BYTES || frames.len() >= FRAMES_MAX || at > BLOCK_MAX_BYTES
        {
            return Block::Malformed;
        }
        let Some(end) = Some(at + HEADER_BYTES + length).filter(|end| *end <= bytes.len()) else {
            return Block::Unfinished;
        };
        frames.push(Frame { flags, stream, bytes: end - at });
        at = end;
        if flags & END_HEADERS != 0 {
            return Block::Whole(frames);
        }
    }
}

/// The block's frames with the path replaced. `None`: it is not replaced.
fn replaced(bytes: &[u8], frames: &[Frame], replace: &mut impl FnMut(&[u8]) -> Option<Vec<u8>>) -> Option<Vec<u8>> {
    let first = frames.first()?;
    let (head, rest) = bytes.split_at_checked(first.bytes)?;
    let (priority, fragment) = unpadded(&head[HEADER_BYTES..], first.flags)?;
    let mut block = fragment.to_vec();
    let mut at = 0;
    for frame in &frames[1..] {
        block.extend_from_slice(rest.get(at + HEADER_BYTES..at + frame.bytes)?);
        at += frame.bytes;
    }
    let hpack::Path { field, value } = hpack::path(&block)?;
    let other = replace(&value)?;
    block.splice(field, hpack::string(&other));
    Some(framed(&block, priority, first))
}

/// The priority and the block of a HEADERS frame, without padding.
fn unpadded(payload: &[u8], flags: u8) -> Option<(&[u8], &[u8])> {
    let (padding, payload) = match flags & PADDED {
        0 => (0, payload),
        _ => payload.split_first().map(|(length, rest)| (usize::from(*length), rest))?,
    };
    let (priority, rest) = payload.split_at_checked(if flags & PRIORITY != 0 { PRIORITY_BYTES } else { 0 })?;
    Some((priority, rest.get(..rest.len().checked_sub(padding)?)?))
}

fn framed(block: &[u8], priority: &[u8], first: &Frame) -> Vec<u8> {
    let mut out = Vec::with_capacity(block.len() + 64);
    let (mut begun, mut rest) = (false, block);
    while !begun || !rest.is_empty() {
        let extra = if begun { &[][..] } else { priority };
        let (part, after) = rest.split_at(rest.len().min(FRAME_MAX_BYTES - extra.len()));
        let end = if after.is_empty() { END_HEADERS } else { 0 };
        let (kind, flags) = match begun {
            false => (HEADERS, first.flags & (END_STREAM | PRIORITY) | end),
            true => (CONTINUATION, end),
        };
        out.extend_from_slice(&((extra.len() + part.len()) as u32).to_be_bytes()[1..]);
        out.put_slice(&[kind, flags]);
        out.extend_from_slice(&first.stream);
        out.extend_from_slice(extra);
        out.extend_from_slice(part);
        (begun, rest) = (true, after);
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u32).to_be_bytes();
        [&length[1..], &[kind, flags], &[0, 0, 0, 1], payload].concat()
    }

    fn field(value: &[u8]) -> Vec<u8> {
        [&[0x82, 0x04][..], &hpack::string(value), &[0x87]].concat()
    }

    fn preface() -> Vec<u8> {
        [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, &[])].concat()
    }

    /// The bytes that pass when a stream comes in these pieces. Paths that begin with `/<` are replaced.
    fn pass<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, by: &[u8]) -> Vec<u8> {
        let (mut frames, mut held, mut passed) = (Frames::of_client(), BytesMut::new(), Vec::new());
        for piece in pieces {
            held.extend_from_slice(piece);
            let cleared = frames.advance(&mut held, |path| path.starts_with(b"/<").then(|| by.to_vec()));
            passed.extend_from_slice(&held.split_to(cleared));
        }
        passed
    }

    #[test]
    fn a_path_is_replaced_in_whatever_frames_it_comes() {
        let block = field(b"/<a>");
        let padded = [&[3][..], &[0, 0, 0, 0, 9], &block, &[0; 3]].concat();
        let after = [frame(0, 1, b"data"), frame(1, 5, &field(b"/plain"))].concat();
        for (sent, got) in [
            (frame(1, 4, &block), frame(1, 4, &field(b"/other"))),
            (
                frame(1, PADDED | PRIORITY | 5, &padded),
                frame(1, PRIORITY | 5, &[&[0, 0, 0, 0, 9][..], &field(b"/other")].concat()),
            ),
            ([frame(1, 1, &block[..3]), frame(9, 4, &block[3..])].concat(), frame(1, 5, &field(b"/other"))),
            (frame(1, 4, &field(b"/plain")), frame(1, 4, &field(b"/plain"))),
            // It is for the library to refuse.
            ([frame(1, 1, &block), frame(0, 0, b"x")].concat(), [frame(1, 1, &block), frame(0, 0, b"x")].concat()),
        ] {
            let stream = [preface(), sent, after.clone()].concat();
            let expected = [preface(), got, after.clone()].concat();
            assert_eq!(pass([&stream[..]], b"/other"), expected);
            assert_eq!(pass(stream.chunks(1), b"/other"), expected);
        }
    }

    #[test]
    fn a_longer_path_takes_more_frames() {
        let long = vec![b'x'; 40_000];
        let sent = [preface(), frame(1, 5, &field(b"/<"))].concat();
        let got = pass([&sent[..]], &long);
        let block = field(&long);
        let (first, rest) = block.split_at(FRAME_MAX_BYTES);
        let (second, third) = rest.split_at(FRAME_MAX_BYTES);
        assert_eq!(got, [preface(), frame(1, 1, first), frame(9, 0, second), frame(9, 4, third)].concat());
        let back: Vec<u8> = got[preface().len()..].to_vec();
        let Block::Whole(frames) = block_of(&back) else { panic!("not whole") };
        assert_eq!(frames.len(), 3);
    }

    fn block_of(bytes: &[u8]) -> Block {
        block(bytes)
    }

    #[test]
    fn frames_that_pass_unread_are_still_followed() {
        let stream = [preface(), frame(0, 0, b"some data"), frame(1, 4, &field(b"/<"))].concat();
        let expected = [preface(), frame(0, 0, b"some data"), frame(1, 4, &field(b"/other"))].concat();
        let last = stream.len() - frame(1, 4, &field(b"/<")).len();
        for unseen in 0..=last {
            let mut frames = Frames::of_client();
            stream[..unseen].chunks(4).for_each(|bytes| frames.passed(bytes));
            let mut held = BytesMut::from(&stream[unseen..]);
            let cleared = frames.advance(&mut held, |_| Some(b"/other".to_vec()));
            assert_eq!([&stream[..unseen], &held[..cleared]].concat(), expected, "{unseen}");
        }
    }

    proptest! {
        #[test]
        fn without_a_path_to_replace_all_passes(
            bytes in prop::collection::vec(any::<u8>(), 0..400),
            length in 1..50_usize,
        ) {
            let stream = [preface(), frame(1, 4, &field(b"/a")), bytes].concat();
            let passed = pass(stream.chunks(length), b"");
            prop_assert!(stream.starts_with(&passed));
        }
    }
}
