//! Event streams: compared with the crate `sse-stream`.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream};
use proptest::prelude::*;
use sse_stream::SseByteStream;

use super::super::sse::{Part, Scanner};
use super::{CASES, pieces};

/// The name and the data of an event.
type Event = (String, String);

fn ours(pieces: &[&[u8]]) -> Vec<Event> {
    let (mut scanner, mut events, mut data) = (Scanner::default(), Vec::new(), Vec::new());
    for piece in pieces {
        scanner.read(piece, &mut |part| match part {
            Part::Data(bytes) => data.extend_from_slice(bytes),
            Part::Ends { name } => {
                events.push((name.to_owned(), String::from_utf8(std::mem::take(&mut data)).unwrap()));
            }
        });
    }
    events
}

/// The oracle also reports events without data, which the standard does not dispatch (WHATWG HTML section 9.2.6), and leaves
/// out the default name.
fn oracle(pieces: &[&[u8]]) -> Vec<Event> {
    let pieces: Vec<_> = pieces.iter().map(|piece| Ok::<_, Infallible>(Bytes::copy_from_slice(piece))).collect();
    let events = SseByteStream::new(stream::iter(pieces)).collect::<Vec<_>>().now_or_never().unwrap();
    let events = events.into_iter().map(|event| event.expect("the stream is UTF-8"));
    let name = |name: Option<String>| name.filter(|name| !name.is_empty()).unwrap_or_else(|| "message".to_owned());
    events.filter_map(|event| Some((name(event.event), event.data?))).collect()
}

/// A line, mostly a field, with or without a value.
fn any_line() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        4 => Just("data"), 2 => Just("event"), 1 => Just("id"), 1 => Just("retry"), 2 => Just(""),
        1 => prop::sample::select(vec!["dat", "datas", "Data", " data", "événement", "\u{FEFF}data"]),
    ];
    let value =
        prop_oneof![4 => "[ab:  é\u{FEFF}]{0,6}", 1 => "[0-9]{1,3}", 1 => "[a\u{0}]{1,3}", 1 => "[a-zé]{0,30}"];
    (name, prop::sample::select(vec!["", ":", ": ", ":  "]), value).prop_map(|(name, colon, value)| {
        if colon.is_empty() { name.to_owned() } else { format!("{name}{colon}{value}") }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn an_event_stream_has_the_events_that_an_independent_reader_finds(
        bom in prop_oneof![4 => Just(""), 1 => Just("\u{FEFF}"), 1 => Just("\u{FEFF}\u{FEFF}")],
        lines in prop::collection::vec(
            (any_line(), prop::sample::select(vec!["\n", "\r", "\r\n", "\n\n", "\r\r", "\n\r", "\r\n\r\n"])),
            0..12,
        ),
        unfinished in prop::option::of(any_line()),
        sizes in prop::collection::vec(1usize..12, 1..6),
    ) {
        let mut stream = bom.to_owned();
        lines.iter().for_each(|(line, end)| stream += &format!("{line}{end}"));
        stream += unfinished.as_deref().unwrap_or_default();
        let pieces = pieces(stream.as_bytes(), &sizes);
        prop_assert_eq!(ours(&pieces), oracle(&pieces), "{:?}", stream);
    }
}
