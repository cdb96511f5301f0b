//! A command line that may be shown: what looks like a secret in it is masked.

const MASK: &str = "****";

/// Options whose next word is, or holds, a secret.
const SECRET_OPTIONS: [&str; 6] = ["-u", "--user", "-H", "--header", "-b", "--cookie"];
/// Words in the name of an option or variable that holds a secret.
const SECRET_WORDS: [&str; 8] = ["key", "token", "secret", "password", "passwd", "pwd", "auth", "credential"];

/// The words of `command` in one line.
pub(super) fn masked(command: &[String]) -> String {
    masked_words(command).join(" ")
}

/// The same, quoted for a shell.
pub(super) fn masked_for_shell(command: &[String]) -> String {
    let plain =
        |word: &str| !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || "-_./=:,@%+*".contains(c));
    let quoted = |word: &String| match plain(word) {
        true => word.clone(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    };
    masked_words(command).iter().map(quoted).collect::<Vec<_>>().join(" ")
}

fn masked_words(command: &[String]) -> Vec<String> {
    let mut shown: Vec<String> = Vec::with_capacity(command.len());
    let mut hide_next = false;
    for word in command {
        shown.push(if std::mem::take(&mut hide_next) { MASK.to_owned() } else { masked_word(word) });
        hide_next = SECRET_OPTIONS.contains(&word.as_str())
            || (word.starts_with('-') && !word.contains('=') && names_secret(word));
    }
    shown
}

fn masked_word(word: &str) -> String {
    if let Some((name, _)) = word.split_once('=').filter(|(name, _)| names_secret(name)) {
        return format!("{name}={MASK}");
    }
    if let Some((before, rest)) = word.split_once("://")
        && let Some((_, host)) = rest.split_once('@').filter(|(user, _)| !user.contains('/'))
    {
        return format!("{before}://{MASK}@{host}");
    }
    if looks_like_key(word) { MASK.to_owned() } else { word.to_owned() }
}

/// Whole words only: `--max-tokens` sets a number, `--api-key` is a secret.
fn names_secret(name: &str) -> bool {
    name.split(|c: char| !c.is_ascii_alphanumeric()).any(|w| SECRET_WORDS.contains(&w.to_ascii_lowercase().as_str()))
}

fn looks_like_key(word: &str) -> bool {
    let prefixed =
        ["sk-", "agent_", "ghp_", "github_pat_", "xoxb-", "AKIA", "eyJ"].iter().any(|p| word.starts_with(p));
    prefixed && word.len() >= 20
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_and_the_rest_is_readable() {
        for (given, shown) in [
            ("python agent.py --task x", "python agent.py --task x"),
            ("curl -H Authorization:x https://a/", "curl -H **** https://a/"),
            ("a --api-key k --max-tokens 5", "a --api-key **** --max-tokens 5"),
            ("a --token=abc API_KEY=x", "a --token=**** API_KEY=****"),
            ("a https://me:pw@host/x?y=z@1", "a https://****@host/x?y=z@1"),
            ("a sk-abcdefghijklmnopqrst", "a ****"),
        ] {
            let words: Vec<String> = given.split(' ').map(str::to_owned).collect();
            assert_eq!(masked(&words), shown);
        }
    }
}
