//! Decoding of content codings (RFC 9110 section 8.4.1) on copies of bodies, piece by piece and in short steps. No step gives
//! more than [`STEP_BYTES`], so a compression bomb costs its reader many steps and other tasks nothing.
//!
//! All readers are lenient in the same way. An unknown coding (`none`, `utf-8`) is ignored. Content that is plain text, though its
//! header names a coding, is taken as it came. Bytes after the end of the coded data are dropped.
//!
//! ```text
//!  engine     one coding
//!  Decoder    all codings of a body
//!    |- unpack   while the body arrives (facts of model calls)
//!    |- whole    in one call (events)
//! ```

mod engine;
#[cfg(test)]
pub(crate) mod testing;
mod unpack;
mod whole;

use self::engine::{Engine, Ran};
pub(crate) use self::unpack::{Failed, Unpacker};
pub(crate) use self::whole::{DecodeEnd, decode};

/// The most bytes that one step gives.
pub(crate) const STEP_BYTES: usize = 32 << 10;

/// The most codings on one body. Real bodies have one, rarely two.
const STACKED_MAX: usize = 3;

/// This many first bytes decide whether the content is coded data or plain text.
const SNIFFED_BYTES: usize = 16;

/// A content coding that we can decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    /// `gzip`, `x-gzip`
    Gzip,
    /// `deflate`: zlib, or raw deflate as some servers send it
    Deflate,
    /// `br`
    Brotli,
    /// `zstd`
    Zstd,
}

/// What `Content-Encoding` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Codings {
    /// Nothing, or `identity`.
    None,
    /// In the order they were applied.
    Known(Vec<Coding>),
    /// At least one that we cannot decode, or too many.
    Unknown,
}

impl Codings {
    /// The codings that the values of `Content-Encoding` name (RFC 9110 section 8.4: several fields are one list).
    pub(crate) fn named<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut known = Vec::new();
        for value in values {
            for name in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                match name.to_ascii_lowercase().as_slice() {
                    b"" | b"identity" => {}
                    b"gzip" | b"x-gzip" => known.push(Coding::Gzip),
                    b"deflate" => known.push(Coding::Deflate),
                    b"br" => known.push(Coding::Brotli),
                    b"zstd" => known.push(Coding::Zstd),
                    _ => return Self::Unknown,
                }
                if known.len() > STACKED_MAX {
                    return Self::Unknown;
                }
            }
        }
        if known.is_empty() { Self::None } else { Self::Known(known) }
    }
}

/// Decodes one body.
pub(crate) struct Decoder {
    /// The first takes the input, the last gives the content.
    stages: Vec<Stage>,
    sniff: Sniff,
    /// The output of a step.
    out: Box<[u8]>,
    damaged: bool,
}

struct Stage {
    engine: Engine,
    input: Vec<u8>,
    /// Bytes of `input` that were consumed.
    used: usize,
    /// Consumed input may give more output.
    more: bool,
    /// It needs more input.
    waits: bool,
    /// Bytes that it may still give to the next stage. The last stage is not bounded here.
    left: u64,
}

/// Whether the content is plain text in spite of its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sniff {
    /// Not known yet: too few bytes.
    Open,
    Coded,
    Plain,
}

/// What a step of a [`Decoder`] gives.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step<'a> {
    /// A piece of content, which may be empty. There may be more.
    Content(&'a [u8]),
    /// More input is needed.
    NeedsInput,
    /// The coded data is damaged from here on. There is no more content.
    Damaged,
}

/// How the coded data ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// With its own end mark.
    Whole,
    /// With its own end mark, and other bytes follow.
    Trailing,
    /// It is truncated or damaged.
    Short,
    /// It was plain text, though the header named a coding.
    Plain,
}

impl Decoder {
    /// Decodes content to which `codings` were applied in this order. `between_max_bytes`: the most that one coding may give to
    /// the next.
    pub(crate) fn new(codings: &[Coding], between_max_bytes: u64) -> Self {
        let stage = |coding: &Coding| Stage {
            engine: Engine::new(*coding),
            input: Vec::new(),
            used: 0,
            more: false,
            waits: false,
            left: between_max_bytes,
        };
        Self {
            stages: codings.iter().rev().map(stage).collect(),
            sniff: if codings.is_empty() { Sniff::Plain } else { Sniff::Open },
            out: vec![0; if codings.is_empty() { 0 } else { STEP_BYTES }].into_boxed_slice(),
            damaged: false,
        }
    }

