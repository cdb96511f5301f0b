//! Whether the proxy is ready: it takes calls and can record them. An OTAS outage does not count, because agents must not
//! notice it.

/// The reasons why the proxy is not ready; empty when it is. `store` is the error of a store that cannot be read. `in_memory`
/// is the number of calls that are not stored yet, and why.
pub(super) fn reasons(
    stopping: bool,
    admits: bool,
    store: Option<String>,
    in_memory: Option<(u64, String)>,
) -> Vec<String> {
    let stopping = stopping.then(|| "the proxy is stopping: it takes no new calls".to_owned());
    let refusing =
        (!admits).then(|| "calls are refused: they cannot be recorded (`store.on_full = \"refuse\"`)".to_owned());
    let store = store.map(|error| format!("events wait in memory: {error}"));
    let in_memory = in_memory.map(|(calls, why)| format!("events are in memory only ({calls}): {why}"));
    stopping.into_iter().chain(refusing).chain(store).chain(in_memory).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_listed() {
        assert_eq!(reasons(false, true, None, None), [""; 0]);
        let all = reasons(true, false, Some("disk I/O error".into()), Some((3, "full".into())));
        assert!(
            all[0].contains("stopping")
                && all[1].contains("refused")
                && all[2].ends_with("disk I/O error")
                && all[3] == "events are in memory only (3): full",
            "{all:?}"
        );
    }
}
