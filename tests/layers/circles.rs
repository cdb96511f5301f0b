//! No files of `src` use each other in a circle, so each can be read with only those that it uses. A module's own file (`mod.rs`)
//! and the files in its folder count as one here: it is their interface, and they may use what it defines.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;

use super::{code, sources};

/// `use` declarations: whether they are public, and the tree.
static USES: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?m)^\s*(pub(?:\([^)]*\))?\s+)?use\s+([^;]+);").unwrap());
/// What a file defines.
static DEFINED: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\b(?:struct|enum|trait|fn|const|static|type|union|macro_rules!)\s+(\w+)").unwrap());
/// Paths of two or more names.
static PATHS: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(?:\w+::)+\w+").unwrap());

/// A module, by its path from the root of the crate.
type Module = Vec<String>;

/// A file.
struct Source {
    path: PathBuf,
    /// Its code without `use` declarations.
    code: String,
    uses: Vec<Use>,
    defined: BTreeSet<String>,
}

/// One name that a `use` declaration brings in.
struct Use {
    is_public: bool,
    path: Vec<String>,
    alias: String,
}

/// What a path leads to.
enum Target {
    /// A module.
    Module(Module),
    /// An item in the file of this module.
    Item(Module),
}

/// All files, by their modules.
struct Sources(BTreeMap<Module, Source>);

/// Which file uses which others, and a name that shows it.
type Edges = BTreeMap<Module, BTreeMap<Module, String>>;

impl Sources {
    /// `files`: their paths in `src`, and their texts.
    fn new(files: impl IntoIterator<Item = (PathBuf, String)>) -> Self {
        let files = files.into_iter().map(|(path, text)| {
            let mut module: Module =
                path.with_extension("").iter().map(|part| part.to_str().unwrap().to_owned()).collect();
            if module.last().is_some_and(|last| last == "mod") {
                module.pop();
            }
            let code = code(&text);
            let uses =
                USES.captures_iter(&code).flat_map(|found| tree(found.get(1).is_some(), &found[2], &[])).collect();
            let defined = DEFINED.captures_iter(&code).map(|found| found[1].to_owned()).collect();
            (module, Source { path, code: USES.replace_all(&code, "").into_owned(), uses, defined })
        });
        Self(files.collect())
    }

    /// A path in `module` as a path from the root. `None`: it leads out of the crate, or begins with a name from elsewhere.
    fn absolute(&self, module: &Module, path: &[String]) -> Option<Vec<String>> {
        let supers = path.iter().take_while(|name| *name == "super").count();
        match path.first()?.as_str() {
            "crate" => Some(path[1..].to_vec()),
            "self" => Some([&module[..], &path[1..]].concat()),
            "super" => Some([module.get(..module.len().checked_sub(supers)?)?, &path[supers..]].concat()),
            child => {
                let inside = [&module[..], &[child.to_owned()]].concat();
                self.0.contains_key(&inside).then(|| [&module[..], path].concat())
            }
        }
    }

    /// Follows a path from the root, also through what modules pass on.
    fn target(&self, path: &[String], depth: usize) -> Option<Target> {
        let length = (1..=path.len()).rev().find(|length| self.0.contains_key(&path[..*length]))?;
        let (module, rest) = (path[..length].to_vec(), &path[length..]);
        let Some(name) = rest.first() else { return Some(Target::Module(module)) };
        let source = &self.0[&module];
        let passed_on =
            source.uses.iter().find(|it| it.alias == *name && !source.defined.contains(name) && depth < 8);
        let onwards = passed_on.and_then(|it| self.absolute(&module, &it.path));
        onwards
            .and_then(|onwards| self.target(&[&onwards[..], &rest[1..]].concat(), depth + 1))
            .or(Some(Target::Item(module)))
    }

    fn edges(&self) -> Edges {
        let mut edges = Edges::new();
        for (module, source) in &self.0 {
            let mut add = |target: Option<Target>, name: &str| {
                let (Some(Target::Item(other)) | Some(Target::Module(other))) = target else { return };
                if !module.starts_with(&other) && !other.starts_with(module) {
                    edges.entry(module.clone()).or_default().entry(other).or_insert_with(|| name.to_owned());
                }
            };
            // Names of modules, by which paths in the code begin.
            let mut modules = BTreeMap::new();
            for Use { is_public, path, alias } in &source.uses {
                let Some(path) = self.absolute(module, path) else { continue };
                match self.target(&path, 0) {
                    Some(Target::Module(other)) => drop(modules.insert(alias.clone(), other)),
                    // What is only passed on is not used.
                    target if !is_public => add(target, alias),
                    _ => {}
                }
            }
            for path in PATHS.find_iter(&source.code) {
                let path: Vec<String> = path.as_str().split("::").map(str::to_owned).collect();
                let whole = match modules.get(&path[0]) {
                    Some(other) => Some([&other[..], &path[1..]].concat()),
                    None => self.absolute(module, &path),
                };
                add(whole.and_then(|whole| self.target(&whole, 0)), &path[1]);
            }
        }
        edges
    }

