//! The part of a process's command line that may be shown. A command line often holds secrets.

/// The longest line that is shown.
const LINE_MAX_BYTES: usize = 512;
/// The longest word that is shown.
const WORD_MAX_BYTES: usize = 128;
/// The mark for hidden words.
const HIDDEN: &str = "…";
/// File endings of scripts.
const SOURCES: [&str; 15] = [
    ".py", ".pyz", ".js", ".mjs", ".cjs", ".ts", ".mts", ".tsx", ".sh", ".rb", ".pl", ".php", ".jar", ".lua", ".exs",
];

/// A command line that is safe to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shown {
    /// The program, the names of its options, and its script files. A `…` stands for each run of hidden words.
    pub(super) line: String,
    /// The first script file, without its folder. It identifies the process better than its interpreter.
    pub(super) script: Option<String>,
}

/// Shows the words that are certainly names. A secret cannot be recognised by its looks, so every other word is hidden.
pub(super) fn shown<'a>(words: impl IntoIterator<Item = &'a str>) -> Shown {
    let mut words = words.into_iter();
    // Some programs overwrite their first word with a title that includes the arguments.
    let program = words.next().unwrap_or_default();
    let (title, more) = program.split_once(char::is_whitespace).map_or((program, ""), |(title, _)| (title, HIDDEN));
    let mut shown = Shown { line: clipped(title).to_owned(), script: None };
    let mut state = State { first: true, module: false };
    for word in [more].into_iter().filter(|more| !more.is_empty()).chain(words) {
        let part = state.shown(word);
        if shown.script.is_none() && !word.starts_with('-') && part == word {
            shown.script = Some(name_of(word).to_owned());
        }
        // One mark for a run of hidden words.
        if part == HIDDEN && shown.line.ends_with(HIDDEN) {
            continue;
        }
        if shown.line.len() + part.len() > LINE_MAX_BYTES {
            shown.line.push_str(if shown.line.ends_with(HIDDEN) { "" } else { " …" });
            break;
        }
        shown.line.push(' ');
        shown.line.push_str(&part);
    }
    shown
}

/// The last part of a path.
pub(super) fn name_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The position in the command line.
struct State {
    /// Only options so far.
    first: bool,
    /// The previous word was `-m`, so a module's name follows.
    module: bool,
}

impl State {
    fn shown(&mut self, word: &str) -> String {
        let module = std::mem::replace(&mut self.module, word == "-m");
        if let Some(option) = word.strip_prefix("--") {
            let (name, value) = option.split_once('=').map_or((option, ""), |(name, _)| (name, "=…"));
            return if is_plain(name, "-_.") { format!("--{name}{value}") } else { HIDDEN.to_owned() };
        }
        if word.starts_with('-') {
            // `-pSECRET` looks like `-jar`.
            let letter: String = word.chars().take(2).collect();
            return if letter == word { letter } else { format!("{letter}{HIDDEN}") };
        }
        let first = std::mem::replace(&mut self.first, false);
        let is_path = ["/", "./", "../", "~/"].iter().any(|begin| word.starts_with(begin));
        let is_source = SOURCES.iter().any(|end| word.ends_with(end));
        let is_name = is_source || (first && is_path) || (first && module);
        if is_name && is_plain(word, "-_./@+~") { word.to_owned() } else { HIDDEN.to_owned() }
    }
}

fn is_plain(word: &str, others: &str) -> bool {
    word.len() <= WORD_MAX_BYTES && word.chars().all(|c| c.is_alphanumeric() || others.contains(c))
}

fn clipped(word: &str) -> &str {
    let ends = word.char_indices().map(|(at, character)| at + character.len_utf8());
    &word[..ends.take_while(|end| *end <= WORD_MAX_BYTES).last().unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_options_and_sources_are_shown_and_nothing_else() {
        for (given, line, script) in [
            ("python3 agent.py --task x --api-key=sk-1 y", "python3 agent.py --task … --api-key=…", Some("agent.py")),
            ("/usr/bin/node /opt/bin/claude -p secret words", "/usr/bin/node /opt/bin/claude -p …", Some("claude")),
            ("python -m my.agent secret", "python -m my.agent …", Some("my.agent")),
            ("curl -sS -u me:pw -H Authorization:x https://a/", "curl -s… -u … -H …", None),
            ("mysql -psecret db", "mysql -p…", None),
            ("java -Dkey=x -jar app.jar secret", "java -D… -j… app.jar …", Some("app.jar")),
            ("login secret.value /secret", "login …", None),
            ("sh", "sh", None),
            ("", "", None),
        ] {
            let shown = shown(given.split(' '));
            assert_eq!((shown.line.as_str(), shown.script.as_deref()), (line, script), "{given}");
        }
        let script = shown(["sh", "-c", "curl -H 'Authorization: Bearer x' a.sh"]);
        assert_eq!((script.line.as_str(), script.script), ("sh -c …", None));
    }

    #[test]
    fn a_title_that_holds_the_arguments_shows_its_first_word() {
        assert_eq!(shown(["node server.js --token secret"]).line, "node …");
        assert_eq!(shown(["postgres: secret db"]).line, "postgres: …");
    }

    #[test]
    fn long_ones_are_cut() {
        let word = "é".repeat(WORD_MAX_BYTES);
        let line = shown([word.as_str(); 9]).line;
        assert_eq!(line, format!("{} …", "é".repeat(WORD_MAX_BYTES / 2)));
        let many = shown(std::iter::once("a").chain(["--option"; 999])).line;
        assert!(many.len() <= LINE_MAX_BYTES + 8 && many.ends_with("--option …"), "{many}");
    }
}
