//! What must hold of the readers whatever comes: see [`crate::fuzzing`].

use super::{Call, Fact, Facts, Head, Reader, names, sse};

/// An event stream: however it is cut, the same events are in it. The first byte tells how large the pieces are.
pub fn event_stream(data: &[u8]) {
    let Some((size, stream)) = data.split_first() else { return };
    let events = |piece: usize| {
        let (mut scanner, mut found) = (sse::Scanner::default(), Vec::new());
        let mut data = Vec::new();
        for piece in stream.chunks(piece) {
            scanner.read(piece, &mut |part| match part {
                sse::Part::Data(bytes) => data.extend_from_slice(bytes),
                sse::Part::Ends { name } => found.push((name.to_owned(), std::mem::take(&mut data))),
            });
        }
        found
    };
    let whole = events(stream.len().max(1));
    assert!(whole == events(usize::from(size % 16) + 1), "the cut makes a difference");
}

/// Interfaces by the paths that they are at, and the forms of their answers.
const PATHS: [&str; 8] = [
    "/v1/chat/completions",
    "/v1/responses",
    "/v1/embeddings",
    "/v1/messages",
    "/v1beta/models/m:streamGenerateContent",
    "/model/m/converse-stream",
    "/model/m/invoke-with-response-stream",
    "/mcp",
];
const FORMS: [&str; 3] = ["text/event-stream", "application/json", "application/vnd.amazon.eventstream"];
const CODINGS: [&str; 5] = ["", "gzip", "deflate", "br", "zstd"];

/// A call: the first three bytes choose its interface, form and coding, and the size of the pieces; a NUL stands between the
/// question and the answer. However a sound answer is cut, the facts are the same: of a damaged coding, how much comes out
/// before the damage is seen depends on the pieces.
pub fn model_call(data: &[u8]) {
    let Some((&[api, form, size], rest)) = data.split_first_chunk::<3>() else { return };
    let at = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
    let (question, answer) = (&rest[..at], rest.get(at + 1..).unwrap_or_default());
    let chosen = (PATHS[usize::from(api) % PATHS.len()], usize::from(form));
    let whole = read(chosen, question, answer, answer.len().max(1));
    let pieces = read(chosen, question, answer, usize::from(size % 32) + 1);
    let damaged = |facts: &Option<Facts>| {
        let told = facts.as_ref().and_then(|facts| facts.get(names::PARSE_ERROR));
        told == Some(&Fact::Text("response_coding".to_owned()))
    };
    assert!(whole == pieces || damaged(&whole) || damaged(&pieces), "the cut makes a difference");
}

fn read((path, form): (&str, usize), question: &[u8], answer: &[u8], piece: usize) -> Option<Facts> {
    let field = |name: &str| match name {
        "content-type" => Some(&b"application/json"[..]),
        "accept" => Some(&b"application/json, text/event-stream"[..]),
        _ => None,
    };
    let mut reader = Reader::new(Call::of(&Head { method: "POST", host: "api.test", path, field: &field })?);
    question.chunks(piece).for_each(|piece| reader.asked(piece));
    reader.asked_all(true);
    reader.answered(200, &|name| match name {
        "content-type" => Some(FORMS[form % FORMS.len()].into()),
        "content-encoding" => Some(CODINGS[form / FORMS.len() % CODINGS.len()].into()),
        _ => None,
    });
    answer.chunks(piece).for_each(|piece| reader.told(piece, None));
    reader.told_all(true);
    reader.facts()
}
