//! Package managers, each fetching a package of ours from a registry of ours. Their own settings and caches are left out.

use std::path::Path;
use std::process::Command;

use aws_lc_rs::digest::{SHA256, SHA512, digest};
use base64::Engine as _;
use serde_json::json;
use tempfile::TempDir;

use super::installed::{program, python_package};
use super::stage::{Stage, script, text_of};
use super::table::{Row, Told};
use crate::support::origin::hex;
use crate::support::program::python;
use crate::support::standin::files::files;

/// A registry, and the folder of its files.
async fn registry(h2: bool) -> (Stage, TempDir) {
    let root = tempfile::tempdir().unwrap();
    (Stage::new(h2, files(root.path().to_owned())).await, root)
}

/// Writes a file and the folders above it.
fn write(file: &Path, text: impl AsRef<[u8]>) {
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, text).unwrap();
}

/// Packs `name` in `folder` as `archive`, and gives the archive's bytes.
fn pack(folder: &Path, name: &str, archive: &Path) -> Vec<u8> {
    std::fs::create_dir_all(archive.parent().unwrap()).unwrap();
    text_of(&Command::new("tar").arg("-czf").arg(archive).arg("-C").arg(folder).arg(name).output().unwrap());
    std::fs::read(archive).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn npm() {
    let Some(row) = Row::of(&program("Packages", "npm", "--version"), "install", Told::Variables) else { return };
    let (stage, root) = registry(false).await;
    let source = tempfile::tempdir().unwrap();
    write(&source.path().join("package/index.js"), "module.exports = 'from the package';\n");
    write(&source.path().join("package/package.json"), r#"{"name": "stand-in", "version": "1.0.0"}"#);
    let archive = pack(source.path(), "package", &root.path().join("archives/stand-in.tgz"));
    let hash = base64::engine::general_purpose::STANDARD.encode(digest(&SHA512, &archive));
    let dist = json!({"tarball": stage.origin.url("/archives/stand-in.tgz"), "integrity": format!("sha512-{hash}")});
    let version = json!({"name": "stand-in", "version": "1.0.0", "dist": dist});
    let package = json!({"name": "stand-in", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}});
    write(&root.path().join("stand-in"), package.to_string());
    for folder in [&stage.direct, &stage.proxied] {
        write(&folder.join("package.json"), "{}");
    }
    let install = "npm install --silent --no-audit --no-fund --update-notifier=false --globalconfig=/dev/null \
        --registry=\"$1\" stand-in && cat node_modules/stand-in/index.js";
    let command = ["sh", "-c", install, "sh", &stage.origin.url("/")];
    let same = stage.same(Told::Variables, &command, "npm_config_cafile").await;
    assert_eq!(same.said, "module.exports = 'from the package';");
    assert_eq!(same.events.len(), 2, "{:#?}", same.events);
    row.passed();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pip() {
    let Some(row) = Row::of(&python_package("pip").of("Packages"), "install", Told::Variables) else { return };
    let (stage, root) = registry(false).await;
    text_of(&Command::new(python()).arg(script("make_wheel.py")).arg(root.path()).output().unwrap());
    let hash =
        hex(digest(&SHA256, &std::fs::read(root.path().join("stand_in-1.0-py3-none-any.whl")).unwrap()).as_ref());
    let page = format!("<a href=\"/stand_in-1.0-py3-none-any.whl#sha256={hash}\">stand_in-1.0-py3-none-any.whl</a>");
    write(&root.path().join("simple/stand-in/index.html"), page);
    let install = "PIP_CONFIG_FILE=/dev/null \"$1\" -m pip install --quiet --disable-pip-version-check --no-cache-dir \
        --no-deps --index-url \"$2\" --target site stand-in && cat site/stand_in.py";
    let command = ["sh", "-c", install, "sh", &python(), &stage.origin.url("/simple")];
    let same = stage.same(Told::Variables, &command, "PIP_CERT").await;
    assert_eq!(same.said, "SAYS = 'from the wheel'");
    assert_eq!(same.events.len(), 2, "{:#?}", same.events);
    row.passed();
}

/// The one that builds these tests, past any chooser of versions, which would look for its own settings.
fn cargo() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cargo_over_http_2() {
    let client = program("Packages", &cargo(), "--version").called("cargo");
    let Some(row) = Row::of(&client, "fetch from a sparse registry, HTTP/2", Told::Variables) else { return };
    let (stage, root) = registry(true).await;
    let source = tempfile::tempdir().unwrap();
    let manifest = "[package]\nname = \"stand-in\"\nversion = \"1.0.0\"\nedition = \"2021\"\n";
    write(&source.path().join("stand-in-1.0.0/Cargo.toml"), manifest);
    write(&source.path().join("stand-in-1.0.0/src/lib.rs"), "//! From the crate.\n");
    let archive = pack(source.path(), "stand-in-1.0.0", &root.path().join("dl/stand-in/1.0.0/download"));
    let hash = hex(digest(&SHA256, &archive).as_ref());
    let line =
        json!({"name": "stand-in", "vers": "1.0.0", "deps": [], "cksum": hash, "features": {}, "yanked": false});
    write(&root.path().join("index/config.json"), json!({"dl": stage.origin.url("/dl")}).to_string());
    write(&root.path().join("index/st/an/stand-in"), line.to_string());
    let index = stage.origin.url("/index/");
    for folder in [&stage.direct, &stage.proxied] {
        let dependency = "[dependencies]\nstand-in = { version = \"1\", registry = \"ours\" }\n";
        write(&folder.join("Cargo.toml"), manifest.replace("stand-in", "asks") + dependency);
        write(&folder.join("src/lib.rs"), "");
        write(&folder.join(".cargo/config.toml"), format!("[registries.ours]\nindex = \"sparse+{index}\"\n"));
    }
    let fetch = "CARGO_HOME=\"$PWD/home\" RUSTC=\"$(dirname \"$1\")/rustc\" \"$1\" fetch --quiet \
        && cat home/registry/src/*/stand-in-1.0.0/src/lib.rs";
    let same = stage.same(Told::Variables, &["sh", "-c", fetch, "sh", &cargo()], "CARGO_HTTP_CAINFO").await;
    assert_eq!(same.said, "//! From the crate.");
    assert_eq!(same.events.len(), 3, "{:#?}", same.events);
    row.passed();
}
