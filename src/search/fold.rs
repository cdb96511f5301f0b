//! How texts are compared.

/// The text as it is compared: each letter that has one lower-case form is replaced by it. It may be longer or shorter in bytes.
pub(crate) fn fold(text: &str) -> Vec<u8> {
    if text.is_ascii() {
        return text.as_bytes().to_ascii_lowercase();
    }
    let mut folded = String::with_capacity(text.len());
    folded.extend(text.chars().map(folded_char));
    folded.into_bytes()
}

/// A character as it is compared. One whose lower-case form is several characters stays as it is, so that each folded character
/// stands for one of the text.
pub(super) fn folded_char(c: char) -> char {
    if c.is_ascii() {
        return c.to_ascii_lowercase();
    }
    let mut lower = c.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(only), None) => only,
        _ => c,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn case_is_ignored_in_every_script_and_characters_stay_apart() {
        assert_eq!(fold("Tool_Use: ÄÉΣ Я"), "tool_use: äéσ я".as_bytes());
        assert_eq!(fold("İ 漢字"), "İ 漢字".as_bytes());
    }

    proptest! {
        #[test]
        fn a_text_in_pieces_is_folded_alike(one in any::<String>(), other in any::<String>()) {
            prop_assert_eq!([fold(&one), fold(&other)].concat(), fold(&(one + &other)));
        }
    }
}
