//! Passwords in commands whose short flags mean a password: `mysql -pPASSWORD`, `sshpass -p PASSWORD`, `redis-cli -a PASSWORD`,
//! `curl -u user:PASSWORD`; and `IDENTIFIED BY 'PASSWORD'` of SQL.

use std::ops::Range;
use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::judge::{placeholder, strong};
use super::programs::{InTexts, PROGRAMS};
use super::reach::looked;
use super::value::backslashes_at;
use super::work::steps;

/// Where a command has its password.
#[derive(Clone, Copy)]
enum Takes {
    /// Right behind the flag, without a space.
    Glued(&'static str),
    /// In the word behind the flag.
    Next(&'static str),
    /// In the word behind the flag, behind a user name and a colon.
    User(&'static [&'static str]),
    /// In the next word.
    Here,
    /// In the next word, if it looks like a password.
    Strong,
    /// In the word behind the user name, which begins so.
    BehindUser(&'static str),
    /// In the next word, if the line pipes it to a command that reads a password.
    Piped,
}

/// The first words of a command (in any case), and where the command has its password.
type Command = (&'static str, Takes);

/// Commands of several words, and what is no program's name. Programs stand in `programs`.
const PHRASES: [Command; 10] = [
    ("docker login", Takes::Next("-p")),
    ("podman login", Takes::Next("-p")),
    ("az login", Takes::Next("-p")),
    ("openssl enc", Takes::Next("-k")),
    ("identified by", Takes::Here),
    ("gh secret set", Takes::Next("--body")),
    ("rclone obscure", Takes::Strong),
    ("net use", Takes::BehindUser("/user:")),
    ("echo", Takes::Piped),
    ("printf", Takes::Piped),
];

static COMMANDS: LazyLock<Vec<Command>> = LazyLock::new(|| {
    let programs = PROGRAMS.iter().flat_map(|program| {
        let takes = match program.in_texts {
            InTexts::Same if program.short.only_glued => Some(Takes::Glued(program.short.options)),
            InTexts::Same => Some(Takes::Next(program.short.options)),
            InTexts::User(options) => Some(Takes::User(options)),
            InTexts::Not => None,
        };
        program.names.iter().filter_map(move |name| Some((*name, takes?)))
    });
    programs.chain(PHRASES).collect()
});

/// Commands that read a password from a pipe.
const READ_FROM_PIPES: [&str; 4] = ["--password-stdin", "--passphrase-fd 0", "sudo -S", "passwd --stdin"];

/// The rule.
pub(super) const COMMAND: &str = "command.password";
/// A command is read up to this length, in bytes.
const LINE_MAX_BYTES: usize = 2048;
/// The most short flags in one word that are looked at.
const CLUSTER_MAX_BYTES: usize = 6;
/// The pipe behind a password is searched for in so many bytes.
const PIPED_MAX_BYTES: usize = 256;

/// The words to search for.
pub(super) fn words() -> impl Iterator<Item = &'static str> {
    COMMANDS.iter().map(|(word, _)| *word)
}

/// The password of command `which`, whose word ends at `end`; and up to where the command was read.
pub(super) fn password(text: &[u8], which: usize, end: usize) -> (Option<Range<usize>>, usize) {
    let (_, takes) = COMMANDS[which];
    let mut words = Words { text, at: end, limit: text.len().min(end + LINE_MAX_BYTES) };
    let found = match takes {
        Takes::Here => words.next().filter(|word| !placeholder(&text[word.clone()])),
        Takes::Strong => words.next().filter(|word| strong(&text[word.clone()])),
        Takes::BehindUser(flag) => {
            let line = &text[end..words.limit];
            let line = &line[..memchr::memchr(b'\n', line).unwrap_or(line.len())];
            looked(end..end + line.len() + 1);
            // The rest of the line belongs to this command.
            words.at = end + line.len();
            memchr::memmem::find(&line.to_ascii_lowercase(), flag.as_bytes()).and_then(|user| {
                let space = memchr::memchr(b' ', &line[user..])?;
                words.at = end + user + space;
                words.next().filter(|word| text[word.start] != b'/' && strong_or_word(text, word))
            })
        }
        Takes::Piped => words.find(|word| !text[word.clone()].starts_with(b"-")).filter(|word| {
            // A short reach, so that a text of many such commands stays cheap.
            let rest = &text[word.end..words.limit.min(word.end + PIPED_MAX_BYTES)];
            looked(word.end..word.end + PIPED_MAX_BYTES);
            let piped = memchr::memchr2(b'|', b'\n', rest).filter(|at| rest[*at] == b'|').is_some_and(|pipe| {
                let next = &rest[pipe + 1..];
                let next = &next[..memchr::memchr2(b'|', b'\n', next).unwrap_or(next.len())];
                reads_from_a_pipe(next)
            });
            piped && strong_or_word(text, word)
        }),
        Takes::Glued(flag) => words.by_ref().find_map(|word| {
            let glued = word.start + flag.len()..word.end;
            (text[word].starts_with(flag.as_bytes()) && strong_or_word(text, &glued)).then_some(glued)
        }),
        Takes::Next(flag) => behind(text, &mut words, &[flag], |word, place| {
            // `-port` is another flag.
            let is_password = match place {
                Place::Glued => strong(&text[word.clone()]),
                Place::Next | Place::Assigned => strong_or_word(text, &word),
            };
            is_password.then_some(word)
        }),
        Takes::User(flags) => behind(text, &mut words, flags, |word, _| user(text, &word)),
    };
    looked(end.saturating_sub(1)..words.at + 1);
    steps(words.at - end);
    (found, words.at)
}

/// Where the value of a flag stands.
#[derive(Clone, Copy)]
enum Place {
    Next,
    /// `--flag=value`
    Assigned,
    /// `-fvalue`
    Glued,
}

/// What `accept` makes of the first value of one of these flags.
fn behind(
    text: &[u8],
    words: &mut Words<'_>,
    flags: &[&str],
    accept: impl Fn(Range<usize>, Place) -> Option<Range<usize>>,
) -> Option<Range<usize>> {
    let mut is_value = false;
    words.find_map(|word| {
        if std::mem::take(&mut is_value)
            && let Some(found) = accept(word.clone(), Place::Next)
        {
            return Some(found);
        }
        let (value, place) = flags.iter().find_map(|flag| value_in(&text[word.clone()], flag))?;
        is_value = value == word.len();
        if is_value { None } else { accept(word.start + value..word.end, place) }
    })
}

/// Where the value of a flag begins in a word; at its end: the value is the next word. Short flags also stand in clusters (`-su`).
fn value_in(word: &[u8], flag: &str) -> Option<(usize, Place)> {
    let dashes = word.iter().take_while(|byte| **byte == b'-').count();
    if let ([b'-', letter], 1) = (flag.as_bytes(), dashes) {
        let letters = word[1..].iter().take(CLUSTER_MAX_BYTES).take_while(|byte| byte.is_ascii_alphabetic());
        let at = 1 + letters.into_iter().position(|byte| byte == letter)?;
        return Some((at + 1, Place::Glued));
    }
    match word.strip_prefix(flag.as_bytes())? {
        [] => Some((word.len(), Place::Next)),
        [b'=', ..] => Some((flag.len() + 1, Place::Assigned)),
        _ => None,
    }
}

/// Whether this is a command that reads a password from a pipe.
fn reads_from_a_pipe(command: &[u8]) -> bool {
    /// To make a finder takes as long as to search a short text.
    static FINDERS: LazyLock<[Finder<'static>; 4]> = LazyLock::new(|| READ_FROM_PIPES.map(Finder::new));
    FINDERS.iter().any(|reader| reader.find(command).is_some())
}

/// The password of `user:password`.
fn user(text: &[u8], word: &Range<usize>) -> Option<Range<usize>> {
    let colon = text[word.clone()].iter().position(|byte| *byte == b':')?;
    let password = word.start + colon + 1..word.end;
    strong_or_word(text, &password).then_some(password)
}

/// Whether a word can be the password of a command: numbers, references and flags cannot.
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
            // An escaped line end ends the command; a backslash at a line end continues it.
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
    fn the_password_of_a_command_is_found() {
        for (text, password) in [
            ("mysql -u root -phunter2 shop", "hunter2"),
            ("sshpass -p hunter2 ssh a@b", "hunter2"),
            ("redis-cli -h cache -a hunter2 ping", "hunter2"),
            ("curl -u ada:hunter2 https://a.test", "hunter2"),
            (r#"["curl","--user","ada:hunter2","x"]"#, "hunter2"),
            (r#"{"cmd":"curl -u \"ada:hunter2\" x"}"#, "hunter2"),
            ("curl -su ada:hunter2 https://a.test", "hunter2"),
            ("curl -uada:hunter2 https://a.test", "hunter2"),
            ("curl -sSuada:hunter2 https://a.test", "hunter2"),
            ("curl --user=ada:hunter2 https://a.test", "hunter2"),
            ("curl -u $A:$B --proxy-user=ada:hunter2 x", "hunter2"),
            (r#"{"cmd":"curl -sU \"ada:hunter2\" x"}"#, "hunter2"),
            ("sshpass -phunter2 ssh a@b", "hunter2"),
            ("gh secret set DEPLOY --body=hunter2 --repo a/b", "hunter2"),
            ("docker login -u ada -p hunter2 registry.test", "hunter2"),
            ("ldapsearch -D cn=admin -w hunter2 -b dc=x", "hunter2"),
            ("ldapadd -D cn=admin -w hunter2 -f a.ldif", "hunter2"),
            ("mariadb-dump -u root -phunter2 shop", "hunter2"),
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
    fn other_flags_are_not_passwords() {
        for text in [
            "mysql -u root -p shop",
            "mysql -P 3306",
            "curl -u \"$USER:$PASSWORD\" x",
            "curl -o out https://a.test\nuser -u a:hunter2",
            "docker run --user 1000:1000 x",
            "curl -XPUT -sS https://a.test:8080/b",
            "docker login -u ada --profile dev",
            "zip -Print out.zip files",
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
