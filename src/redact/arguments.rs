//! Command lines and pairs of a name and a value, as people type them.
//!
//! In a command line the place of a word says more than in a text: the word behind `--password` is a password, whatever it looks
//! like. So each word is judged by the option before it, searched alone, and searched in the whole line.

use std::ops::Range;

use super::WITHHELD;
use super::judge::looks_secret;
use super::mask::is_mask;
use super::masking::Masking;
use super::names::Kind;
use super::programs::{PROGRAMS, Short};
use crate::secret::MASK;

/// Options whose next word, or whose value behind `=`, is or holds a secret.
const SECRET_OPTIONS: [&str; 10] =
    ["-u", "--user", "-H", "--header", "-b", "--cookie", "--proxy-user", "--proxy-header", "-storepass", "-keypass"];
/// Words in the name of an option or variable that holds a secret. They are fewer than those of `names`, and each stands for a
/// secret alone and anywhere in the name (`--auth-header`). In texts that would mask too much: there a whole known name must end
/// the name.
const SECRET_WORDS: [&str; 10] =
    ["key", "token", "secret", "password", "passwd", "passphrase", "pwd", "auth", "bearer", "credential"];
/// A word that only at the end of a name means a secret: `--proxy-pass`, not `--pass-through`.
const SECRET_AT_THE_END: &str = "pass";
/// The beginnings of keys. They are some of those of `formats`. A word of a command line that begins so is masked even if it does
/// not fit the format, because it may be cut or of a new kind; in texts that would mask the names of styles and fields.
const KEY_BEGINNINGS: [&str; 7] = ["sk-", "agent_", "ghp_", "github_pat_", "xoxb-", "AKIA", "eyJ"];
/// A key is at least so long, in bytes.
const KEY_MIN_BYTES: usize = 20;

/// What a word says of the next one.
enum Next<'w> {
    Anything,
    Secret,
    /// It is the value of the option with this name.
    ValueOf(&'w str),
}

impl Masking<'_> {
    /// The words of a command line, with their secrets masked.
    pub fn command(&mut self, command: &[String]) -> Vec<String> {
        let mut shown = Vec::with_capacity(command.len());
        let (mut next, mut short) = (Next::Anything, None);
        for word in command {
            let masked = match std::mem::replace(&mut next, Next::Anything) {
                Next::Secret if !word.is_empty() => Some(MASK.to_owned()),
                Next::ValueOf(option) => self.value_of(option, word),
                Next::Secret | Next::Anything => None,
            };
            shown.push(masked.unwrap_or_else(|| self.argument(word, short)));
            next = next_of(word, short);
            let program = word.rsplit('/').next().unwrap_or(word);
            short = PROGRAMS.iter().find(|of| of.names.contains(&program)).map(|of| of.short).or(short);
        }
        self.in_the_whole_line(&mut shown);
        shown
    }

    /// A name and its value, with their secrets masked.
    pub fn pair(&mut self, name: &str, value: &str) -> (String, String) {
        let shown = self.value_of(name, value).unwrap_or_else(|| {
            // Some rules need the name of a service in front.
            let pair = [format!("{name}={}", self.argument(value, None))];
            let masked = self.command(&pair).concat();
            masked.split_once('=').map_or(masked.clone(), |(_, value)| value.to_owned())
        });
        (self.searched(name), shown)
    }

    /// A word that is not masked because of the word before it.
    fn argument(&mut self, word: &str, short: Option<Short>) -> String {
        if let Some((option, _)) = short.and_then(|short| short.split(word)).filter(|(_, glued)| !glued.is_empty()) {
            return format!("{option}{MASK}");
        }
        if let Some((name, value)) = word.split_once('=')
            && let Some(mask) =
                if SECRET_OPTIONS.contains(&name) { Some(MASK.to_owned()) } else { self.value_of(name, value) }
        {
            return format!("{}={mask}", self.searched(name));
        }
        if looks_like_key(word) {
            return MASK.to_owned();
        }
        let masked = self.searched(word);
        match user_of(&masked) {
            Some(range) => format!("{}{MASK}{}", &masked[..range.start], &masked[range.end..]),
            None => masked,
        }
    }

    /// The mask of the value of an option, a variable or a property, if its name is that of a secret.
    fn value_of(&mut self, name: &str, value: &str) -> Option<String> {
        if value.is_empty() || is_mask(value.as_bytes()) {
            return None;
        }
        let certain = names_secret(name);
        let redactor = self.redactor;
        let masked = match redactor.names.key(name.trim_start_matches('-').as_bytes()) {
            Some((_, Kind::Parameter)) | None => None,
            Some((_, Kind::Opaque)) if !certain && !looks_secret(value.as_bytes()) => None,
            Some((rule, kind)) => self.shown_as(value, kind, rule),
        };
        masked.or_else(|| certain.then(|| MASK.to_owned()))
    }

    /// A text as it would be masked anywhere, with its URLs and what stands behind percent-escapes.
    fn searched(&mut self, text: &str) -> String {
        let without_users = self.urls(text);
        let masked = without_users.as_deref().unwrap_or(text);
        self.path(masked).or(without_users).unwrap_or_else(|| text.to_owned())
    }

    /// Masks what only the line of all words shows, such as the password of `docker login -p PASSWORD`.
    fn in_the_whole_line(&self, words: &mut [String]) {
        let mut line = String::new();
        let mut places: Vec<Range<usize>> = Vec::with_capacity(words.len());
        for word in words.iter() {
            let quote = match word.contains(char::is_whitespace) {
                true if word.contains('\'') => "\"",
                true => "'",
                false => "",
            };
            line.push_str(quote);
            let start = line.len();
            line.push_str(word);
            places.push(start..line.len());
            line.push_str(quote);
            line.push(' ');
        }
        let Some(masks) = self.explain(&line) else {
            words.fill(WITHHELD.to_owned());
            return;
        };
        // From the end, so that the places before stay.
        for mask in masks.iter().rev() {
            let (start, end) = (mask.range.start, mask.range.end);
            let first = places.partition_point(|place| place.end <= start);
            let past = places.partition_point(|place| place.start < end);
            for (word, place) in words.iter_mut().zip(&places).take(past).skip(first) {
                let inside = start.max(place.start) - place.start..end.min(place.end) - place.start;
                let shown = if start >= place.start { mask.shown.as_str() } else { MASK };
                word.replace_range(inside, shown);
            }
        }
    }
}

