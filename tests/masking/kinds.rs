//! Kinds of secrets: what each is called and what it looks like. All are made up, from a seed.

/// One secret under the name that it goes by.
pub(super) struct Secret {
    /// What kind it is.
    pub(super) kind: &'static str,
    /// As an environment variable.
    pub(super) variable: &'static str,
    /// As a member of JSON or a key of settings.
    pub(super) member: &'static str,
    /// The secret.
    pub(super) value: String,
}

/// Pseudo-random numbers, the same each time.
pub(super) struct Numbers(u64);

impl Numbers {
    pub(super) fn from(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    pub(super) fn of(&mut self, alphabet: &str, length: usize) -> String {
        let alphabet = alphabet.as_bytes();
        (0..length).map(|_| char::from(alphabet[self.next() as usize % alphabet.len()])).collect()
    }
}

pub(super) const HEX: &str = "0123456789abcdef";
pub(super) const ALNUM: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
pub(super) const BASE64: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
pub(super) const WORD: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Ten kinds.
pub(super) fn all(seed: u64) -> Vec<Secret> {
    let mut numbers = Numbers::from(seed);
    let mut secret = |kind, variable, member, make: &dyn Fn(&mut Numbers) -> String| Secret {
        kind,
        variable,
        member,
        value: make(&mut numbers),
    };
    vec![
        secret("password of words", "DB_PASSWORD", "password", &|n| {
            let words = ["falcon", "Harbour", "violet", "Copper", "meadow", "Quartz", "saddle", "Winter"];
            let mut word = || words[n.next() as usize % words.len()];
            format!("{}-{}-{}7{}", word(), word(), word(), n.next() % 90 + 10)
        }),
        secret("password", "ADMIN_PASSWD", "passwd", &|n| format!("Tr0ub4dor{}", n.of(ALNUM, 5))),
        secret("key with prefix", "OPENAI_API_KEY", "openaiApiKey", &|n| format!("sk-proj-{}", n.of(WORD, 48))),
        secret("token with prefix", "GITHUB_TOKEN", "github_token", &|n| format!("ghp_{}", n.of(ALNUM, 36))),
        secret("hexadecimal key", "ACME_API_KEY", "api_key", &|n| n.of(HEX, 32)),
        secret("client secret", "CLIENT_SECRET", "client_secret", &|n| n.of(ALNUM, 40)),
        secret("base64 key", "AWS_SECRET_ACCESS_KEY", "secretAccessKey", &|n| n.of(BASE64, 40)),
        secret("web token", "ACCESS_TOKEN", "access_token", &|n| {
            format!("eyJhbGciOiJIUzI1NiJ9.eyJ{}.{}", n.of(ALNUM, 30), n.of(WORD, 43))
        }),
        secret("token in parts", "SLACK_BOT_TOKEN", "slack_bot_token", &|n| {
            format!("xoxb-{}-{}-{}", n.of("0123456789", 11), n.of("0123456789", 12), n.of(ALNUM, 24))
        }),
        secret("unique id as token", "AUTH_TOKEN", "auth_token", &|n| {
            let mut part = |length| n.of(HEX, length);
            format!("{}-{}-4{}-a{}-{}", part(8), part(4), part(3), part(3), part(12))
        }),
    ]
}
