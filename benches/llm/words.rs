//! Text for tool results, prompts and answers: made from a seed, so that each run has the same. It looks like listings of
//! code and compresses about as well (zstd makes a quarter of it).

/// What words are made of. A token of a streamed answer is one of them, too.
const SYLLABLES: [&str; 40] = [
    "ab", "al", "an", "ar", "be", "ca", "con", "de", "di", "el", "en", "er", "es", "fa", "fi", "ge", "in", "is",
    "la", "le", "li", "lo", "ma", "men", "mi", "na", "ne", "on", "or", "pa", "per", "ra", "re", "ri", "sta", "te",
    "ti", "to", "tra", "ver",
];

/// Lines as agents often read them, with words that the search for secrets looks at more closely.
const LINES: [&str; 6] = [
    "    let value = cache.get(&user_id).ok_or(\"no such user\")?;",
    "    // The token is refreshed before it expires.",
    "    assert_eq!(response.status(), 200, \"{response:?}\");",
    "    pub password: Option<String>,",
    "        Authorization: Bearer <token>",
    "    return Err(Error::new(\"cannot open \" + path));",
];

/// SplitMix64.
pub struct Words(u64);

impl Words {
    /// The same seed says the same.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below a limit.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % limit as u64) as usize
    }

    /// A syllable, now and then behind a space.
    pub fn token(&mut self) -> String {
        let space = if self.below(2) == 0 { " " } else { "" };
        format!("{space}{}", SYLLABLES[self.below(SYLLABLES.len())])
    }

    fn word(&mut self) -> String {
        (0..=self.below(3)).map(|_| SYLLABLES[self.below(SYLLABLES.len())]).collect()
    }

    /// Lines of a listing, of this length or a few bytes more.
    pub fn listing(&mut self, bytes: usize) -> String {
        let mut text = String::with_capacity(bytes + 80);
        while text.len() < bytes {
            match self.below(4) {
                0 => text.push_str(LINES[self.below(LINES.len())]),
                _ => {
                    let words: Vec<String> = (0..8).map(|_| self.word()).collect();
                    text.push_str(&format!("src/{}.rs:{}: {}", self.word(), self.below(900) + 1, words.join(" ")));
                }
            }
            text.push('\n');
        }
        text
    }
}