impl Short {
    /// A word such as `-subob:secret` as its options (`-su`) and what is glued to them.
    fn split(self, word: &str) -> Option<(&str, &str)> {
        let flags = word.strip_prefix('-')?;
        let letters = flags.char_indices().take_while(|(_, char)| char.is_ascii_alphabetic());
        let is_it = |at: usize| {
            let glued = &flags[at + 1..];
            // `-XPUT` has no user in it.
            if glued.is_empty() { !self.only_glued } else { at == 0 || glued.contains(':') }
        };
        let (at, _) = letters.into_iter().find(|(at, char)| self.options.contains(*char) && is_it(*at))?;
        Some(word.split_at(at + 2))
    }
}

/// What a word says of the next one.
fn next_of(word: &str, short: Option<Short>) -> Next<'_> {
    let is_short = || short.and_then(|short| short.split(word)).is_some_and(|(_, glued)| glued.is_empty());
    if SECRET_OPTIONS.contains(&word) || is_short() {
        Next::Secret
    } else if word.starts_with('-') && !word.contains('=') {
        Next::ValueOf(word)
    } else {
        Next::Anything
    }
}

/// Whole words only: `--max-tokens` sets a number, `--api-key` is a secret.
fn names_secret(name: &str) -> bool {
    let mut words = name.split(|c: char| !c.is_ascii_alphanumeric());
    words.clone().next_back().is_some_and(|last| last.eq_ignore_ascii_case(SECRET_AT_THE_END))
        || words.any(|word| SECRET_WORDS.contains(&word.to_ascii_lowercase().as_str()))
}

fn looks_like_key(word: &str) -> bool {
    word.len() >= KEY_MIN_BYTES && KEY_BEGINNINGS.iter().any(|beginning| word.starts_with(beginning))
}

/// The user information of a URL, or of an address without a scheme (`me:password@host`). Only a word of a command line can be
/// such an address: in a text, `a:b@c` is anything. So `authority` and `urls` look behind `//` only.
fn user_of(word: &str) -> Option<Range<usize>> {
    let (start, is_url) = match word.split_once("://") {
        Some((scheme, _)) => (scheme.len() + "://".len(), true),
        None if word.starts_with("--") => (word.find('=')? + 1, false),
        // An option of one letter, and what is glued to it.
        None if word.starts_with('-') => (word.char_indices().nth(2)?.0, false),
        None => (0, false),
    };
    let end = word[start..].find(['/', '?', '#']).map_or(word.len(), |end| start + end);
    let at = start + word[start..end].rfind('@')?;
    let user = &word[start..at];
    let is_image = word[at..].starts_with("@sha256:");
    let has_password = user.contains(':') && !user.contains(char::is_whitespace) && !is_image;
    (!is_mask(user.as_bytes()) && (is_url || has_password)).then_some(start..at)
}

#[cfg(test)]
mod tests {
    use crate::redact::formats;
    use crate::redact::testing::{redactor, untagged};

    fn masked(words: &[&str]) -> String {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        untagged(&redactor().masking("", 0, "").command(&words).join(" "))
    }

    #[test]
    fn each_beginning_of_a_key_is_that_of_a_known_format() {
        for beginning in super::KEY_BEGINNINGS {
            assert!(formats::all().any(|format| format.prefix == beginning), "{beginning}");
        }
    }

