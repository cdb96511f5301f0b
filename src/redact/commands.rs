//! Passwords in commands that name them by a short flag, which means a password only there: `mysql -pPASSWORD`,
//! `sshpass -p PASSWORD`, `redis-cli -a PASSWORD`, `curl -u user:PASSWORD`; and `IDENTIFIED BY 'PASSWORD'` of SQL.

use std::ops::Range;

use super::judge::{placeholder, strong};
use super::value::backslashes_at;
use super::work::steps;

/// How a command takes a password.
#[derive(Clone, Copy)]
enum Takes {
    /// Behind the flag, without a space.
    Glued(&'static str),
    /// As the next word.
    Next(&'static str),
    /// As the next word, behind a name and a colon.
    User(&'static [&'static str]),
    /// Right behind the word.
    Here,
    /// The same, if it looks like a password.
    Strong,
    /// As the word behind a user's name that begins so.
    BehindUser(&'static str),
    /// Right behind the word, if the rest of the line has one of these, to which it is piped.
    Piped(&'static [&'static str]),
}

/// The word that begins a command (in any case), and how it takes its password.
const COMMANDS: &[(&str, Takes)] = &[
    ("mysql", Takes::Glued("-p")),
    ("mysqldump", Takes::Glued("-p")),
    ("mysqladmin", Takes::Glued("-p")),
    ("mariadb", Takes::Glued("-p")),
    ("sshpass", Takes::Next("-p")),
    ("redis-cli", Takes::Next("-a")),
    ("smbclient", Takes::User(&["-U"])),
    ("curl", Takes::User(&["-u", "--user", "-U", "--proxy-user"])),
    ("docker login", Takes::Next("-p")),
    ("podman login", Takes::Next("-p")),
    ("az login", Takes::Next("-p")),
    ("ldapsearch", Takes::Next("-w")),
    ("ldapmodify", Takes::Next("-w")),
    ("sqlcmd", Takes::Next("-P")),
    ("openssl enc", Takes::Next("-k")),
    ("identified by", Takes::Here),
    ("gh secret set", Takes::Next("--body")),
    ("zip", Takes::Next("-P")),
    ("unzip", Takes::Next("-P")),
    ("rclone obscure", Takes::Strong),
    ("net use", Takes::BehindUser("/user:")),
    ("echo", Takes::Piped(READ_FROM_PIPES)),
    ("printf", Takes::Piped(READ_FROM_PIPES)),
];

/// What reads a password from a pipe.
const READ_FROM_PIPES: &[&str] = &["--password-stdin", "--passphrase-fd 0", "sudo -S", "passwd --stdin"];

/// The rule.
pub(super) const COMMAND: &str = "command.password";
/// A command is read so far, in bytes.
const LINE_MAX_BYTES: usize = 2048;
/// A command that reads from a pipe is read so far, in bytes.
const PIPED_MAX_BYTES: usize = 256;

/// The words to search for.
pub(super) fn words() -> impl Iterator<Item = &'static str> {
    COMMANDS.iter().map(|(word, _)| *word)
}

/// The password that command `which`, whose word ends at `end`, is given; and up to where it was read.
pub(super) fn password(text: &[u8], which: usize, end: usize) -> (Option<Range<usize>>, usize) {
    let (_, takes) = COMMANDS[which];
    let mut words = Words { text, at: end, limit: text.len().min(end + LINE_MAX_BYTES) };
    let found = match takes {
        Takes::Here => words.next().filter(|word| !placeholder(&text[word.clone()])),
        Takes::Strong => words.next().filter(|word| strong(&text[word.clone()])),
        Takes::BehindUser(flag) => {
            let line = &text[end..words.limit];
            let line = &line[..memchr::memchr(b'\n', line).unwrap_or(line.len())];
            // Another such command on the line is a part of this one.
            words.at = end + line.len();
            memchr::memmem::find(&line.to_ascii_lowercase(), flag.as_bytes()).and_then(|user| {
                let space = memchr::memchr(b' ', &line[user..])?;
                words.at = end + user + space;
                words.next().filter(|word| text[word.start] != b'/' && strong_or_word(text, word))
            })
        }
        Takes::Piped(readers) => words.find(|word| !text[word.clone()].starts_with(b"-")).filter(|word| {
            // No further, so that many such commands cost no more than few.
            let rest = &text[word.end..words.limit.min(word.end + PIPED_MAX_BYTES)];
            let piped = memchr::memchr2(b'|', b'\n', rest).filter(|at| rest[*at] == b'|').is_some_and(|pipe| {
                let next = &rest[pipe + 1..];
                let next = &next[..memchr::memchr2(b'|', b'\n', next).unwrap_or(next.len())];
                readers.iter().any(|reader| memchr::memmem::find(next, reader.as_bytes()).is_some())
            });
            piped && strong_or_word(text, word)
        }),
        Takes::Glued(flag) => words.by_ref().find_map(|word| {
            let glued = word.start + flag.len()..word.end;
            (text[word].starts_with(flag.as_bytes()) && strong_or_word(text, &glued)).then_some(glued)
        }),
        Takes::Next(flag) => loop {
            match words.next() {
                Some(word) if text[word.clone()] == *flag.as_bytes() => {
                    break words.next().filter(|word| strong_or_word(text, word));
                }
                Some(_) => {}
                None => break None,
            }
        },
        Takes::User(flags) => loop {
            match words.next() {
                Some(word) if flags.iter().any(|flag| text[word.clone()] == *flag.as_bytes()) => {
                    break words.next().and_then(|word| user(text, &word));
                }
                Some(_) => {}
                None => break None,
            }
        },
    };
    steps(words.at - end);
    (found, words.at)
}

