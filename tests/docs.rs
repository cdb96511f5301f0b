//! The documentation: each relative link leads to a file and a heading, each page of the manual is in its table of contents,
//! the README stays short, what ARCHITECTURE.md names exists, and `proxy.toml` and the reference page are those of the list that
//! parses settings.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use otas_proxy::config::{settings_file, settings_tables};
use regex::Regex;

/// `[text](target)` and `![text](target)`, without a title.
static LINK: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\]\(<?([^()\s<>]+)>?\)").unwrap());
/// `` `code` ``, in which nothing is a link.
static CODE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"``[^`]+``|`[^`]*`").unwrap());
/// What a heading's link text looks like; only the text is part of the anchor.
static LABEL: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\[([^\]]*)\]\([^)]*\)").unwrap());

const AT_THE_TOP: [&str; 4] = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn manual() -> Vec<PathBuf> {
    let files = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|end| end == "md")).collect()
}

/// The lines outside fenced code blocks.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

fn links(text: &str) -> Vec<String> {
    let targets = |line: &str| {
        let line = CODE.replace_all(line, "");
        LINK.captures_iter(&line).map(|found| found[1].to_owned()).collect::<Vec<_>>()
    };
    prose(text).flat_map(targets).collect()
}

/// The anchors of a page's headings, as GitHub and mdBook make them: lower case, hyphens for spaces, no punctuation, a number
/// behind a repeated one.
fn anchors(text: &str) -> HashSet<String> {
    let mut seen = HashMap::<String, usize>::new();
    let headings =
        prose(text).filter_map(|line| line.strip_prefix('#')).map(|line| line.trim_start_matches('#').trim());
    let anchors = headings.map(|heading| {
        let heading = LABEL.replace_all(heading, "$1").to_lowercase().replace(' ', "-");
        let anchor: String = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect();
        let before = seen.entry(anchor.clone()).or_default();
        *before += 1;
        if *before == 1 { anchor } else { format!("{anchor}-{}", *before - 1) }
    });
    anchors.collect()
}

/// What is wrong with a link of the page `from`.
fn fault(from: &Path, text: &str, link: &str) -> Option<String> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = if path.is_empty() { from.to_owned() } else { from.parent().unwrap().join(path) };
    if !target.exists() {
        return Some(format!("{}: {link}: there is no such file", from.display()));
    }
    let page = if path.is_empty() { text.to_owned() } else { fs::read_to_string(&target).unwrap_or_default() };
    let found = anchor.is_empty() || anchors(&page).contains(anchor);
    (!found).then(|| format!("{}: {link}: there is no such heading", from.display()))
}

#[test]
fn each_relative_link_leads_to_a_file_and_a_heading() {
    let pages: Vec<PathBuf> = manual().into_iter().chain(AT_THE_TOP.map(|name| root().join(name))).collect();
    let (mut faults, mut checked) = (Vec::new(), 0);
    for page in &pages {
        let text = fs::read_to_string(page).unwrap();
        for link in links(&text) {
            checked += 1;
            faults.extend(fault(page, &text, &link));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(checked > 50, "only {checked} links were found");
}

#[test]
fn each_page_of_the_manual_is_in_its_table_of_contents() {
    let contents = fs::read_to_string(root().join("docs/SUMMARY.md")).unwrap();
    let listed: HashSet<String> = links(&contents).into_iter().collect();
    let names = manual().into_iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned());
    let missing: Vec<String> = names.filter(|name| name != "SUMMARY.md" && !listed.contains(name)).collect();
    assert!(missing.is_empty(), "not in docs/SUMMARY.md: {}", missing.join(", "));
}

#[test]
fn the_readme_stays_short() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    assert!(readme.lines().count() <= 200, "README.md has {} lines; 200 are allowed", readme.lines().count());
    let long = readme.lines().enumerate().find(|(_, line)| line.chars().count() > 120);
    assert_eq!(long.map(|(at, _)| at + 1), None, "this line of README.md has more than 120 characters");
}