    #[test]
    fn secrets_are_masked_and_the_rest_is_readable() {
        for (given, shown) in [
            ("python agent.py --task x", "python agent.py --task x"),
            ("curl -H Authorization:x https://a/", "curl -H **** https://a/"),
            ("a --api-key k --max-tokens 5", "a --api-key **** --max-tokens 5"),
            ("a --token=abc API_KEY=x", "a --token=**** API_KEY=****"),
            ("a https://me:pw@host/x?y=z@1", "a https://****@host/x?y=z@1"),
            ("a sk-abcdefghijklmnopqrst", "a ****"),
            ("curl -XPUT -sS -o out https://a/", "curl -XPUT -sS -o out https://a/"),
            ("docker run img:1@sha256:ab -p 80:80", "docker run img:1@sha256:ab -p 80:80"),
            ("git clone git@github.com:a/b.git", "git clone git@github.com:a/b.git"),
            ("claude --session dev -p hello", "claude --session dev -p hello"),
            ("a --pass-through x", "a --pass-through x"),
        ] {
            let words: Vec<&str> = given.split(' ').collect();
            assert_eq!(masked(&words), shown);
        }
    }

    #[test]
    fn a_secret_is_found_by_its_place_by_its_option_and_by_its_look() {
        const KEY: &str = "sk-ant-api03-q7Rt2Wy9Kp4Lm8Nv3Xz6Bc1Df5Gh0Js-q7Rt2Wy9Kp4Lm8";
        const PW: &str = "Hunter2Passw0rd";
        for words in [
            &["curl", "-u", "bob:PW", "x"][..],
            &["curl", "-su", "bob:PW", "x"],
            &["curl", "-ubob:PW", "x"],
            &["/usr/bin/curl", "-sSubob:PW", "x"],
            &["curl", "-sU", "PW", "x"],
            &["curl", "--user=bob:PW", "x"],
            &["curl", "--proxy-user", "bob:PW"],
            &["curl", "--proxy-user=bob:PW"],
            &["curl", "-x", "bob:PW@proxy:3128"],
            &["curl", "-xbob:PW@proxy:3128"],
            &["curl", "-x", "bob:p@PW@proxy:3128"],
            &["a", "--proxy-pass", "PW"],
            &["curl", "--oauth2-bearer", "PW"],
            &["mongosh", "-u", "root", "-p", "PW"],
            &["curl", "--proxy=bob:PW@proxy:3128"],
            &["curl", "-HX-Api-Key: PW"],
            &["http", "-a", "bob:PW", "h"],
            &["curl", "http://bob:PW@host/x?key=1"],
            &["curl", "http://bob:PW@host/x?a=1"],
            &["curl", "http://h/r?url=https%3A%2F%2Fu%3APW%40h%2F"],
            &["curl", "http://h/a?api_key=KEY"],
            &["curl", "http://h/KEY/a"],
            &["curl", "-d", r#"{"password":"PW","t":"KEY"}"#, "h"],
            &["curl", "-d", "user=a&password=PW"],
            &["python3", "-c", r#"get("h", headers={"x-api-key": "KEY"})"#],
            &["sh", "-c", "curl -su bob:PW http://h/"],
            &["sh", "-c", "mysql -u root -pPW shop"],
            &["mysql", "-u", "root", "-pPW", "shop"],
            &["mysql", "-u", "root", "-pPW with spaces", "shop"],
            &["sshpass", "-p", "PW", "ssh", "h"],
            &["docker", "login", "-u", "ada", "-p", "PW", "h"],
            &["openssl", "enc", "-k", "PW"],
            &["a", "--password", "PW"],
            &["a", "--db-password", "PW with spaces"],
            &["a", "--passphrase=PW"],
            &["a", "-password", "PW"],
            &["keytool", "-storepass", "PW"],
            &["env", "DB_PASSWORD=PW", "a"],
            &["a", "--api-key", "--x", "--password", "PW"],
            &["a", "--no-password", "--password", "PW"],
            &["a", "--otp", "PW"],
        ] {
            let words: Vec<String> = words.iter().map(|word| word.replace("KEY", KEY).replace("PW", PW)).collect();
            let shown = redactor().masking("", 0, "").command(&words);
            assert_eq!(shown.len(), words.len());
            let shown = shown.join(" ");
            for secret in [&KEY[15..], PW, "with spaces"] {
                assert!(!shown.contains(secret), "{words:?}: {shown}");
            }
        }
    }

    #[test]
    fn a_pair_is_masked_by_its_name_and_by_its_value() {
        const SECRET: &str = "q7Rt2Wy9Kp4Lm8Nv3Xz6Bc1Df5Gh0Js";
        for (name, value) in [
            ("password", SECRET),
            ("db_password", "pw"),
            ("note", "a sk-ant-api03-SECRET b"),
            ("note", "http://bob:SECRET@h/"),
            ("note", r#"{"password":"SECRET"}"#),
            ("apiToken", SECRET),
            ("sk-ant-api03-SECRET", "x"),
        ] {
            let (name, value) = (name.replace("SECRET", SECRET), value.replace("SECRET", SECRET));
            let (shown, mask) = redactor().masking("", 0, "").pair(&name, &value);
            assert!(!format!("{shown}={mask}").contains(SECRET) && mask != "pw", "{name}={value}: {shown}={mask}");
        }
        for (name, value) in [("team", "a=b"), ("max_tokens", "5"), ("note", "a b c"), ("state", "x"), ("note", "")] {
            let same = (name.to_owned(), value.to_owned());
            assert_eq!(redactor().masking("", 0, "").pair(name, value), same);
        }
    }
}
