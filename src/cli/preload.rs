//! `--preload`: makes clients that read no proxy variable use the proxy. Node and Python load small files of ours before
//! the program. The files lie beside the CA, on stable paths.

use std::fs::DirBuilder;
use std::io;
use std::path::{Path, PathBuf};

use crate::system::files::{DirBuilderExt as _, LIST};
use crate::tls::{hand_out_file, make_readable};

/// For Node before 22.21: `http`, `https` and `fetch`.
const NODE: &str = include_str!("preload/preload.cjs");
/// For aiohttp, whose `trust_env` is off by default.
const PYTHON: &str = include_str!("preload/sitecustomize.py");

/// Where the files are.
#[derive(Debug)]
pub(super) struct Preload {
    /// A script that Node requires.
    node: PathBuf,
    /// A folder in which Python looks for modules.
    python: PathBuf,
}

impl Preload {
    /// Where they are below `dir`.
    pub(super) fn below(dir: &Path) -> Self {
        Self { node: dir.join("preload/preload.cjs"), python: dir.join("preload/python") }
    }

    /// Writes them below `dir`.
    pub(super) fn write(dir: &Path) -> io::Result<Self> {
        let all = Self::below(dir);
        // Everybody may read them where everybody may read the folder, whatever our umask is.
        DirBuilder::new().recursive(true).mode(0o755).create(&all.python)?;
        hand_out_file(&all.node, NODE.as_bytes())?;
        hand_out_file(&all.python.join("sitecustomize.py"), PYTHON.as_bytes())?;
        for folder in [&dir.join("preload"), &all.python] {
            make_readable(folder, 0o755)?;
        }
        Ok(all)
    }

    /// `NODE_OPTIONS`: the script after what the parent has there.
    pub(super) fn node_options(&self, parent: Option<String>) -> String {
        let option = format!("--require {}", quoted(&self.node.display().to_string()));
        match parent.filter(|options| !options.trim().is_empty()) {
            // A run inside a run.
            Some(options) if options.contains(&option) => options,
            Some(options) => format!("{options} {option}"),
            None => option,
        }
    }

    /// `PYTHONPATH`: the folder before what the parent has there, for the first `sitecustomize` is the one that is loaded. It
    /// loads the next one.
    pub(super) fn python_path(&self, parent: Option<String>) -> String {
        let own = self.python.display().to_string();
        match parent.filter(|path| !path.is_empty()) {
            Some(path) if path.split(LIST).next() == Some(&own) => path,
            Some(path) => format!("{own}{LIST}{path}"),
            None => own,
        }
    }
}

/// Quoted for `NODE_OPTIONS`. Node splits it at spaces outside double quotes; inside them a backslash escapes the next character.
fn quoted(path: &str) -> String {
    if path.contains([' ', '"']) {
        format!("\"{}\"", path.replace('\\', r"\\").replace('"', "\\\""))
    } else {
        path.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(dir: &str) -> Preload {
        Preload { node: Path::new(dir).join("preload.cjs"), python: Path::new(dir).join("python") }
    }

    #[test]
    fn the_parents_values_stay_and_nothing_is_added_twice() {
        let preload = at("/ca");
        let once = preload.node_options(Some("--max-old-space-size=99".to_owned()));
        assert_eq!(once, "--max-old-space-size=99 --require /ca/preload.cjs");
        assert_eq!(preload.node_options(Some(once.clone())), once);
        assert_eq!(preload.node_options(Some(" ".to_owned())), "--require /ca/preload.cjs");
        let once = preload.python_path(Some("/a:/b".to_owned()));
        assert_eq!(once, "/ca/python:/a:/b");
        assert_eq!(preload.python_path(Some(once.clone())), once);
        assert_eq!(preload.python_path(Some(String::new())), "/ca/python");
        assert_eq!(preload.python_path(None), "/ca/python");
    }

    #[test]
    fn a_path_is_quoted_as_node_reads_it() {
        assert_eq!(at("/my ca").node_options(None), "--require \"/my ca/preload.cjs\"");
        assert_eq!(at("/a \"b\" \\c").node_options(None), r#"--require "/a \"b\" \\c/preload.cjs""#);
        assert_eq!(at(r"/back\slash").node_options(None), r"--require /back\slash/preload.cjs");
    }

    #[test]
    fn the_files_are_written_and_left_alone_when_right() {
        let tmp = tempfile::tempdir().unwrap();
        let preload = Preload::write(tmp.path()).unwrap();
        assert_eq!(std::fs::read_to_string(&preload.node).unwrap(), NODE);
        assert_eq!(std::fs::read_to_string(preload.python.join("sitecustomize.py")).unwrap(), PYTHON);
        let before = std::fs::metadata(&preload.node).unwrap().modified().unwrap();
        Preload::write(tmp.path()).unwrap();
        assert_eq!(std::fs::metadata(&preload.node).unwrap().modified().unwrap(), before);
    }
}