/// The first picture of a text.
fn picture(text: &str) -> String {
    let picture = text.split("```text\n").nth(1).and_then(|rest| rest.split("```").next());
    picture.expect("a picture").to_owned()
}

#[test]
fn the_source_has_the_picture_of_its_architecture() {
    let read = |name: &str| fs::read_to_string(root().join(name)).unwrap();
    let source = read("src/lib.rs");
    let lines = source.lines().filter_map(|line| line.strip_prefix("//!"));
    let docs: Vec<&str> = lines.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
    assert_eq!(
        picture(&docs.join("\n")),
        picture(&read("ARCHITECTURE.md")),
        "src/lib.rs and ARCHITECTURE.md draw the same picture"
    );
}

/// `` `a/b.rs` ``, `` `a/b/` `` or `` `a/b` ``: a file or a folder.
static PATH: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"`((?:\w+/)*\w+(?:\.(?:rs|css|js)|/)|\w+(?:/\w+)+)`").unwrap());

#[test]
fn each_file_that_the_architecture_names_exists() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let named: HashSet<&str> = PATH.captures_iter(&text).map(|found| found.get(1).unwrap().as_str()).collect();
    // In every folder.
    let named = named.into_iter().filter(|name| *name != "mod.rs");
    let exists = |name: &str| {
        let places = ["src", "."].map(|folder| root().join(folder).join(name));
        places.iter().any(|place| place.exists() || place.with_extension("rs").exists())
    };
    let (found, missing): (Vec<&str>, Vec<&str>) = named.partition(|name| exists(name));
    assert!(missing.is_empty(), "ARCHITECTURE.md names what does not exist: {}", missing.join(", "));
    assert!(found.len() > 200, "only {} were found", found.len());
}

/// The reference page is generated from the end of this line on.
const GENERATED: &str = "<!-- From here to the end: generated from src/config/keys.";

/// Set, the generated files are written, not compared: `just reference`.
const WRITE: &str = "OTAS_WRITE_REFERENCE";

/// What a generated file should hold.
type Content = fn(&str) -> String;

#[test]
fn the_settings_file_and_the_reference_page_are_those_of_the_parser() {
    let page: Content = |text| {
        let marked = text.find(GENERATED).expect("the page marks where it is generated");
        let head = marked + text[marked..].find('\n').unwrap() + 1;
        format!("{}\n{}", &text[..head], settings_tables().unwrap())
    };
    let files: [(&str, Content); 2] = [("proxy.toml", |_| settings_file().unwrap()), ("docs/configuration.md", page)];
    for (name, content) in files {
        let path = root().join(name);
        let text = fs::read_to_string(&path).unwrap();
        let expected = content(&text);
        if std::env::var_os(WRITE).is_some() {
            fs::write(&path, expected).unwrap();
            continue;
        }
        let differs = text.lines().zip(expected.lines()).position(|(is, should)| is != should);
        let at = differs.unwrap_or_else(|| text.lines().count().min(expected.lines().count()));
        assert!(
            text == expected,
            "{name}:{}: differs from src/config/keys; run `just reference`\n  is:     {:?}\n  should: {:?}",
            at + 1,
            text.lines().nth(at),
            expected.lines().nth(at)
        );
    }
}

#[test]
fn a_link_that_leads_nowhere_is_found() {
    let page = root().join("README.md");
    let text = "# One `two` [three](x.md)\n## One\n## One\n```\n[code](none.md)\n```\n`[code](none.md)` [a](none.md) ![b](LICENSE-MIT)";
    assert_eq!(links(text), ["x.md", "none.md", "LICENSE-MIT"]);
    assert_eq!(anchors(text), ["one-two-three", "one", "one-1"].map(str::to_owned).into());
    for (link, good) in
        [("LICENSE-MIT", true), ("none.md", false), ("#one-1", true), ("#two", false), ("SECURITY.md#two", false)]
    {
        assert_eq!(fault(&page, text, link).is_none(), good, "{link}");
    }
    assert_eq!(fault(&page, text, "https://example.com/"), None);
}
