//! When each event of an event stream was complete: reconstructed from the captured body, because the data path notes
//! only when pieces arrived.

use std::io::{self, Write};

use super::json::Json;
use crate::capture::{Arrival, ResponseFacts};
use crate::codings::Unpacker;
use crate::llm::{Part, Scanner};

/// The number of events that get a time: the first ones.
const TIMED_EVENTS_MAX: usize = 256;

/// Writes `event_ms`: for each of the first events, the milliseconds from the response head to its last byte, as far as
/// pieces were noted and kept.
pub(super) fn write(json: &mut Json, response: &ResponseFacts) {
    let times = times(response);
    if times.is_empty() {
        return;
    }
    json.key("event_ms");
    json.open_array();
    for ms in times {
        json.comma();
        json.value(ms);
    }
    json.close_array();
}

fn times(response: &ResponseFacts) -> Vec<u64> {
    let mut unpacker = Unpacker::new(response.headers.get_all("content-encoding"), Events::default());
    let (mut times, mut kept, mut done) = (Vec::new(), response.body.head.iter(), 0);
    let mut rest: &[u8] = &[];
    for Arrival { total_bytes, after } in &response.arrivals {
        while done < *total_bytes {
            if rest.is_empty() {
                match kept.next() {
                    Some(block) => rest = block,
                    // The rest was not kept.
                    None => return times,
                }
                continue;
            }
            let wanted = usize::try_from(total_bytes - done).unwrap_or(usize::MAX).min(rest.len());
            let (piece, after) = rest.split_at(wanted);
            (rest, done) = (after, done + wanted as u64);
            if !unpacker.write(piece) {
                return times;
            }
        }
        let ended = unpacker.inner_mut().take();
        let ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        times.extend(std::iter::repeat_n(ms, ended.min(TIMED_EVENTS_MAX - times.len())));
    }
    times
}

/// Counts completed events.
#[derive(Default)]
struct Events {
    scanner: Scanner,
    ended: usize,
}

impl Events {
    /// The number of events completed since the last call.
    fn take(&mut self) -> usize {
        std::mem::take(&mut self.ended)
    }
}

impl Write for Events {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.scanner.read(bytes, &mut |part| self.ended += usize::from(matches!(part, Part::Ends { .. })));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use http::{HeaderMap, HeaderValue, StatusCode};

    use super::*;
    use crate::capture::{Captured, Fields};

    /// The times of the events of a stream that arrived in these pieces, a second apart, and was kept in blocks of this
    /// size.
    fn times_of(pieces: &[Vec<u8>], coding: &'static str, block: usize) -> Vec<u64> {
        let mut headers = HeaderMap::new();
        headers.insert("content-encoding", HeaderValue::from_static(coding));
        let (mut arrivals, mut total_bytes) = (Vec::new(), 0);
        for (piece, second) in pieces.iter().zip(1..) {
            total_bytes += piece.len() as u64;
            arrivals.push(Arrival { total_bytes, after: Duration::from_secs(second) });
        }
        let head = pieces.concat().chunks(block).map(Bytes::copy_from_slice).collect();
        let body = Captured { head, total_bytes, ..Captured::default() };
        let headers = Fields::from(&headers);
        times(&ResponseFacts { status: StatusCode::OK, headers, body, trailers: None, arrivals, faults: Vec::new() })
    }

    #[test]
    fn each_event_has_the_time_of_its_last_piece() {
        let pieces = ["data: 1\n\nda", "ta: 2\n", "\ndata: 3\n\ndata: 4\n\n", ": ping\n\n", "data: cut off"];
        let pieces: Vec<Vec<u8>> = pieces.iter().map(|piece| piece.as_bytes().to_vec()).collect();
        for block in [1, 7, 1000] {
            assert_eq!(times_of(&pieces, "identity", block), [1_000, 3_000, 3_000, 3_000], "{block}");
        }
        assert_eq!(times_of(&pieces, "none", 7), [1_000, 3_000, 3_000, 3_000], "as the body is shown");
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        let compressed: Vec<Vec<u8>> = pieces
            .iter()
            .map(|piece| {
                gzip.write_all(piece).unwrap();
                gzip.flush().unwrap();
                std::mem::take(gzip.get_mut())
            })
            .collect();
        assert_eq!(times_of(&compressed, "GZIP", 5), [1_000, 3_000, 3_000, 3_000]);
    }

    #[test]
    fn events_that_were_not_kept_have_no_time_and_times_are_bounded() {
        let many = vec![b"data: x\n\n".repeat(1_000)];
        assert_eq!(times_of(&many, "", 64).len(), TIMED_EVENTS_MAX);
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("text/event-stream"));
        let arrivals = vec![
            Arrival { total_bytes: 9, after: Duration::from_secs(1) },
            Arrival { total_bytes: 18, after: Duration::from_secs(2) },
        ];
        let body =
            Captured { head: vec![Bytes::from_static(b"data: 1\n\nda")], total_bytes: 18, ..Captured::default() };
        let response = ResponseFacts {
            status: StatusCode::OK,
            headers: Fields::from(&headers),
            body,
            trailers: None,
            arrivals,
            faults: Vec::new(),
        };
        assert_eq!(times(&response), [1_000]);
    }
}
