//! `otas-proxy relay init`: makes the streams of a fleet, and says when a proxy may forget an event.

use std::process::ExitCode;

use serde_json::Value;

use super::super::{Done, Failure, runtime, say};
use crate::config::{Flags, Queue as Settings};
use crate::nats::{Monitored, Plan, Queue, Rule, make};

/// Make the streams of a fleet, and say when proxies may forget an event
///
/// It makes four streams: events that wait, dead events, verdicts, and what relays share. A stream that is there already keeps what is
/// not named here. The credentials must be those of an administrator of JetStream, or of a relay.
#[derive(clap::Args)]
pub(in super::super) struct Args {
    /// How many servers have each message: 1 (a new stream), or 3 in a cluster
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u8).range(1..=5))]
    replicas: Option<u8>,
    /// Room for events that wait (a new stream: 10GiB); a full stream refuses new ones, which then wait in their proxies
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    max_bytes: Option<i64>,
    /// Room for dead events (a new stream: 1GiB)
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    dead_max_bytes: Option<i64>,
    /// The monitoring of the server, such as http://nats.example:8222: it shows whether each message is synced
    #[arg(long, value_name = "URL")]
    monitor: Option<url::Url>,
    #[command(flatten)]
    flags: Flags,
}

/// A message of an event takes this much: OTAS's limit, which compression makes smaller, and its facts.
const PAYLOAD_WANTED: usize = 4 << 20;

pub(super) fn run(args: &Args) -> Done {
    let config = super::settings(&args.flags, false)?;
    runtime()?.block_on(init(args, &config.queue))
}

async fn init(args: &Args, settings: &Settings) -> Done {
    let queue = Queue::connect(settings, "otas-proxy relay init").await?;
    let info = queue.client.server_info();
    let replicas = args.replicas.map(usize::from);
    let plan = Plan { replicas, max_bytes: args.max_bytes, dead_max_bytes: args.dead_max_bytes };
    let mut replicas = usize::MAX;
    for made in make(&queue.jetstream, &queue.names, plan).await? {
        replicas = replicas.min(made.replicas);
        let what = if made.was_there { "has these settings now" } else { "made" };
        say::out(&format!("stream {}: {what}", made.name))?;
    }
    let monitored = match &args.monitor {
        Some(url) => Some(monitored(url).await?),
        None => None,
    };
    let version = monitored.as_ref().map_or(&*info.version, |it| &it.version);
    say::out(&format!("server: NATS {version}, {} of each message", copies(replicas)))?;
    if info.max_payload < PAYLOAD_WANTED {
        say::out(&format!(
            "server: a message may have {} bytes. Larger events travel without their bodies; set `max_payload: 4MB` in the server's \
             settings",
            info.max_payload
        ))?;
    }
    let rule = Rule::of(replicas, version, monitored.as_ref().and_then(|it| it.syncs_always));
    say::out(&format!("rule: queue.forget = \"{}\": {}", rule.setting(), rule.because))?;
    Ok(ExitCode::SUCCESS)
}

fn copies(replicas: usize) -> String {
    if replicas == 1 { "one copy".to_owned() } else { format!("{replicas} copies") }
}

/// What the server's monitoring says.
async fn monitored(url: &url::Url) -> Result<Monitored, Failure> {
    let failed = |why: String| format!("cannot read the server's monitoring at {url} (--monitor): {why}");
    let varz = url.join("varz").map_err(|error| failed(error.to_string()))?;
    let tls = crate::tls::OriginTls::load(crate::tls::system_roots(), None, &[], &[], &[])?;
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_backend_preconfigured(tls.for_ourselves().clone())
        .timeout(std::time::Duration::from_secs(10))
        .build()?;
    let answer = client.get(varz).send().await.map_err(|error| failed(error.to_string()))?;
    let text = answer.text().await.map_err(|error| failed(error.to_string()))?;
    let json: Value = serde_json::from_str(&text).map_err(|_| failed("it is not JSON".to_owned()))?;
    Monitored::read(&json).ok_or_else(|| failed("it does not look like NATS".to_owned()).into())
}

/// A size: bytes, or a number with `KiB`, `MiB` or `GiB`.
fn bytes(text: &str) -> Result<i64, String> {
    let units = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40)];
    let unit = units.iter().find_map(|(unit, bits)| Some((text.strip_suffix(unit)?, *bits)));
    let (number, bits) = unit.unwrap_or((text, 0));
    let size = number.trim().parse::<i64>().ok().and_then(|number| number.checked_mul(1 << bits));
    size.filter(|size| *size > 0)
        .ok_or_else(|| "expected a size such as 10GiB, 500MiB or a number of bytes".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        assert_eq!([bytes("10GiB"), bytes("1 KiB"), bytes("7")], [Ok(10 << 30), Ok(1 << 10), Ok(7)]);
        assert!(
            bytes("5 GB").is_err() && bytes("0").is_err() && bytes("-1").is_err() && bytes("9999999999TiB").is_err()
        );
    }
}
