//! Long texts, a piece at a time.

use crate::brief;

/// The longest piece, in bytes.
pub(super) const MOST: usize = 50_000;

/// The piece of a text that begins at byte `offset`, of at most `limit` bytes. If there is more, it ends with a mark that says how
/// to go on.
pub(super) fn piece(text: &str, offset: usize, limit: usize) -> String {
    let from = brief::head(text, offset).len();
    let to = brief::head(text, from.saturating_add(limit.clamp(1, MOST))).len();
    // A limit below the size of one character still goes on.
    let to = if to == from { next(text, from) } else { to };
    let piece = &text[from..to];
    let before = if from > 0 { format!("[from byte {from}]\n") } else { String::new() };
    match text.len() - to {
        0 => format!("{before}{piece}"),
        more => format!("{before}{piece}\n[{more} more bytes: call again with offset={to}]"),
    }
}

/// The end of the character that begins here.
fn next(text: &str, at: usize) -> usize {
    text[at..].chars().next().map_or(at, |c| at + c.len_utf8())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pieces_of_a_text_are_the_text() {
        let text = "aé模型🙂".repeat(50);
        for limit in [1, 3, 7, 100, 10_000] {
            let (mut offset, mut all) = (0, String::new());
            loop {
                let piece = piece(&text, offset, limit);
                let body = piece.strip_prefix(&format!("[from byte {offset}]\n")).unwrap_or(&piece);
                let Some((body, rest)) = body.split_once("\n[") else {
                    all.push_str(body);
                    break;
                };
                all.push_str(body);
                offset = rest.trim_end_matches(']').rsplit('=').next().unwrap().parse().unwrap();
            }
            assert_eq!(all, text, "{limit}");
        }
        assert_eq!(piece("abc", 99, 5), "[from byte 3]\n");
    }
}
