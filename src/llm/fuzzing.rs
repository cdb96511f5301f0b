//! Properties of the readers for any input: see [`crate::fuzzing`].

use super::{Call, Fact, Facts, Head, Reader, names, sse};

/// An event stream: its events must not depend on how it is split. The first byte chooses the size of the pieces.
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
    assert!(whole == events(usize::from(size % 16) + 1), "the split changes the result");
}

/// The paths of the APIs, and the content types of their answers.
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

/// A call: the first three bytes choose its API, its content type and coding, and the size of the pieces. A NUL
/// separates request and response. The facts must not depend on how a sound response is split. In a damaged coding, the
/// content before the damage does depend on it.
pub fn model_call(data: &[u8]) {
    let Some((&[api, form, size], rest)) = data.split_first_chunk::<3>() else { return };
    let at = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
    let (question, answer) = (&rest[..at], rest.get(at + 1..).unwrap_or_default());
    let chosen = (PATHS[usize::from(api) % PATHS.len()], usize::from(form));
    let whole = read(chosen, question, answer, answer.len().max(1));
    let pieces = read(chosen, question, answer, usize::from(size % 32) + 1);
    let damaged = |facts: &Option<Facts>| {
        let error = facts.as_ref().and_then(|facts| facts.get(names::PARSE_ERROR));
        error == Some(&Fact::Text("response_coding".to_owned()))
    };
    assert!(whole == pieces || damaged(&whole) || damaged(&pieces), "the split changes the result");
}

fn read((path, form): (&str, usize), question: &[u8], answer: &[u8], piece: usize) -> Option<Facts> {
    let field = |name: &str| match name {
        "content-type" => Some(&b"application/json"[..]),
        "accept" => Some(&b"application/json, text/event-stream"[..]),
        _ => None,
    };
    let mut reader = Reader::new(Call::of(&Head { method: "POST", host: "api.test", path, field: &field })?);
    question.chunks(piece).for_each(|piece| reader.read_request(piece));
    reader.end_request(true);
    reader.response_head(200, &|name| match name {
        "content-type" => Some(FORMS[form % FORMS.len()].into()),
        "content-encoding" => Some(CODINGS[form / FORMS.len() % CODINGS.len()].into()),
        _ => None,
    });
    answer.chunks(piece).for_each(|piece| reader.read_response(piece, None));
    reader.end_response(true);
    reader.facts()
}