    /// The uses that make circles, one a line.
    fn circles(&self) -> Vec<String> {
        let edges = self.edges();
        let file = |module: &Module| self.0[module].path.display();
        let mut circles = Vec::new();
        for (module, others) in &edges {
            for (other, name) in others.iter().filter(|(other, _)| reaches(&edges, other, module)) {
                circles.push(format!("{} uses `{name}` of {}", file(module), file(other)));
            }
        }
        circles
    }
}

/// Whether a file uses another, or uses one that does.
fn reaches(edges: &Edges, from: &Module, to: &Module) -> bool {
    let (mut seen, mut next) = (BTreeSet::from([from]), vec![from]);
    while let Some(module) = next.pop() {
        if module == to {
            return true;
        }
        next.extend(edges.get(module).into_iter().flat_map(BTreeMap::keys).filter(|other| seen.insert(other)));
    }
    false
}

/// The names that the tree of a `use` declaration brings in.
fn tree(is_public: bool, text: &str, before: &[String]) -> Vec<Use> {
    let text = text.trim();
    if let Some((path, list)) = text.strip_suffix('}').and_then(|text| text.split_once('{')) {
        let before: Vec<String> = before.iter().cloned().chain(names(path)).collect();
        return parts(list).into_iter().flat_map(|part| tree(is_public, part, &before)).collect();
    }
    let (path, alias) =
        text.split_once(" as ").map_or((text, None), |(path, alias)| (path, Some(alias.trim().to_owned())));
    let mut path: Vec<String> = before.iter().cloned().chain(names(path)).collect();
    if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
        path.pop();
    }
    let Some(last) = path.last().cloned() else { return Vec::new() };
    vec![Use { is_public, path, alias: alias.unwrap_or(last) }]
}

/// The names of a path.
fn names(path: &str) -> impl Iterator<Item = String> {
    path.split("::").map(|name| name.trim().to_owned()).filter(|name| !name.is_empty())
}

/// The parts of a list, some of which have lists of their own.
fn parts(list: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, letter) in list.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&list[start..]);
    parts.into_iter().filter(|part| !part.trim().is_empty()).collect()
}

#[test]
fn no_files_use_each_other_in_a_circle() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let text = |file: PathBuf| (file.strip_prefix(&root).unwrap().to_owned(), fs::read_to_string(&file).unwrap());
    let sources = Sources::new(files.into_iter().map(text));
    let edges: usize = sources.edges().values().map(BTreeMap::len).sum();
    assert!(edges > 1_000, "the uses are found: {edges}");
    assert_eq!(sources.circles(), [""; 0], "a name that both need belongs in a file that uses neither");
}

#[test]
fn a_circle_is_found_in_every_form() {
    let circles = |files: &[(&str, &str)]| {
        Sources::new(files.iter().map(|(path, text)| (PathBuf::from(path), (*text).to_owned()))).circles().len()
    };
    let facade = ("m/mod.rs", "mod a;\nmod b;\npub use a::{A, f};\npub(crate) use b::B as C;\nconst LIMIT: u8 = 1;");
    let a = ("m/a.rs", "use super::b::B;\npub struct A(B);\npub fn f() {}");
    for back in [
        "use super::a::A;",
        "use super::{LIMIT, a::{A, f}};",
        "use crate::m::A;",
        "use super::A as Other;",
        "use super::a;\nfn g() { a::f() }",
        "use super::a::{self as other};\nfn g() { other::f() }",
        "fn g() { super::a::f() }",
        "fn g() { crate::m::f() }",
    ] {
        assert_eq!(circles(&[facade, a, ("m/b.rs", &format!("{back}\npub struct B;"))]), 2, "{back}");
    }
    for no_circle in [
        "use super::LIMIT;",
        "// use super::a::A;",
        "use std::fmt;\n#[cfg(test)]\nmod tests {\nuse super::super::a::A;\n}",
    ] {
        assert_eq!(circles(&[facade, a, ("m/b.rs", &format!("{no_circle}\npub struct B;"))]), 0, "{no_circle}");
    }
    let long = [
        ("x.rs", "use crate::y::Y;\npub struct X;"),
        ("y.rs", "use crate::z::Z;\npub struct Y;"),
        ("z.rs", "use crate::x::X;\npub struct Z;"),
    ];
    assert_eq!(circles(&long), 3);
    assert_eq!(circles(&[facade, long[0], long[1], ("z.rs", "use crate::m::LIMIT;\npub struct Z;")]), 0);
}