    /// Takes more input, which [`Decoder::step`] decodes.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        if let Some(first) = self.stages.first_mut()
            && !self.damaged
        {
            first.take(bytes);
        }
    }

    /// The input has ended. Whether a very short body is plain text is decided now.
    pub(crate) fn end_input(&mut self) {
        self.sniff(true);
    }

    /// Decodes a little.
    pub(crate) fn step(&mut self) -> Step<'_> {
        if self.damaged {
            return Step::Damaged;
        }
        self.sniff(false);
        match self.sniff {
            Sniff::Open => return Step::NeedsInput,
            Sniff::Plain => return self.plain(),
            Sniff::Coded => {}
        }
        // The last stage that can run goes first, so that little waits between two stages.
        let Some(at) = self.stages.iter().rposition(Stage::can_run) else { return Step::NeedsInput };
        let Ran { written, damaged, .. } = self.stages[at].run(&mut self.out);
        self.damaged = damaged;
        if let Some(next) = self.stages.get_mut(at + 1) {
            next.take(&self.out[..written]);
            let left = self.stages[at].left.checked_sub(written as u64);
            self.damaged |= left.is_none();
            self.stages[at].left = left.unwrap_or_default();
            return Step::Content(&[]);
        }
        if written == 0 && damaged { Step::Damaged } else { Step::Content(&self.out[..written]) }
    }

    /// How the coded data ended, if the input is complete.
    pub(crate) fn end(&self) -> End {
        if self.sniff == Sniff::Plain {
            return End::Plain;
        }
        let last = self.stages.last().map(|stage| &stage.engine);
        match last {
            Some(engine) if engine.is_whole() && !self.damaged => {
                let trailing = self.stages.iter().any(|stage| stage.engine.has_trailing());
                if trailing { End::Trailing } else { End::Whole }
            }
            _ => End::Short,
        }
    }

    fn plain(&mut self) -> Step<'_> {
        let Some(first) = self.stages.first_mut() else { return Step::NeedsInput };
        let rest = first.input.len() - first.used;
        if rest == 0 {
            return Step::NeedsInput;
        }
        let now = rest.min(self.out.len());
        self.out[..now].copy_from_slice(&first.input[first.used..][..now]);
        first.used += now;
        Step::Content(&self.out[..now])
    }

    fn sniff(&mut self, all: bool) {
        let Some(first) = self.stages.first().filter(|_| self.sniff == Sniff::Open) else { return };
        let seen = first.input.len().min(SNIFFED_BYTES);
        if seen == SNIFFED_BYTES || (all && seen > 0) {
            let plain = first.engine.is_plain_text(&first.input[..seen]);
            self.sniff = if plain { Sniff::Plain } else { Sniff::Coded };
        }
    }
}

impl Stage {
    fn take(&mut self, bytes: &[u8]) {
        if self.used == self.input.len() {
            self.input.clear();
            self.used = 0;
        }
        self.input.extend_from_slice(bytes);
        self.waits &= bytes.is_empty();
    }

    fn can_run(&self) -> bool {
        self.more || (self.used < self.input.len() && !self.waits)
    }

