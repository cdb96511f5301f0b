//! Passwords in commands whose short flags mean a password: `mysql -pPASSWORD`, `sshpass -p PASSWORD`, `redis-cli -a PASSWORD`,
//! `curl -u user:PASSWORD`; and `IDENTIFIED BY 'PASSWORD'` of SQL.

mod words;

use std::ops::Range;
use std::sync::LazyLock;

use memchr::memmem::Finder;

use self::words::Words;
use super::judge::{placeholder, strong};
use super::programs::{InTexts, PROGRAMS};
use super::reach::looked;
use super::work::steps;

/// Where a command has its password.
#[derive(Clone, Copy, PartialEq)]
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
/// The most short flags in one word that are looked at.
const CLUSTER_MAX_BYTES: usize = 6;
/// The second password of a command is searched for in so many bytes.
const SECOND_MAX_BYTES: usize = 192;
/// The pipe behind a password is searched for in so many bytes.
const PIPED_MAX_BYTES: usize = 256;

/// The words to search for.
pub(super) fn words() -> impl Iterator<Item = &'static str> {
    COMMANDS.iter().map(|(word, _)| *word)
}

/// Up to where commands were read. One that stands in the reach of another has been read only if that one is of its kind, or else the
/// secrets behind it would be missed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Reads {
    /// In front of this place.
    pub(super) end: usize,
    /// A bit for each kind of command that was read so far.
    pub(super) kinds: u32,
}

impl Reads {
    /// Whether the command whose word begins at `start` has been read.
    pub(super) fn has(self, which: usize, start: usize) -> bool {
        start < self.end && self.kinds & kind(which) != 0
    }

    /// Notes that this command was read, and all others of its kind in front of `end`.
    pub(super) fn put(&mut self, which: usize, start: usize, end: usize) {
        let (new, old) = (end.saturating_sub(start), self.end.saturating_sub(start));
        // Each kind is read twice at most: one that reads much further than the others begins anew.
        if (old..=2 * old).contains(&new) {
            self.kinds |= kind(which);
        } else if new > old {
            *self = Self { end, kinds: kind(which) };
        }
    }
}

/// The bit of a command. Those that have their passwords in the same place are read alike.
fn kind(which: usize) -> u32 {
    static KINDS: LazyLock<Vec<u32>> = LazyLock::new(|| {
        let mut places: Vec<Takes> = Vec::new();
        let mut bit = |takes: &Takes| {
            let known = places.iter().position(|place| place == takes);
            1 << known.unwrap_or_else(|| {
                places.push(*takes);
                places.len() - 1
            })
        };
        COMMANDS.iter().map(|(_, takes)| bit(takes)).collect()
    });
    KINDS[which]
}

/// How far a command was read.
pub(super) struct Read {
    /// Up to here.
    pub(super) end: usize,
    /// All commands of its kind in front of this place were read with it.
    pub(super) covers: usize,
}

/// Gives the passwords of command `which`, whose word is `command`.
pub(super) fn passwords(
    text: &[u8],
    which: usize,
    command: Range<usize>,
    mut give: impl FnMut(Range<usize>),
) -> Read {
    let (_, takes) = &COMMANDS[which];
    let (mut words, end) = (Words::behind(text, &command), command.end);
    match takes {
        Takes::Here | Takes::Strong => {
            if let Some(word) = words.next() {
                words.covers(word.start);
                let value = &text[word.clone()];
                let is_password = if *takes == Takes::Here { !placeholder(value) } else { strong(value) };
                if is_password {
                    give(word);
                }
            }
        }
        Takes::BehindUser(flag) => {
            let line = &text[end..words.holder.end_in(text, end..words.limit)];
            looked(end..end + line.len() + 2);
            let user = memchr::memmem::find(&line.to_ascii_lowercase(), flag.as_bytes());
            let password = user.and_then(|user| {
                let space = memchr::memchr(b' ', &line[user..])?;
                words.at = end + user + space;
                // The name of a domain ends with a backslash, and so does a line in a string.
                let may_be_next_line = line[user..][..space].windows(2).any(|pair| matches!(pair, b"\\n" | b"\\r"));
                words.next().filter(|word| {
                    text[word.start] != b'/'
                        && strong_or_word(text, word)
                        && (!may_be_next_line || strong(&text[word.clone()]))
                })
            });
            words.at = words.at.max(end + line.len());
            words.covers(end + user.unwrap_or(line.len()));
            password.into_iter().for_each(give);
        }
        Takes::Piped => {
            if let Some(word) = words.find(|word| !text[word.clone()].starts_with(b"-")) {
                words.covers(word.start);
                if is_piped(&words) && strong_or_word(text, &word) {
                    give(word);
                }
            }
        }
        Takes::Glued(flag) => {
            let password = words.by_ref().find_map(|word| {
                let glued = word.start + flag.len()..word.end;
                (text[word].starts_with(flag.as_bytes()) && strong_or_word(text, &glued)).then_some(glued)
            });
            password.into_iter().for_each(give);
        }
        Takes::Next(flag) => {
            let mut values = Values::of(&mut words, std::slice::from_ref(flag));
            let password = values.find(|(word, place)| match place {
                // `-port` is another flag.
                Place::Glued => strong(&text[word.clone()]),
                Place::Next | Place::Assigned => strong_or_word(text, word),
            });
            password.into_iter().for_each(|(word, _)| give(word));
        }
        Takes::User(flags) => {
            let next = |words: &mut Words<'_>| Values::of(words, flags).find_map(|(word, _)| user(text, &word));
            let first = next(&mut words);
            // There may be one for the server and one for a proxy.
            let second = first.as_ref().and_then(|first| {
                words.covers(first.end);
                words.limit = words.limit.min(first.end + SECOND_MAX_BYTES);
                next(&mut words)
            });
            first.into_iter().chain(second).for_each(give);
        }
    }
    looked(end.saturating_sub(1)..words.at + 1);
    steps(words.at.saturating_sub(end));
    Read { end: words.at, covers: words.covers.min(words.at) }
}

