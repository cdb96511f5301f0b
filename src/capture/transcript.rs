//! The messages of one side of a WebSocket as people read them: each starts on a new line, and the first and last bytes
//! are kept.

use bytes::Bytes;
use encoding_rs::{CoderResult, Decoder, UTF_8};

use super::Captured;
use super::keeper::{Keeper, Kept};
use crate::websocket::{Form, Part};

/// A binary message up to this size is shown if it is text.
const BINARY_TEXT_MAX_BYTES: usize = 4096;

/// Built while messages pass, in pieces.
pub(super) struct Transcript {
    keeper: Keeper,
    /// Decodes the current text message: a character may be split between two pieces.
    decoder: Decoder,
    text: String,
    /// The first bytes of the current binary message.
    binary: Option<Vec<u8>>,
}

impl Transcript {
    pub(super) fn new(keeper: Keeper) -> Self {
        let decoder = UTF_8.new_decoder_without_bom_handling();
        Self { keeper, decoder, text: String::new(), binary: None }
    }

    /// Reads the next part. `shown` gets each text that is added for a message.
    pub(super) fn read(&mut self, part: Part<'_>, shown: &mut impl FnMut(&Bytes)) {
        match part {
            Part::Begins(Form::Text) => {
                self.decoder = UTF_8.new_decoder_without_bom_handling();
                self.binary = None;
            }
            Part::Begins(Form::Binary) => self.binary = Some(Vec::new()),
            Part::Content(content) => match &mut self.binary {
                Some(binary) => {
                    let room = (BINARY_TEXT_MAX_BYTES + 1).saturating_sub(binary.len());
                    binary.extend_from_slice(&content[..content.len().min(room)]);
                }
                None => self.decode(content, false, shown),
            },
            Part::Ends { whole, bytes } => self.end(whole, bytes, shown),
        }
    }

    /// Adds a note of ours.
    pub(super) fn note(&mut self, words: &str) {
        self.keeper.see(&Bytes::from(format!("…[otas-proxy: {words}]…\n")));
    }

    pub(super) fn so_far(&self) -> Captured {
        self.keeper.so_far()
    }

    pub(super) fn finish(self) -> Kept {
        self.keeper.finish()
    }

    fn end(&mut self, whole: bool, bytes: u64, shown: &mut impl FnMut(&Bytes)) {
        match self.binary.take() {
            Some(binary) if whole && is_text(&binary) => self.add(Bytes::from(binary), shown),
            Some(_) if whole => {
                self.add(Bytes::from(format!("…[otas-proxy: binary message, {bytes} bytes]…")), shown)
            }
            Some(_) => {}
            None => self.decode(b"", true, shown),
        }
        if !whole {
            let words = format!("…[otas-proxy: a message of {bytes} bytes is incomplete or could not be read]…");
            self.add(Bytes::from(words), shown);
        }
        self.keeper.see(&Bytes::from_static(b"\n"));
    }

    /// Adds text. Invalid bytes are replaced, so the result is UTF-8.
    fn decode(&mut self, mut content: &[u8], last: bool, shown: &mut impl FnMut(&Bytes)) {
        loop {
            self.text.clear();
            // If replacements need more room, the loop goes on.
            self.text.reserve(content.len().clamp(64, 16 << 10));
            let (result, read, _) = self.decoder.decode_to_string(content, &mut self.text, last);
            content = &content[read..];
            if !self.text.is_empty() {
                self.add(Bytes::copy_from_slice(self.text.as_bytes()), shown);
            }
            if result == CoderResult::InputEmpty {
                return;
            }
        }
    }

    fn add(&mut self, bytes: Bytes, shown: &mut impl FnMut(&Bytes)) {
        self.keeper.see(&bytes);
        shown(&bytes);
    }
}

fn is_text(bytes: &[u8]) -> bool {
    let control = |byte: &u8| *byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r');
    bytes.len() <= BINARY_TEXT_MAX_BYTES && !bytes.iter().any(control) && std::str::from_utf8(bytes).is_ok()
}

#[cfg(test)]
mod tests {
    use super::super::budget::Budget;
    use super::super::keeper::Limits;
    use super::*;

    fn transcript_of(messages: &[(Form, &[u8], bool)], piece_bytes: usize) -> (String, String) {
        let limits = Limits { head_bytes: 1000, tail_bytes: 1000, text_bytes: 0 };
        let mut transcript = Transcript::new(Keeper::new(limits, Budget::new(1 << 20)));
        let mut shown = Vec::new();
        for (form, content, whole) in messages {
            let mut show = |line: &Bytes| shown.extend_from_slice(line);
            transcript.read(Part::Begins(*form), &mut show);
            content.chunks(piece_bytes).for_each(|piece| transcript.read(Part::Content(piece), &mut show));
            transcript.read(Part::Ends { whole: *whole, bytes: content.len() as u64 }, &mut show);
        }
        (String::from_utf8(transcript.finish().head.concat()).unwrap(), String::from_utf8(shown).unwrap())
    }

    #[test]
    fn each_text_is_a_line_whatever_the_pieces_split() {
        let messages =
            [(Form::Text, "café €🦀".as_bytes(), true), (Form::Text, b"", true), (Form::Text, b"{}", true)];
        for piece_bytes in 1..12 {
            let (kept, shown) = transcript_of(&messages, piece_bytes);
            assert_eq!(kept, "café €🦀\n\n{}\n");
            assert_eq!(shown, "café €🦀{}");
        }
    }

    #[test]
    fn binary_data_is_replaced_or_described() {
        let (kept, _) = transcript_of(
            &[
                (Form::Text, b"a\xFFb", true),
                (Form::Text, "cut €".as_bytes().split_last().unwrap().1, false),
                (Form::Binary, b"{\"text\":1}", true),
                (Form::Binary, b"\x00\x01", true),
                (Form::Binary, &[b'x'; 5000], true),
            ],
            3,
        );
        assert_eq!(
            kept,
            "a\u{FFFD}b\n\
             cut \u{FFFD}…[otas-proxy: a message of 6 bytes is incomplete or could not be read]…\n\
             {\"text\":1}\n\
             …[otas-proxy: binary message, 2 bytes]…\n\
             …[otas-proxy: binary message, 5000 bytes]…\n"
        );
    }
}
