//! Standard input and output, one message per line. A line that is not JSON is answered here, as JSON-RPC has it: the crate `rmcp` ignores
//! it, and its sender would wait.

use std::io;

use serde::de::IgnoredAny;
use serde_json::json;
use tokio::io::{
    AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader, DuplexStream,
    duplex, stdin, stdout,
};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// The longest line that is read.
const LINE_BYTES: usize = 16 << 20;
/// What may wait between the two ends.
const WAITING_BYTES: usize = 64 << 10;
/// JSON-RPC's code for what is not JSON.
const PARSE_ERROR: i32 = -32_700;
/// Some clients begin with it.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The tasks that read and write.
pub(super) struct Lines {
    reading: JoinHandle<io::Result<()>>,
    writing: JoinHandle<io::Result<()>>,
}

/// The lines that are JSON, and where answers are written.
pub(super) fn open() -> (DuplexStream, DuplexStream, Lines) {
    let ((input, feed), (output, drain)) = (duplex(WAITING_BYTES), duplex(WAITING_BYTES));
    let (errors, answers) = mpsc::channel(1);
    let reading = tokio::spawn(pass_on(BufReader::new(stdin()), feed, errors));
    (input, output, Lines { reading, writing: tokio::spawn(write(drain, answers, stdout())) })
}

impl Lines {
    /// Reads no more, and waits until all answers are written. The server has ended.
    pub(super) async fn finish(self) {
        self.reading.abort();
        // A client that has gone does not matter.
        let _ = self.writing.await;
    }
}

/// Passes lines on until the end.
async fn pass_on(
    mut from: impl AsyncBufRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    errors: mpsc::Sender<String>,
) -> io::Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        if (&mut from).take(LINE_BYTES as u64).read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        let why = match line.len() == LINE_BYTES && !line.ends_with(b"\n") {
            true => {
                skip_line(&mut from).await?;
                Some(format!("the line is longer than {LINE_BYTES} bytes"))
            }
            false => not_json(&line),
        };
        match why {
            None => to.write_all(&line).await?,
            Some(why) => errors.send(parse_error(&why)).await.map_err(io::Error::other)?,
        }
    }
}

/// Reads to the end of the line.
async fn skip_line(from: &mut (impl AsyncBufRead + Unpin)) -> io::Result<()> {
    loop {
        let some = from.fill_buf().await?;
        let end = some.iter().position(|byte| *byte == b'\n');
        let (read, is_end) = (end.map_or(some.len(), |at| at + 1), end.is_some() || some.is_empty());
        from.consume(read);
        if is_end {
            return Ok(());
        }
    }
}

/// Why a line is not JSON. An empty line is no message.
fn not_json(line: &[u8]) -> Option<String> {
    let line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line).trim_ascii();
    let parsed = serde_json::from_slice::<IgnoredAny>(line);
    parsed.err().filter(|_| !line.is_empty()).map(|error| format!("the line is not JSON: {error}"))
}

fn parse_error(why: &str) -> String {
    format!("{}\n", json!({ "jsonrpc": "2.0", "id": null, "error": { "code": PARSE_ERROR, "message": why } }))
}

/// Writes answers and errors, each line whole.
async fn write(
    from: impl tokio::io::AsyncRead + Unpin,
    mut errors: mpsc::Receiver<String>,
    mut out: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    let (mut from, mut line) = (BufReader::new(from), Vec::new());
    loop {
        tokio::select! {
            // What was read of a line before an error came stays in `line`.
            read = from.read_until(b'\n', &mut line) => {
                read?;
                if line.is_empty() {
                    break;
                }
                out.write_all(&line).await?;
                line.clear();
            }
            Some(error) = errors.recv() => out.write_all(error.as_bytes()).await?,
        }
        out.flush().await?;
    }
    while let Some(error) = errors.recv().await {
        out.write_all(error.as_bytes()).await?;
    }
    out.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_that_is_too_long_is_skipped_to_its_end() {
        let long = [b"\"".as_slice(), &vec![b'a'; LINE_BYTES + 5], b"\"\n{}\nnonsense\n\n"].concat();
        let (errors, mut told) = mpsc::channel(4);
        let mut passed = Vec::new();
        pass_on(long.as_slice(), &mut passed, errors).await.unwrap();
        assert_eq!(passed, b"{}\n\n");
        assert!(told.recv().await.unwrap().contains("longer than"));
        let error = told.recv().await.unwrap();
        assert!(error.contains("\"code\":-32700") && error.contains("\"id\":null"), "{error}");
        assert!(told.recv().await.is_none());
    }
}
