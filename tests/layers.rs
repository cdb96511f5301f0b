//! The source has layers: no module imports one above it, no two modules import each other, and no files use each other in a
//! circle.

mod circles;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// From the lowest to the highest. Modules of one layer may import each other, in one direction.
const LAYERS: [&[&str]; 11] = [
    &[
        "agents",
        "brief",
        "cause",
        "chunking",
        "clock",
        "console",
        "deadline",
        "hosts",
        "known_agents",
        "naming",
        "private_file",
        "private_folder",
        "search",
        "secret",
        "system",
        "users",
        "visible",
    ],
    &["codings", "llm", "websocket"],
    &["config", "peer", "prices", "redact"],
    &["capture", "tls"],
    &["conversation", "event", "proxy", "runs"],
    &["store"],
    &["callers", "deliver", "export", "happened", "nats", "query", "quotas", "run_view", "sinks", "stats"],
    &["collector", "netns", "report", "serving"],
    &["admin", "metrics"],
    &["app", "relay"],
    &["cli"],
];

/// Files of tests and fuzzing, and the roots of the crate.
const NOT_LAYERED: [&str; 6] = ["fuzzing.rs", "oracle.rs", "testing.rs", "tests.rs", "lib.rs", "main.rs"];

/// Pairs of an importing and an imported module, with a file that shows it.
type Imports = BTreeMap<(String, String), PathBuf>;

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
        match path.is_dir() {
            true if name != "tests" && name != "oracles" => sources(&path, found),
            false if name.ends_with(".rs") && !NOT_LAYERED.contains(&name.as_str()) => found.push(path),
            _ => {}
        }
    }
}

/// The code that is neither a comment nor a module of tests at a file's end.
fn code(text: &str) -> String {
    let before_tests = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    before_tests.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// The modules that a file's code names after `crate::`, also in braces.
fn named(code: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for after in code.split("crate::").skip(1) {
        let Some(list) = after.strip_prefix('{') else {
            names.insert(word(after));
            continue;
        };
        let mut depth = 0;
        let mut is_at_name = true;
        for (at, letter) in list.char_indices() {
            match letter {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => is_at_name = true,
                letter if is_at_name && letter.is_alphabetic() => {
                    names.insert(word(&list[at..]));
                    is_at_name = false;
                }
                _ => {}
            }
        }
    }
    names
}

fn word(text: &str) -> String {
    text.chars().take_while(|letter| letter.is_ascii_alphanumeric() || *letter == '_').collect()
}

fn imports() -> Imports {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut imports = Imports::new();
    for file in files {
        let path = file.strip_prefix(&root).unwrap().to_owned();
        let module = path.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned();
        for other in named(&code(&fs::read_to_string(&file).unwrap())) {
            if other != module {
                imports.entry((module.clone(), other)).or_insert_with(|| path.clone());
            }
        }
    }
    imports
}

/// What is wrong with these imports.
fn faults(imports: &Imports) -> Vec<String> {
    let layer = |module: &str| LAYERS.iter().position(|layer| layer.contains(&module));
    let mut faults = Vec::new();
    for ((module, other), file) in imports {
        match (layer(module), layer(other)) {
            (Some(from), Some(to)) if to > from => {
                faults.push(format!(
                    "src/{}: `{module}` imports `{other}`, which is in a layer above it",
                    file.display()
                ));
            }
            (Some(_), Some(_)) => {}
            _ => faults.push(format!("src/{}: `{module}` or `{other}` is in no layer", file.display())),
        }
        if imports.contains_key(&(other.clone(), module.clone())) {
            faults.push(format!("src/{}: `{module}` and `{other}` import each other", file.display()));
        }
    }
    faults
}

#[test]
fn no_module_imports_one_above_it_and_no_two_import_each_other() {
    let imports = imports();
    assert!(imports.len() > 100, "the imports are found: {}", imports.len());
    assert_eq!(faults(&imports), [""; 0]);
}

#[test]
fn an_upward_import_and_a_cycle_are_found_in_every_form() {
    for code in ["use crate::cli::Run;", "use crate::{cause, cli::{Run, Show}};", "let x = crate::cli::run();"] {
        let import = |from: &str, code: &str| {
            named(code).into_iter().map(|to| ((from.to_owned(), to), PathBuf::from("file.rs"))).collect::<Imports>()
        };
        assert_eq!(faults(&import("store", code)).len(), 1, "{code}");
        assert_eq!(faults(&import("cli", &code.replace("cli", "store"))), [""; 0], "{code}");
        let mut both = import("config", "use crate::peer::Peer;");
        both.extend(import("peer", "use crate::config::Config;"));
        assert_eq!(faults(&both).len(), 2);
    }
    assert_eq!(
        named(&code("// crate::cli\nuse crate::{a, b::{c, d}, e};\n#[cfg(test)]\nmod tests { use crate::z; }")),
        { ["a", "b", "e"].into_iter().map(str::to_owned).collect() }
    );
}
