//! The trace that a request belongs to (W3C Trace Context, `traceparent`). The header is read and never changed.

/// The parts of a valid `traceparent`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Trace<'a> {
    pub(super) trace_id: &'a str,
    pub(super) parent_id: &'a str,
    pub(super) flags: &'a str,
}

/// Parses a `traceparent` (Trace Context 3.2.2). `None`: not valid. A later version may have more parts.
pub(super) fn read(value: &str) -> Option<Trace<'_>> {
    let mut parts = value.trim().split('-');
    let (version, trace_id, parent_id, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |text: &str, length| {
        text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_id = |text: &str, length| is_hex(text, length) && text.bytes().any(|byte| byte != b'0');
    let ends = version != "00" || parts.next().is_none();
    let valid = is_hex(version, 2)
        && version != "ff"
        && is_id(trace_id, 32)
        && is_id(parent_id, 16)
        && is_hex(flags, 2)
        && ends;
    valid.then_some(Trace { trace_id, parent_id, flags })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_valid_or_nothing() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let trace = read(good).unwrap();
        assert_eq!(trace.trace_id, "0af7651916cd43dd8448eb211c80319c");
        assert_eq!((trace.parent_id, trace.flags), ("b7ad6b7169203331", "01"));
        assert!(read(&good.replacen("00", "cc", 1)).is_some(), "a later version");
        assert!(read(&format!("{}-more", good.replacen("00", "cc", 1))).is_some(), "with more parts");
        for bad in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
        ] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }
}
