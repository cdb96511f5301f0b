use std::collections::HashSet;

use super::*;
use crate::redact::testing::redactor;

fn masked(text: &str) -> String {
    redactor().masking("", 0, "").message(text).unwrap_or_else(|| text.to_owned())
}

/// The formats that belong to no one service.
const KINDS: [&str; 19] = [
    "JSON Web Tokens",
    "PASETO",
    "PASERK",
    "Macaroons",
    "Private keys (PEM)",
    "PuTTY private keys",
    "age",
    "bcrypt",
    "crypt(3)",
    "Argon2",
    "scrypt",
    "PBKDF2",
    "LDAP",
    "SCRAM in LDAP",
    "Kerberos",
    "Bearer credentials",
    "Basic credentials",
    "Cisco IOS",
    "Django",
];

#[test]
fn at_least_250_services_are_known_each_with_a_source() {
    let formats = all().map(|format| (format.service, format.source));
    let rows: Vec<_> = formats.chain(SERVICES.iter().map(|service| (service.name, service.source))).collect();
    for (service, source) in &rows {
        let known = ["https://", "gitleaks: ", "kingfisher: "].iter().any(|start| source.starts_with(start));
        assert!(known || *source == IN_USE, "{service}: {source}");
    }
    let services: HashSet<_> =
        rows.iter().map(|(service, _)| *service).filter(|name| !KINDS.contains(name)).collect();
    assert!(services.len() >= 250, "{}", services.len());
}

#[test]
fn no_two_formats_begin_alike() {
    let mut seen = HashSet::new();
    for prefix in all().map(|format| format.prefix).chain(SERVICES.iter().map(|service| service.word)) {
        assert!(seen.insert(prefix.to_ascii_lowercase()), "{prefix}");
    }
}

#[test]
fn each_row_finds_its_own_example_in_a_text() {
    let examples = all().map(|format| format.example()).chain(SERVICES.iter().map(|service| service.example()));
    for example in examples {
        for text in [format!("see {example}"), format!("a\n{example}\nb")] {
            let masked = masked(&text);
            assert!(masked.contains("****"), "{text}: {masked}");
        }
    }
}

#[test]
fn a_checksum_tells_a_token_that_other_letters_touch() {
    let Some(github) = all().find(|format| format.prefix == "ghp_") else { panic!() };
    let token = github.example();
    for text in [format!("x{token}"), format!("MY_{token}"), format!("{token}andmore"), format!("({token})")] {
        assert!(!masked(&text).contains(&token[8..30]), "{text}");
    }
    // A wrong checksum is a damaged token, not a harmless text; but it is no reason to look inside words.
    let damaged = format!("{}0", &token[..token.len() - 1]);
    assert!(!masked(&format!("({damaged})")).contains(&damaged[8..30]));
    assert_eq!(masked(&format!("x{damaged}")), format!("x{damaged}"));
}

#[test]
fn lookalikes_of_tokens_are_left() {
    let hex = |length: usize| "0123456789abcdef".chars().cycle().take(length).collect::<String>();
    let alnum = |length: usize| "aB3dE6gH9".chars().cycle().take(length).collect::<String>();
    for text in [
        format!("Datadog: {}", hex(40)),
        format!("  Sentry: {}", hex(64)),
        "heroku_app_id = \"01234567-89ab-4def-a123-456789abcdef\"".to_owned(),
        format!("\"datadog_trace_id\": \"{}\"", hex(32)),
        format!("uses: codecov/codecov-action@{}", hex(40)),
        format!("twilio_account_sid: AC{}", hex(32)),
        "datadog = datadog.initialize(api=True)".to_owned(),
        "heroku: https://dashboard.heroku.com/apps".to_owned(),
        "datadog_key = your_datadog_key_goes_here_12345".to_owned(),
        "s.replace(/(a)(b)/, \"$1$2$3\")".to_owned(),
        "price: $6$ or $5$, and $1$ each".to_owned(),
        "s{1,2}$2a$ {SHA} {SSHA}".to_owned(),
        "Private-Lines: 14 of them".to_owned(),
        "api-version pat.name sat.date b_key sl.item NF-kappa YCA v1.0-beta".to_owned(),
        "https://www.make.com/en/integrations/webhooks".to_owned(),
        "https://discord.com/api/webhooks/123".to_owned(),
        "sha256:0123456789abcdef sha256~short".to_owned(),
        "sm_pat_aaaaaaaaaaaaaaaa ion_some_long_name_in_code".to_owned(),
        "circle ciosomethinglongenoughwithoutdigits".to_owned(),
        format!("01ARZ3NDEKTSV4RRFFQ69G5FAV {}Q~{}", alnum(9), alnum(5)),
        "v4.public.key v2.local.yaml k4.local.host".to_owned(),
        "a_variable_name_of_quite_some_length_here_mmk".to_owned(),
        format!("1000.{} 4b1d{}", hex(4), hex(20)),
    ] {
        assert_eq!(masked(&text), text);
    }
}

#[test]
fn hashes_keys_and_tokens_of_no_service_are_masked_whole() {
    let of = |alphabet: &str, length: usize| alphabet.chars().cycle().take(length).collect::<String>();
    let salt = of("./aB3dE6", 22);
    let hash = of("gH9jK2./", 86);
    for (text, secret) in [
        (format!("ada:$2y$10${salt}{}", &hash[..31]), &hash[..31]),
        (format!("root:$6$rounds=5000${}${hash}:19000:0", &salt[..8]), &hash[..]),
        (format!("root:$6${}${hash}:19000:0", &salt[..8]), &hash[..]),
        (format!("$argon2id$v=19$m=65536,t=3,p=4${salt}${}", &hash[..43]), &hash[..43]),
        (format!("pbkdf2_sha256$720000${salt}${}=", of("gH9jK2", 43)), "gH9jK2gH9jK2"),
        (format!("SCRAM-SHA-256$4096:{}==${}=:{}=", of("aB3d", 22), of("gH9j", 43), of("K2lM", 43)), "K2lMK2lM"),
        (
            format!("eyJhbGciOiJkaXIifQ..{}.{}.{}", of("aB3dE6gH", 16), of("jK2lM4nP", 60), of("qR5sT7", 22)),
            "jK2lM4nP",
        ),
        (format!("Private-Lines: 1\r\n{}\r\nPrivate-MAC: 00", of("aB3dE6gH", 64)), "aB3dE6gH"),
        (
            format!(
                "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n{}\n-----END PGP PRIVATE KEY BLOCK-----",
                of("xYz1", 64)
            ),
            "xYz1xYz1",
        ),
        (format!("https://discord.com/api/webhooks/123456789012345678/{}", of("aB3d-E6_", 68)), "aB3d-E6_"),
    ] {
        assert!(!masked(&text).contains(secret), "{}", masked(&text));
    }
}
