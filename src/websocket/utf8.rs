//! Checks that text which arrives in pieces is UTF-8.

/// Follows one text.
#[derive(Default)]
pub(super) struct Utf8 {
    /// The beginning of a character that continues in the next piece: at most three bytes.
    begun: Vec<u8>,
}

impl Utf8 {
    /// Takes the next piece. False: the text is not UTF-8.
    pub(super) fn takes(&mut self, mut piece: &[u8]) -> bool {
        while !self.begun.is_empty()
            && let Some((next, rest)) = piece.split_first()
        {
            self.begun.push(*next);
            piece = rest;
            match std::str::from_utf8(&self.begun) {
                Ok(_) => self.begun.clear(),
                Err(error) if error.error_len().is_some() => return false,
                Err(_) => {}
            }
        }
        match std::str::from_utf8(piece) {
            Ok(_) => true,
            Err(error) if error.error_len().is_some() => false,
            Err(error) => {
                self.begun.extend_from_slice(&piece[error.valid_up_to()..]);
                true
            }
        }
    }

    /// Ends the text. False: it ended within a character.
    pub(super) fn ends(&mut self) -> bool {
        let whole = self.begun.is_empty();
        self.begun.clear();
        whole
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_split_is_judged_as_the_whole(
            parts in prop::collection::vec(prop_oneof![
                6 => "[aé€🦀]{0,3}".prop_map(String::into_bytes),
                1 => prop::collection::vec(any::<u8>(), 1..3),
            ], 0..6),
            size in 1usize..5,
        ) {
            let text = parts.concat();
            let mut utf8 = Utf8::default();
            let taken = text.chunks(size).all(|piece| utf8.takes(piece));
            prop_assert_eq!(taken && utf8.ends(), std::str::from_utf8(&text).is_ok());
        }
    }
}
