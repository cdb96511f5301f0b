//! Properties of the WebSocket reader for any input: see [`crate::fuzzing`].

use super::{Conversation, Extensions, Part, Peer, Turns};

/// The first byte chooses the side, the extensions and the size of the pieces; the rest is what that side sends. The
/// result must not depend on how the bytes are split.
pub fn websocket(data: &[u8]) {
    let Some((how, bytes)) = data.split_first() else { return };
    let side = if how & 1 == 0 { Peer::Agent } else { Peer::Origin };
    let extensions = match how & 2 {
        0 => Extensions::None,
        _ => Extensions::Deflate { agent_alone: how & 4 != 0, origin_alone: how & 4 != 0 },
    };
    let pieces = usize::from(how >> 3) + 1;
    let whole = heard(side, extensions, bytes, bytes.len().max(1));
    assert!(whole == heard(side, extensions, bytes, pieces), "the split changes the result");
}

/// The last bytes of each message that are compared.
const END_BYTES: usize = 64;

/// The messages: the last bytes of each, its size, and whether it is complete.
fn heard(side: Peer, extensions: Extensions, bytes: &[u8], piece: usize) -> Vec<(Vec<u8>, usize, Option<bool>)> {
    let (mut conversation, mut turns) = (Conversation::new(extensions), Turns::default());
    let mut messages: Vec<(Vec<u8>, usize, Option<bool>)> = Vec::new();
    for piece in bytes.chunks(piece) {
        conversation.read(side, piece, &mut |part| match (part, messages.last_mut()) {
            (Part::Begins(form), _) => {
                turns.begins(side, form);
                messages.push((Vec::new(), 0, None));
            }
            (Part::Content(content), Some((end, total, _))) => {
                turns.content(side, content);
                *total += content.len();
                end.extend_from_slice(content);
                end.drain(..end.len().saturating_sub(END_BYTES));
            }
            (Part::Ends { whole, .. }, Some((.., ended))) => {
                turns.ends(side);
                *ended = Some(whole);
            }
            (_, None) => {}
        });
    }
    let summary = conversation.summary();
    let tally = if side == Peer::Agent { summary.agent } else { summary.origin };
    assert!(tally.bytes <= bytes.len() as u64 && tally.messages <= messages.len() as u64);
    messages
}
