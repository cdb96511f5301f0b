//! What must be the same, and what the events must say.

use std::collections::BTreeMap;

use serde_json::Value;

use super::cases::{Case, Event, Seen};
use super::stage::Outcomes;

/// What is not as it must be, a line for each. `requests`: how many the client made for each call directly.
pub(super) fn faults(
    script: &str,
    cases: &[Case],
    (direct, proxied): (&Outcomes, &Outcomes),
    requests: &BTreeMap<String, usize>,
    events: &[Value],
) -> Vec<String> {
    let mut faults = Vec::new();
    for case in cases {
        for scheme in ["http", "https"] {
            let name = format!("{scheme}/{}", case.name);
            if let Some(fault) = outcome_fault(case, &direct[&name], &proxied[&name]) {
                faults.push(format!("{script} {name}: {fault}"));
            }
            let of_case = |event: &&Value| {
                let path = event["path"].as_str().unwrap_or_default();
                path.strip_prefix('/')
                    .and_then(|path| path.strip_prefix(&*name))
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            let of_case: Vec<&Value> = events.iter().filter(of_case).collect();
            let calls = requests.get(&name).copied().unwrap_or_default();
            if of_case.len() != calls {
                faults.push(format!("{script} {name}: {} events of {calls} calls", of_case.len()));
            }
            faults.extend(
                of_case
                    .iter()
                    .filter_map(|event| event_fault(case, event))
                    .map(|fault| format!("{script} {name}: {fault}")),
            );
        }
    }
    faults
}

fn outcome_fault(case: &Case, direct: &Value, proxied: &Value) -> Option<String> {
    let is_right = match case.different() {
        None => direct == proxied,
        Some(Seen::Answered) => parts(proxied).iter().all(|part| is_answered(case, part)),
        Some(Seen::AnotherError) => parts(direct)
            .iter()
            .zip(parts(proxied))
            .all(|(direct, proxied)| without_kind(direct) == without_kind(proxied)),
    };
    (!is_right).then(|| format!("the client sees\n   direct  {direct}\n   proxied {proxied}"))
}

/// The outcomes of each of the calls that a client makes.
fn parts(outcome: &Value) -> Vec<&Value> {
    match outcome.get("whole") {
        Some(whole) => vec![whole, &outcome["streamed"]],
        None => vec![outcome],
    }
}

fn is_answered(case: &Case, part: &Value) -> bool {
    part["error"].is_null() && part.get("status").is_none_or(|status| *status == case.status())
}

/// An outcome that tells only whether there was an error.
fn without_kind(part: &Value) -> Value {
    let mut part = part.clone();
    part["error"] = Value::from(!part["error"].is_null());
    part
}

/// What an event says wrongly.
fn event_fault(case: &Case, event: &Value) -> Option<String> {
    let (status, error) = (&event["status_code"], event["error"].as_str().unwrap_or_default());
    if *status != case.status() {
        return Some(format!("its event has the status {status} ({error})"));
    }
    let of_status = if case.status() < 400 { String::new() } else { format!("http_{}", case.status()) };
    let is_right = match case.event {
        Event::Whole => error.split(':').next() == Some(&of_status),
        Event::WholeOrLeft => error.is_empty() || error.starts_with("agent_left: "),
        Event::Broken => !error.is_empty() && !error.starts_with("http_"),
    };
    (!is_right).then(|| format!("its event has the error {error:?}"))
}
