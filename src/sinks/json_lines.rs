//! Each event as one line of JSON, in a file or on standard output.
//!
//! A separate thread writes, because a pipe that nobody reads blocks its writer, even at exit. The file is opened for
//! appending, and opened again when its name refers to another file (after a rotation). Copy-and-truncate rotation works as
//! well.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use tokio::sync::oneshot;

use super::Sent;
use crate::private_file;
use crate::private_folder;
use crate::store::EventRow;
use crate::system::files::{OpenOptionsExt as _, id, id_of_open};
use crate::visible;

/// The writing thread.
pub(super) struct JsonLines {
    write: mpsc::Sender<WriteRequest>,
    shown: String,
}

struct WriteRequest {
    lines: Vec<u8>,
    done: oneshot::Sender<io::Result<()>>,
}

impl JsonLines {
    /// `None`: standard output.
    pub(super) fn start(path: Option<PathBuf>) -> io::Result<Self> {
        let shown = path.as_ref().map_or_else(|| "standard output".to_owned(), |path| path.display().to_string());
        let (write, orders) = mpsc::channel::<WriteRequest>();
        std::thread::Builder::new().name("json lines".to_owned()).spawn(move || {
            let mut out = Out::new(path);
            while let Ok(WriteRequest { lines, done }) = orders.recv() {
                // When the proxy stops, nobody waits for the result.
                let _ = done.send(out.write(&lines));
            }
        })?;
        Ok(Self { write, shown })
    }

    pub(super) async fn send(&self, events: &[EventRow]) -> Sent {
        let mut lines = Vec::with_capacity(events.iter().map(|event| event.json.len() + 1).sum());
        for event in events {
            lines.extend_from_slice(&event.json);
            lines.push(b'\n');
        }
        let (done, written) = oneshot::channel();
        if self.write.send(WriteRequest { lines, done }).is_err() {
            return self.later("its thread has ended");
        }
        match written.await {
            Ok(Ok(())) => Sent::Taken { rejected_spans: 0, said: String::new() },
            Ok(Err(error)) => self.later(&error.to_string()),
            Err(_) => self.later("its thread has ended"),
        }
    }

    fn later(&self, why: &str) -> Sent {
        Sent::Later { why: format!("cannot write to {}: {why}", self.shown), after: None }
    }
}

/// The destination.
enum Out {
    Stdout,
    File { path: PathBuf, open: Option<File> },
}

impl Out {
    fn new(path: Option<PathBuf>) -> Self {
        path.map_or(Self::Stdout, |path| Self::File { path, open: None })
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut out = io::stdout().lock();
                // It may be a terminal, so control characters are escaped.
                match std::str::from_utf8(lines) {
                    Ok(lines) => out.write_all(visible::json(lines).as_bytes())?,
                    Err(_) => out.write_all(lines)?,
                }
                out.flush()
            }
            Self::File { path, open } => {
                let mut file = match open.take().filter(|file| is_at(file, path)) {
                    Some(file) => file,
                    None => open_at(path)?,
                };
                file.write_all(lines)?;
                // An event counts as written only once it is on the disk. A pipe has no disk.
                match file.sync_data() {
                    Err(error) if error.kind() != io::ErrorKind::InvalidInput => return Err(error),
                    _ => {}
                }
                // Kept only after success: a new line must not follow half a line.
                *open = Some(file);
                Ok(())
            }
        }
    }
}

/// Whether the file still has this name.
fn is_at(file: &File, path: &Path) -> bool {
    id(path).is_some_and(|named| id_of_open(file) == Some(named))
}

/// Opens the file for appending, or creates it (0600). Half a line at its end, left by a crash or a full disk, is terminated.
fn open_at(path: &Path) -> io::Result<File> {
    private_folder::close_folder_of(path)?;
    private_file::refuse_link_of_another_user(path)?;
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    private_file::close_to_others(path, private_file::OTHERS_MAY_BUT_READ_AS_A_GROUP)?;
    if file.metadata()?.is_file() && file.metadata()?.len() > 0 {
        let mut reader = File::open(path)?;
        reader.seek(SeekFrom::End(-1))?;
        let mut last = [0];
        reader.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn written(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn lines_are_appended_to_a_private_file_even_after_a_rotation() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let mut out = Out::new(Some(path.clone()));
        out.write(b"{\"a\":1}\n").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::rename(&path, folder.path().join("events.jsonl.1")).unwrap();
        out.write(b"{\"a\":2}\n").unwrap();
        out.write(b"{\"a\":3}\n").unwrap();
        assert_eq!(written(&folder.path().join("events.jsonl.1")), "{\"a\":1}\n");
        assert_eq!(written(&path), "{\"a\":2}\n{\"a\":3}\n");
        std::fs::write(&path, "").unwrap();
        out.write(b"{\"a\":4}\n").unwrap();
        assert_eq!(written(&path), "{\"a\":4}\n", "copied and truncated");
    }

    #[test]
    fn half_a_line_is_terminated_before_the_next_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        std::fs::write(&path, "{\"a\":1}\n{\"a\"").unwrap();
        Out::new(Some(path.clone())).write(b"{\"a\":2}\n").unwrap();
        assert_eq!(written(&path), "{\"a\":1}\n{\"a\"\n{\"a\":2}\n");
    }

    #[test]
    fn a_failed_write_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("missing").join("events.jsonl");
        assert!(Out::new(Some(path)).write(b"{}\n").is_err());
    }
}
