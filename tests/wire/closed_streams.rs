//! Frames that no agent may send, and the codes that answer them (RFC 9113 5.1, 6.5.2, 6.9; item 53).

use crate::support::agent;
use crate::support::frames::*;
use crate::support::origin::{TestCa, TestOrigin};
use crate::support::proxy::TestProxy;

/// In place of a frame: the answer is waited for.
const UNTIL_ANSWERED: u8 = 0xff;

/// A frame: kind, flags, stream, payload.
type Sent = (u8, u8, u32, Vec<u8>);

#[tokio::test]
async fn item_53_windows_and_closed_streams() {
    let folder = tempfile::tempdir().unwrap();
    let ca = TestCa::new(folder.path());
    let origin = TestOrigin::h2(&ca).await;
    let proxy = TestProxy::new().trusting(&ca).run().await;
    let authority = format!("localhost:{}", origin.addr.port());
    let head =
        |path: &str| hpack(&[(":method", "GET"), (":scheme", "https"), (":authority", &authority), (":path", path)]);
    let max = 0x7fff_ffff_u32.to_be_bytes().to_vec();
    let too_large = [&[0, 4][..], &0x8000_0000_u32.to_be_bytes()].concat();
    let open = |flags| (HEADERS, END_HEADERS | flags, 1, head("/never"));
    let reset = (RST_STREAM, 0, 1, CANCEL.to_be_bytes().to_vec());
    let answered = || vec![(HEADERS, END_HEADERS | END_STREAM, 1, head("/x")), (UNTIL_ANSWERED, 0, 1, vec![])];
    let with = |before: Vec<Sent>, last: Sent| [before, vec![last]].concat();
    let data = || (DATA, 0, 1, b"x".to_vec());
    let cases: Vec<(&str, Vec<Sent>, (u8, u32))> = vec![
        (
            "a stream's window",
            vec![open(END_STREAM), (WINDOW_UPDATE, 0, 1, max.clone())],
            (RST_STREAM, FLOW_CONTROL_ERROR),
        ),
        ("the connection's window", vec![(WINDOW_UPDATE, 0, 0, max)], (GOAWAY, FLOW_CONTROL_ERROR)),
        ("data after a reset", vec![open(0), reset.clone(), data()], (RST_STREAM, STREAM_CLOSED)),
        ("data after the answer", with(answered(), data()), (RST_STREAM, STREAM_CLOSED)),
        ("data on a stream that never was", vec![(DATA, 0, 9, b"x".to_vec())], (GOAWAY, PROTOCOL_ERROR)),
        // Deviations of the library: FLOW_CONTROL_ERROR is due here, and STREAM_CLOSED below.
        ("the first window", vec![(SETTINGS, 0, 0, too_large)], (GOAWAY, PROTOCOL_ERROR)),
        ("data after the end", vec![open(END_STREAM), data()], (GOAWAY, PROTOCOL_ERROR)),
        ("a head after the end", vec![open(END_STREAM), open(END_STREAM)], (GOAWAY, PROTOCOL_ERROR)),
        ("a head after a reset", vec![open(END_STREAM), reset, open(END_STREAM)], (GOAWAY, PROTOCOL_ERROR)),
        ("a head after the answer", with(answered(), open(END_STREAM)), (GOAWAY, PROTOCOL_ERROR)),
    ];
    for (what, sent, expected) in cases {
        let tunnel = agent::tunnel(&proxy, &authority).await;
        let stream = agent::tls(tunnel, "localhost", proxy.client_tls(&[b"h2"])).await.unwrap();
        let mut agent = Frames::client(stream).await;
        for (kind, flags, stream, payload) in sent {
            match kind {
                UNTIL_ANSWERED => while agent.next_of(&[DATA, HEADERS]).await.flags & END_STREAM == 0 {},
                _ => agent.write(kind, flags, stream, &payload).await,
            }
        }
        // What is answered first to a second question was said before it.
        let mut pings = 0;
        agent.write(PING, 0, 0, b"after it").await;
        let mut seen = None;
        while let Some(frame) = agent.next().await {
            if matches!(frame.kind, GOAWAY | RST_STREAM) {
                seen = Some((frame.kind, frame.code()));
                break;
            }
            if frame.kind == PING && frame.flags & ACK != 0 {
                pings += 1;
                if pings > 2 {
                    break;
                }
                agent.write(PING, 0, 0, b"after it").await;
            }
        }
        assert_eq!(seen, Some(expected), "{what}");
    }
    proxy.stop().await;
}
