//! The work of a search is in proportion to the text, whatever the text is. It is counted in steps, which are exact, unlike time.

use proptest::prelude::*;

use super::super::fuzzing::{STEPS_A_BYTE, steps_of};
use super::hostile::{HOSTILE, HOSTILE_TO_FORMATS, HOSTILE_TO_GRAMMARS, SIDE_BY_SIDE};

/// Steps a byte where several costly pieces stand side by side.
const SIDE_BY_SIDE_STEPS_A_BYTE: u64 = 2 * STEPS_A_BYTE;

fn all() -> Vec<&'static str> {
    [HOSTILE, HOSTILE_TO_FORMATS, HOSTILE_TO_GRAMMARS].concat()
}

fn filled(piece: &str, bytes: usize) -> String {
    piece.repeat(bytes.div_ceil(piece.len()))
}

#[test]
fn no_piece_that_is_repeated_takes_more_than_some_steps_a_byte() {
    let mut slowest = (0.0, "");
    for piece in all() {
        let text = filled(piece, 32 << 10);
        let steps = steps_of(&text) as f64 / text.len() as f64;
        assert!(steps <= STEPS_A_BYTE as f64, "{piece:?}: {steps:.1} steps a byte");
        slowest = if steps > slowest.0 { (steps, piece) } else { slowest };
    }
    println!("the most steps a byte: {:.1}, of {:?}", slowest.0, slowest.1);
}

#[test]
fn pieces_side_by_side_take_work_in_proportion_to_their_length() {
    SIDE_BY_SIDE.iter().for_each(|pieces| is_in_proportion(pieces, 7 << 10).unwrap());
}

/// A text four times as long takes four times the work.
fn is_in_proportion(piece: &str, short_bytes: usize) -> Result<(), TestCaseError> {
    let (short, long) = (filled(piece, short_bytes), filled(piece, 4 * short_bytes));
    let (of_short, of_long) = (steps_of(&short), steps_of(&long));
    let ratio = long.len() as f64 / short.len() as f64;
    prop_assert!(of_long <= SIDE_BY_SIDE_STEPS_A_BYTE * long.len() as u64, "{piece:?}: {of_long} of {}", long.len());
    prop_assert!(of_long as f64 <= 1.5 * ratio * of_short as f64 + 10_000.0, "{piece:?}: {of_short}, {of_long}");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn pieces_in_any_order_take_work_in_proportion_to_their_length(
        pieces in prop::collection::vec(prop::sample::select(all()), 1..12),
    ) {
        // Texts that are searched as a whole.
        is_in_proportion(&pieces.concat(), 7 << 10)?;
    }

    #[test]
    fn pieces_in_any_order_without_repetition(
        pieces in prop::collection::vec(prop::sample::select(all()), 1..2000),
    ) {
        let text = pieces.concat();
        let steps = steps_of(&text);
        let most = SIDE_BY_SIDE_STEPS_A_BYTE * text.len() as u64 + 10_000;
        prop_assert!(steps <= most, "{steps} steps of {} bytes", text.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn long_texts_of_pieces_in_any_order_take_some_steps_a_byte(
        pieces in prop::collection::vec(prop::sample::select(all()), 1..12),
        kilobytes in 32_usize..300,
    ) {
        // Texts that are searched in windows. A byte is in several of them, up to a limit.
        let text = filled(&pieces.concat(), kilobytes << 10);
        let steps = steps_of(&text);
        prop_assert!(steps <= SIDE_BY_SIDE_STEPS_A_BYTE * text.len() as u64, "{pieces:?}: {steps} of {}", text.len());
    }
}
