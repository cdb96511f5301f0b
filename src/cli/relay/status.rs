//! `otas-proxy relay status`: what waits in the queue, and which relay delivers.

use std::process::ExitCode;

use super::super::{Done, runtime, say};
use crate::config::{Config, Flags, is_subject_part};
use crate::nats::{Queue, Rule};
use crate::relay::{Waiting, holder, taken};
use crate::visible;

/// Show what waits in the queue of a fleet, and which relay delivers
///
/// Exit code 1: no relay delivers, or events wait whose agent has no key in `relay.keys_dir`.
#[derive(clap::Args)]
pub(in super::super) struct Args {
    #[command(flatten)]
    flags: Flags,
}

pub(super) fn run(args: &Args) -> Done {
    let config = super::settings(&args.flags, false)?;
    runtime()?.block_on(status(&config))
}

async fn status(config: &Config) -> Done {
    let queue = Queue::connect(&config.queue, "otas-proxy relay status").await?;
    let (waiting, holder) = (Waiting::look(&queue).await?, holder(&queue).await?);
    let names = &queue.names;
    let rule = Rule::of(waiting.replicas, &queue.client.server_info().version, None);
    say::out(&format!(
        "{}: {} events wait, the first for {} s ({} of {} bytes), {} of each message",
        names.events,
        waiting.messages,
        waiting.oldest_seconds,
        waiting.bytes,
        waiting.max_bytes,
        if waiting.replicas == 1 { "one copy".to_owned() } else { format!("{} copies", waiting.replicas) }
    ))?;
    say::out(&format!(
        "{}: {} dead events ({} of {} bytes)",
        names.dead, waiting.dead, waiting.dead_bytes, waiting.dead_max_bytes
    ))?;
    say::out(&format!("rule: queue.forget = \"{}\": {}", rule.setting(), rule.because))?;
    match &holder {
        Some(relay) => say::out(&format!("relay: {} delivers", visible::line(relay)))?,
        None => say::out("relay: none delivers")?,
    }
    say::out(&format!("relay: {} events are taken out of the queue and have no verdict yet", taken(&queue).await?))?;
    let mut has_all = true;
    for (subject, events) in &waiting.by_subject {
        let agent = names.agent_of(subject).unwrap_or_default();
        let file = config.queue.keys_dir.as_ref().map(|folder| folder.join(format!("{agent}.key")));
        let note = match file {
            Some(_) if !is_subject_part(agent) => ", and this is no id of an agent".to_owned(),
            Some(file) if !file.exists() => format!(", and there is no key in {}", file.display()),
            Some(_) | None => String::new(),
        };
        has_all &= note.is_empty();
        say::out(&format!("{}: {events} wait{note}", visible::line(subject)))?;
    }
    Ok(ExitCode::from(u8::from(holder.is_none() || !has_all)))
}
