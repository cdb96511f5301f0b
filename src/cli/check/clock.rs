//! This machine's clock, compared with OTAS's.

use std::time::{Duration, SystemTime};

use super::line::Line;
use crate::config::Config;

/// Differences from here on are reported, in seconds.
const NOTABLE_S: i64 = 30;
/// Our certificates are valid from this long before they are made, in seconds. If our clock is further ahead, other machines
/// refuse them.
const HARMFUL_S: i64 = 24 * 3600;

const WHAT: &str = "clock";
const CURE: &str =
    "Set this machine's clock: `timedatectl set-ntp true`, or on the host of this container or virtual machine";

/// Asks both services for their time, by the `Date` of whatever they answer.
pub(super) async fn line(config: &Config, tls: &rustls::ClientConfig) -> Line {
    let otas = &config.otas;
    if !otas.deliver {
        return Line::skipped(WHAT, "`otas.deliver` is false, so there is no OTAS to compare with");
    }
    if otas.agent_key.is_none() && config.agents.iter().all(|agent| agent.agent_key.is_none()) {
        return Line::skipped(WHAT, "no agent key is set, so there is no OTAS to compare with");
    }
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .tls_backend_preconfigured(tls.clone())
        .timeout(super::PATIENCE)
        .build();
    let Ok(client) = client else { return Line::skipped(WHAT, "cannot make an HTTP client") };
    let (uasam, brain) = tokio::join!(ahead_s(&client, &otas.uasam_url), ahead_s(&client, &otas.brain_url));
    judge(uasam, brain)
}

/// By how many seconds our clock is ahead of that of a server. `None`: it states no time.
async fn ahead_s(client: &reqwest::Client, url: &url::Url) -> Option<i64> {
    let asked = SystemTime::now();
    let answer = client.get(url.clone()).send().await.ok()?;
    let took = asked.elapsed().unwrap_or_default();
    let date = httpdate::parse_http_date(answer.headers().get(reqwest::header::DATE)?.to_str().ok()?).ok()?;
    let seconds = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
    // The server's time is taken to be that of the middle of the call.
    let ours = asked + took / 2;
    Some(match ours.duration_since(date) {
        Ok(ahead) => seconds(ahead),
        Err(behind) => -seconds(behind.duration()),
    })
}

fn judge(uasam: Option<i64>, brain: Option<i64>) -> Line {
    let known: Vec<i64> = [uasam, brain].into_iter().flatten().collect();
    let Some(worst) = known.iter().copied().max_by_key(|ahead| ahead.saturating_abs()) else {
        return Line::skipped(WHAT, "neither UASAM nor Brain sends a time");
    };
    if let (Some(uasam), Some(brain)) = (uasam, brain)
        && uasam.abs_diff(brain) > NOTABLE_S.unsigned_abs()
    {
        let apart = uasam.abs_diff(brain);
        let detail =
            format!("the clocks of UASAM and Brain are {apart} s apart, so that Brain may refuse UASAM's tokens");
        return Line::warn(WHAT, detail, "Set the clocks of OTAS's machines");
    }
    let side = if worst < 0 { "behind" } else { "ahead of" };
    let off = worst.saturating_abs();
    if off > HARMFUL_S {
        let detail = format!("{off} s {side} OTAS's: certificates and tokens seem expired or not yet valid");
        return Line::fail(WHAT, detail, CURE);
    }
    if off > NOTABLE_S {
        let detail = format!("{off} s {side} OTAS's: times in events are wrong, and tokens seem older or younger");
        return Line::warn(WHAT, detail, CURE);
    }
    Line::ok(WHAT, format!("within {NOTABLE_S} s of OTAS's"))
}

#[cfg(test)]
mod tests {
    use super::super::line::State;
    use super::*;

    #[test]
    fn a_larger_clock_difference_is_a_worse_finding() {
        for (uasam, brain, state, words) in [
            (None, None, State::Skipped, "neither"),
            (Some(-2), None, State::Ok, "within 30 s"),
            (Some(1), Some(-29), State::Ok, "within 30 s"),
            (Some(31), Some(30), State::Warn, "31 s ahead of"),
            (Some(-600), Some(-601), State::Warn, "601 s behind"),
            (None, Some(-90_000), State::Fail, "90000 s behind"),
            (Some(0), Some(40), State::Warn, "40 s apart"),
        ] {
            let line = judge(uasam, brain);
            assert!(line.state == state && line.detail.contains(words), "{line:?}");
            assert_eq!(line.cure.is_some(), matches!(state, State::Warn | State::Fail));
        }
    }
}
