//! Events as lines of fields between tabs, for programs: nothing is cut, and each fact has its own field.

use time::OffsetDateTime;
use time::macros::format_description;

use crate::cli::table::cell;
use crate::event::Llm;
use crate::store::Listed;

/// The names of the fields.
pub(in crate::cli) const HEAD: &str = "id\tat\tsession\tmethod\thost\tpath\tstatus\tlatency_ms\tmodel\tinput_tokens\toutput_tokens\tcost\t\
                               currency\tstop_reason\ttools\terror\tstate\tattempts\tverdict\tnote\n";

/// The event as one line. An unknown fact is an empty field.
pub(in crate::cli) fn line(listed: &Listed) -> String {
    let call = &listed.call;
    let llm = Llm::parse(&call.llm).unwrap_or_default();
    let number = |tokens: Option<u64>| tokens.map(|tokens| tokens.to_string()).unwrap_or_default();
    let fields = [
        &*call.id.to_string(),
        &at(call.started_at_ms),
        &call.session.to_string(),
        &call.method,
        &call.host,
        &call.path,
        &call.status_code.to_string(),
        &format!("{:.2}", call.latency_ms),
        llm.model().unwrap_or_default(),
        &number(llm.input_tokens()),
        &number(llm.output_tokens()),
        &llm.cost().map(|cost| cost.to_string()).unwrap_or_default(),
        llm.currency().unwrap_or_default(),
        llm.finish().unwrap_or_default(),
        llm.tool_calls().or(llm.tool()).unwrap_or_default(),
        &call.error,
        &listed.state.to_string(),
        &listed.attempts.to_string(),
        listed.verdict.as_deref().unwrap_or_default(),
        listed.note.as_deref().unwrap_or_default(),
    ];
    format!("{}\n", fields.map(cell).join("\t"))
}

/// RFC 3339, in UTC.
fn at(unix_ms: i64) -> String {
    let form = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_ms) * 1_000_000)
        .ok()
        .and_then(|at| at.format(form).ok())
        .unwrap_or_else(|| unix_ms.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::row::tests::listed;
    use super::*;
    use crate::store::State;

    #[test]
    fn each_fact_has_its_field_and_text_cannot_add_any() {
        let llm = r#"{"gen_ai.request.model":"m","gen_ai.usage.input_tokens":7,"otas_proxy.llm.cost":0.5,"otas_proxy.llm.cost.currency":"USD"}"#;
        let line = line(&listed("http_429: a\tb\n", llm, State::Dead, Some("no")));
        let expected = "7\t2023-11-14T22:13:20.500Z\t2\tPOST\tapi.test\t/v1\t429\t12.60\tm\t7\t\t0.5\tUSD\t\t\thttp_429: a\\tb\\n\tdead\t3\tno\t\n";
        assert_eq!(line, expected);
        assert_eq!(HEAD.matches('\t').count(), expected.matches('\t').count());
    }
}
