//! What happened in a call, in the words of all lists (pure): what it was about, the model's work, and the delivery where it is not
//! done.

use crate::brief;
use crate::event::{Llm, Said};
use crate::store::{Call, Listed, State};

/// What was called. The path of a CONNECT is a host and a port.
pub(crate) fn target(call: &Call) -> String {
    let host = if call.path.starts_with('/') { call.host.as_str() } else { "" };
    match call.path.as_str() {
        "" | "*" => format!("{} {} {}", call.method, call.host, call.path).trim_end().to_owned(),
        path => format!("{} {host}{path}", call.method),
    }
}

/// What a call to a model was about, on one line.
pub(crate) fn about(said: &Said) -> Option<String> {
    match (&said.user, &said.tool, &said.argument) {
        (Some(text), _, _) => Some(format!("“{text}”")),
        (_, Some(tool), Some(argument)) => Some(format!("{tool} {argument}")),
        (_, Some(tool), None) => Some(tool.clone()),
        _ => said.result.as_ref().map(|text| format!("result: {text}")),
    }
}

/// A model's name, or what was done where there is none.
pub(crate) fn model(llm: &Llm) -> &str {
    llm.model().map(brief::model).or(llm.operation()).or(llm.mcp_method()).unwrap_or("model")
}

/// Tokens in and out: `12.3k→512`. `None`: neither is known.
pub(crate) fn tokens(llm: &Llm) -> Option<String> {
    brief::in_and_out(llm.input_tokens(), llm.output_tokens())
}

/// How much of the input came from the provider's cache, from 0 to 100. `None`: it is not known.
pub(crate) fn cached_percent(llm: &Llm) -> Option<u64> {
    brief::percent(llm.cache_read_tokens(), llm.input_tokens())
}

/// The cost: `$0.031`.
pub(crate) fn cost(llm: &Llm) -> Option<String> {
    llm.cost().map(|cost| brief::money(cost, llm.currency()))
}

/// Why a model stopped and which tools it called: `tool_use: Bash,Read`.
pub(crate) fn stop(llm: &Llm) -> Option<String> {
    match (llm.finish(), llm.tool_calls().or(llm.tool())) {
        (Some(stop), Some(tools)) => Some(format!("{stop}: {tools}")),
        (stop, tools) => stop.or(tools).map(str::to_owned),
    }
}

/// The state of its delivery, unless that is done.
pub(crate) fn delivery(listed: &Listed) -> Option<String> {
    match (listed.state, &listed.verdict) {
        (State::Delivered | State::Kept, _) => None,
        (state, Some(verdict)) => Some(format!("{state}: {verdict}")),
        (state, None) => Some(state.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_call_was_about_is_one_line() {
        let said = |user: &str, tool: &str, argument: &str| {
            let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            about(&Said { user: given(user), tool: given(tool), argument: given(argument), result: None })
        };
        assert_eq!(said("Fix it", "", "").as_deref(), Some("“Fix it”"));
        assert_eq!(said("", "Bash", "ls -l").as_deref(), Some("Bash ls -l"));
        assert_eq!(said("", "Bash", "").as_deref(), Some("Bash"));
        assert_eq!(said("", "", ""), None);
    }

    #[test]
    fn the_cached_share_is_known_only_if_both_figures_are() {
        let share = |column: &str| cached_percent(&Llm::parse(column).unwrap());
        let of = |read: u64, input: u64| {
            share(&format!(
                r#"{{"gen_ai.usage.cache_read.input_tokens":{read},"gen_ai.usage.input_tokens":{input}}}"#
            ))
        };
        assert_eq!((of(0, 10), of(999, 1_000), of(20, 10), of(0, 0)), (Some(0), Some(99), Some(100), None));
        assert_eq!(share(r#"{"gen_ai.usage.input_tokens":5}"#), None);
    }
}