/// Whether a command that reads a password stands behind a pipe at the end of these words.
fn is_piped(words: &Words<'_>) -> bool {
    // A short reach, so that a text of many such commands stays cheap.
    let (text, start) = (words.text, words.at);
    let limit = words.limit.min(start + PIPED_MAX_BYTES).max(start);
    looked(start..start + PIPED_MAX_BYTES);
    let pipe = memchr::memchr2(b'|', b'\n', &text[start..limit]).map(|pipe| start + pipe);
    pipe.filter(|pipe| text[*pipe] == b'|').is_some_and(|pipe| {
        let mut before = words.clone();
        before.limit = pipe;
        before.by_ref().for_each(drop);
        let next = pipe + 1;
        let end = memchr::memchr(b'|', &text[next..limit]).map_or(limit, |length| next + length);
        !before.ended && reads_from_a_pipe(&text[next..words.holder.end_in(text, next..end)])
    })
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

/// The values of some flags. A word behind a flag may also be a flag.
struct Values<'w, 't> {
    words: &'w mut Words<'t>,
    flags: &'w [&'static str],
    /// The word that may be a flag, although it stands behind one.
    again: Option<Range<usize>>,
    is_value: bool,
}

impl<'w, 't> Values<'w, 't> {
    fn of(words: &'w mut Words<'t>, flags: &'w [&'static str]) -> Self {
        Self { words, flags, again: None, is_value: false }
    }
}

impl Iterator for Values<'_, '_> {
    type Item = (Range<usize>, Place);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let again = self.again.take();
            let is_again = again.is_some();
            let word = again.or_else(|| self.words.next())?;
            if !is_again && std::mem::take(&mut self.is_value) {
                self.again = Some(word.clone());
                return Some((word, Place::Next));
            }
            let flag = self.flags.iter().find_map(|flag| value_in(&self.words.text[word.clone()], flag));
            let Some((value, place)) = flag else { continue };
            self.is_value = value == word.len();
            if !self.is_value {
                return Some((word.start + value..word.end, place));
            }
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The passwords of the last command of the table that stands in a text.
    fn found(text: &str) -> Vec<&str> {
        let lower = text.to_ascii_lowercase();
        let Some(which) = COMMANDS.iter().rposition(|(word, _)| lower.contains(word)) else { return Vec::new() };
        let start = lower.find(COMMANDS[which].0).unwrap();
        let mut found = Vec::new();
        passwords(text.as_bytes(), which, start..start + COMMANDS[which].0.len(), |range| found.push(&text[range]));
        found
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
            ("curl -d '{\"a\":\"b\",\"c\":1}' -u ada:hunter2 x", "hunter2"),
            ("curl -H \"X: y\" -u ada:hunter2 x", "hunter2"),
            (r#"{"cmd":"curl -d \"{\\\"a\\\":\\\"b\\\"}\" -u ada:hunter2"}"#, "hunter2"),
            ("curl doesn't ask, but it can with -u ada:hunter2", "hunter2"),
            ("curl -sS \\\n  -u ada:hunter2 \\\n  https://a.test", "hunter2"),
            (r#"{"cmd":"curl -sS \\\n -u ada:hunter2"}"#, "hunter2"),
        ] {
            assert_eq!(found(text), [password], "{text}");
        }
    }

    #[test]
    fn the_password_for_a_proxy_is_found_too() {
        assert_eq!(found("curl -u ada:hunter2 -x proxy.test -U ada:hunter3 https://a.test"), ["hunter2", "hunter3"]);
    }

    #[test]
    fn other_flags_are_not_passwords() {
        for text in [
            "mysql -u root -p shop",
            "mysql -P 3306",
            "curl -u \"$USER:$PASSWORD\" x",
            "curl -o out https://a.test\nuser -u a:hunter2",
            "curl -o out https://a.test \nuser -u a:hunter2",
            r#"{"cmd":"curl -o out","b":"-u a:hunter2"}"#,
            r#"{"cmd":"run curl -o out","b":"-u a:hunter2"}"#,
            r#"{"a":"{\"cmd\":\"curl -o \\\"x\\\"\",\"b\":\"-u a:hunter2\"}"}"#,
            r#"{"cmd":"x\ncurl -o out","b":"-u a:hunter2"}"#,
            r#"["curl","-o","out"],["-u","a:hunter2"]"#,
            "run('curl -o out', 'x -u a:hunter2')",
            r#"<a cmd="curl -o out" b="-u a:hunter2"/>"#,
            r#"["echo 'hunter2'", "x | sudo -S true"]"#,
            r#"["net use Z:","/user:ada hunter2"]"#,
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
            r"net use Z: \\srv\share /user:ada\nmot de passe : requis",
        ] {
            assert!(found(text).is_empty(), "{text}");
        }
    }
}