/// Behind the colon of `user:password`.
fn user(text: &[u8], word: &Range<usize>) -> Option<Range<usize>> {
    let colon = text[word.clone()].iter().position(|byte| *byte == b':')?;
    let password = word.start + colon + 1..word.end;
    strong_or_word(text, &password).then_some(password)
}

/// What a command takes for a password may be a word, but no number, no reference and no flag.
fn strong_or_word(text: &[u8], range: &Range<usize>) -> bool {
    let value = &text[range.clone()];
    strong(value)
        || (value.len() >= 4
            && value.iter().all(|byte| byte.is_ascii_graphic())
            && value.iter().any(u8::is_ascii_alphabetic)
            && value.first() != Some(&b'-')
            && value.iter().any(|byte| !byte.is_ascii_uppercase())
            && !placeholder(value))
}

/// The words of a command line, or the strings of an array of them.
struct Words<'t> {
    text: &'t [u8],
    at: usize,
    limit: usize,
}

impl Iterator for Words<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        let separates = |byte: u8| matches!(byte, b' ' | b'\t' | b'"' | b'\'' | b',' | b'=' | b'[' | b'\\');
        let ends = |byte: u8| matches!(byte, b'\n' | b'|' | b';' | b'}' | b'>');
        while self.at < self.limit && separates(self.text[self.at]) {
            // An escaped line end, unless a backslash continues the line.
            let slashes = backslashes_at(self.text, self.at);
            if slashes > 0 && matches!(self.text.get(self.at + slashes), Some(b'n' | b'r')) {
                return None;
            }
            self.at += slashes.max(1);
        }
        let start = self.at;
        let quoted = start > 0 && matches!(self.text[start - 1], b'"' | b'\'');
        while self.at < self.limit {
            let byte = self.text[self.at];
            let inside = quoted && !matches!(byte, b'"' | b'\'' | b'\\' | b'\n');
            if !inside && (ends(byte) || (byte != b'=' && separates(byte))) {
                break;
            }
            self.at += 1;
        }
        (self.at > start).then_some(start..self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Option<&str> {
        let which = COMMANDS.iter().rposition(|(word, _)| text.to_ascii_lowercase().contains(word))?;
        let end = text.to_ascii_lowercase().find(COMMANDS[which].0)? + COMMANDS[which].0.len();
        password(text.as_bytes(), which, end).0.map(|range| &text[range])
    }

    #[test]
    fn a_command_gives_its_password_away() {
        for (text, password) in [
            ("mysql -u root -phunter2 shop", "hunter2"),
            ("sshpass -p hunter2 ssh a@b", "hunter2"),
            ("redis-cli -h cache -a hunter2 ping", "hunter2"),
            ("curl -u ada:hunter2 https://a.test", "hunter2"),
            (r#"["curl","--user","ada:hunter2","x"]"#, "hunter2"),
            (r#"{"cmd":"curl -u \"ada:hunter2\" x"}"#, "hunter2"),
            ("docker login -u ada -p hunter2 registry.test", "hunter2"),
            ("ldapsearch -D cn=admin -w hunter2 -b dc=x", "hunter2"),
            ("sqlcmd -S db -U sa -P hunter2 -Q 'select 1'", "hunter2"),
            ("CREATE USER a IDENTIFIED BY 'hunter2';", "hunter2"),
            ("gh secret set DEPLOY --body hunter2 --repo a/b", "hunter2"),
            ("zip -r -P hunter2 out.zip files", "hunter2"),
            ("rclone obscure hunter22", "hunter22"),
            (r"net use Z: \\nas\share /user:DOM\ada hunter2 /persistent:yes", "hunter2"),
            ("echo 'hunter2' | docker login -u ada --password-stdin", "hunter2"),
            ("echo -n hunter2 | sudo -S true", "hunter2"),
        ] {
            assert_eq!(found(text), Some(password), "{text}");
        }
    }

    #[test]
    fn other_flags_are_none() {
        for text in [
            "mysql -u root -p shop",
            "mysql -P 3306",
            "curl -u \"$USER:$PASSWORD\" x",
            "curl -o out https://a.test\nuser -u a:hunter2",
            "docker run --user 1000:1000 x",
            "curl --user 1000:1000 x",
            "rclone obscure password",
            "echo hunter2 | sort",
            "echo done; docker login --password-stdin < file",
            "echo $TOKEN | docker login --password-stdin",
            r"net use Z: \\srv\share /user:ada",
        ] {
            assert_eq!(found(text), None, "{text}");
        }
    }
}