    fn run(&mut self, out: &mut [u8]) -> Ran {
        let ran = self.engine.run(&self.input[self.used..], out);
        self.used += ran.read;
        self.more = ran.written == out.len();
        self.waits = ran.waits;
        ran
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::testing::{coded, gzip};
    use super::*;

    /// Decodes `data` in pieces of this size: the content, how it ended, and whether it was sound.
    fn decoded(codings: &[Coding], data: &[u8], piece: usize) -> (Vec<u8>, End, bool) {
        let (mut decoder, mut out, mut sound) = (Decoder::new(codings, u64::MAX), Vec::new(), true);
        let mut work = |decoder: &mut Decoder| loop {
            match decoder.step() {
                Step::Content(content) => {
                    assert!(content.len() <= STEP_BYTES);
                    out.extend_from_slice(content);
                }
                Step::NeedsInput => break,
                Step::Damaged => {
                    sound = false;
                    break;
                }
            }
        };
        for piece in data.chunks(piece.max(1)) {
            decoder.feed(piece);
            work(&mut decoder);
        }
        decoder.end_input();
        work(&mut decoder);
        (out, decoder.end(), sound)
    }

    proptest! {
        #[test]
        fn any_split_of_any_coding_gives_the_content(data in prop::collection::vec(0u8..8, 1..4000), piece in 1usize..300) {
            for (coding, coded) in coded(&data) {
                prop_assert_eq!(decoded(&[coding], &coded, piece), (data.clone(), End::Whole, true), "{:?}", coding);
            }
        }

        #[test]
        fn noise_never_panics_and_always_ends(noise in prop::collection::vec(any::<u8>(), 0..600), piece in 1usize..100) {
            for coding in [Coding::Gzip, Coding::Deflate, Coding::Brotli, Coding::Zstd] {
                decoded(&[coding, coding], &noise, piece);
            }
        }
    }

    #[test]
    fn nested_codings_are_decoded_in_order() {
        let data = b"{\"a\": 1}".repeat(9_000);
        for (outer, _) in coded(b"") {
            for (inner, once) in coded(&data) {
                let twice = coded(&once).into_iter().find(|(coding, _)| *coding == outer).unwrap().1;
                for piece in [7, usize::MAX] {
                    assert_eq!(decoded(&[inner, outer], &twice, piece).0, data, "{inner:?} in {outer:?}");
                }
            }
        }
    }

    #[test]
    fn bytes_after_the_end_are_dropped_and_reported() {
        for (coding, mut bytes) in coded(b"one, two, three, four, five") {
            bytes.extend_from_slice(b"\r\nrubbish");
            for piece in [1, 5, usize::MAX] {
                let (content, end, sound) = decoded(&[coding], &bytes, piece);
                assert_eq!(
                    (content.as_slice(), end, sound),
                    (&b"one, two, three, four, five"[..], End::Trailing, true)
                );
            }
        }
        let members = [gzip(b"one "), gzip(b"two")].concat();
        assert_eq!(decoded(&[Coding::Gzip], &members, 3), (b"one two".to_vec(), End::Whole, true));
        assert_eq!(decoded(&[Coding::Gzip], &[members, vec![0; 9]].concat(), 3).0, b"one two");
    }

    #[test]
    fn plain_text_with_a_false_header_passes_unchanged() {
        for text in ["{\"plain\": \"json\", \"n\": 1}", "data: {\"a\":1}\n\ndata: [DONE]\n\n", "{}"] {
            for coding in [Coding::Gzip, Coding::Deflate, Coding::Brotli, Coding::Zstd] {
                for piece in [1, usize::MAX] {
                    let found = decoded(&[coding], text.as_bytes(), piece);
                    assert_eq!(found, (text.as_bytes().to_vec(), End::Plain, true), "{coding:?}");
                }
            }
        }
    }

    #[test]
    fn damage_is_reported_after_the_content_before_it() {
        let data: Vec<u8> = (0..20_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        let mut bytes = gzip(&data);
        let last = bytes.len() - 3;
        bytes[last] ^= 0x55;
        let (content, end, sound) = decoded(&[Coding::Gzip], &bytes, 1000);
        assert_eq!((end, sound), (End::Short, false));
        assert!(data.starts_with(&content));
        let short = gzip(&data);
        let (content, end, sound) = decoded(&[Coding::Gzip], &short[..short.len() / 2], 1000);
        assert!(sound && end == End::Short && content.len() > 20_000 && data.starts_with(&content));
    }

    #[test]
    fn the_header_is_one_list_over_several_fields() {
        let named = |values: &[&str]| Codings::named(values.iter().map(|value| value.as_bytes()));
        assert_eq!(named(&[]), Codings::None);
        assert_eq!(named(&["identity, GZip", "br"]), Codings::Known(vec![Coding::Gzip, Coding::Brotli]));
        for unknown in [&["br", "aws-chunked"][..], &["none"], &["utf-8"], &["gzip,gzip,gzip,gzip"]] {
            assert_eq!(named(unknown), Codings::Unknown);
        }
    }
}
