//! Error messages of libraries, made readable for people.

use std::borrow::Cow;
use std::error::Error;

/// An error with its causes, in one line.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    without_links(&text).into_owned()
}

/// Removes links to a library's manual from its error message. rustls has one for a connection closed without
/// close_notify. A link says nothing about the call, and looks like a host that was called.
pub(crate) fn without_links(text: &str) -> Cow<'_, str> {
    let Some(at) = ["https://", "http://"].iter().filter_map(|scheme| text.find(scheme)).min() else {
        return Cow::Borrowed(text);
    };
    let link = &text[at..];
    let ends = link.find(|c: char| c.is_whitespace() || matches!(c, ')' | '>' | '"')).unwrap_or(link.len());
    let before = text[..at].trim_end_matches([' ', ':', ',', ';', '(', '<', '"']);
    let before = before.strip_suffix("see").map_or(before, |rest| rest.trim_end_matches([' ', ':', ',', ';', '(']));
    let after = link[ends..].trim_start_matches([')', '>', '"']);
    Cow::Owned(without_links(&format!("{before}{after}")).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_removed_with_the_words_that_introduce_them() {
        for (text, plain) in [
            (
                "peer closed connection without sending TLS close_notify: https://docs.rs/rustls/manual/#unexpected-eof",
                "peer closed connection without sending TLS close_notify",
            ),
            ("broken (see https://a.test/x) twice; see http://b.test", "broken twice"),
            ("connection reset by peer", "connection reset by peer"),
        ] {
            assert_eq!(without_links(text), plain);
        }
    }

    /// The message of the installed version of the library.
    #[test]
    fn the_end_of_a_tls_stream_without_close_notify_has_no_link() {
        let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let name = "a.test".try_into().unwrap();
        let mut client = rustls::ClientConnection::new(std::sync::Arc::new(config), name).unwrap();
        client.read_tls(&mut std::io::empty()).unwrap();
        let error = std::io::Read::read(&mut client.reader(), &mut [0]).unwrap_err();
        assert!(error.to_string().contains("https://"), "{error}");
        assert_eq!(chain(&error), "peer closed connection without sending TLS close_notify");
    }
}
