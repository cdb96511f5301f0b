//! `otas-proxy serve`: the proxy until SIGTERM or SIGINT.

use std::net::TcpListener;
use std::process::ExitCode;

use tokio::sync::watch;

use super::reload::{self, Reloading};
use super::running::Running;
use super::{Done, agent_dir, chosen, inherited, meta, running, say as said, signals, sockets};
use crate::app::{App, fleet};
use crate::config::{Flags, Sink};
use crate::deliver::{SessionState, Status};
use crate::system::signals::Hangup;

/// Run the proxy until SIGTERM or SIGINT
///
/// After the signal it takes no new calls, lets calls in flight end, and delivers or stores every event. A second signal cuts the
/// calls that are still in flight. Sockets that systemd has opened are used (`LISTEN_FDS`). New settings are taken over while it runs: after SIGHUP, or when a file of
/// the settings has changed.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    upstream: inherited::UpstreamArgs,
    #[command(flatten)]
    flags: Flags,
}

pub(super) fn run(args: Args) -> Done {
    let mut loaded = super::load(&args.flags)?;
    let known = reload::stamps(&args.flags, &loaded.config);
    let sockets = sockets::passed()?;
    let address = |socket: &Option<TcpListener>| socket.as_ref().and_then(|socket| socket.local_addr().ok());
    let passed = (address(&sockets.proxy), address(&sockets.admin));
    loaded.listen_at(passed.0, passed.1)?;
    let mut own: Vec<_> = running::all().into_iter().map(|running| running.proxy).collect();
    own.push(loaded.config.listen.proxy);
    super::runtime()?.block_on(async {
        let stop = signals::termination()?;
        let hangup = Hangup::listen()?;
        inherited::apply(&mut loaded, args.upstream, &own);
        let otas = loaded.config.otas.clone();
        let sinks: Vec<String> = loaded.config.sinks.iter().map(Sink::name).collect();
        let (ca_dir, store) = (loaded.config.tls.ca_dir.clone(), loaded.config.store.path.clone());
        let new_ca = chosen::new_ca(&loaded.config.tls);
        let settings = loaded.config.clone();
        let app = App::start_on(sockets, loaded.config, |_| meta::of_this_process("serve")).await?;
        app.follow_authority();
        // Before it says that it listens: what starts agents waits for that line.
        let script = agent_dir::write(&settings, app.proxy_addr)?;
        let (flags, upstream) = (args.flags, args.upstream);
        let reloading = Reloading { flags, upstream, own, passed, reloader: app.reloader(), known };
        let reloading = tokio::spawn(reloading.follow(hangup));
        let say = |line: &str| {
            let line = format!("otas-proxy: {line}");
            if app.has_stdout_sink() { said::err(&line) } else { said::note(&line) }
        };
        say(&format!("listening on http://{}", app.proxy_addr));
        for address in &app.transparent_addrs {
            say(&format!("redirected connections are served on {address}"));
        }
        say(&format!("health on http://{}/healthz", app.admin_addr));
        say(&format!("calls are shown on {}", app.page_url));
        let (ca, bundle) = (app.ca_file.display(), app.bundle_file.display());
        say(&format!("CA certificate {ca} (with the system's roots: {bundle})"));
        if let Some(script) = script {
            say(&format!("agents of other users find certificates and variables in {}", script.display()));
        }
        new_ca.iter().for_each(|note| say(note));
        let (proxy, admin, run_id) = (app.proxy_addr, app.admin_addr, app.run_id.clone());
        let announced = Running { run_id, proxy, admin, ca_dir, store }.announce();
        if let Err(error) = &announced {
            said::err(&format!("otas-proxy: other commands cannot find this proxy automatically: {error}"));
        }
        match &app.collector {
            Some(collector) => say(&format!(
                "no agent key is configured, so events go to the embedded collector on {} (loopback only)",
                collector.url
            )),
            None if fleet::is_used(&settings) => say(&format!(
                "events go to the stream {} of NATS at {}",
                settings.queue.stream,
                settings.queue.nats_url.join(",")
            )),
            None if otas.deliver => say(&format!("events go to {}", otas.brain_url)),
            None => say("events are not sent to OTAS (`otas.deliver` is false)"),
        }
        say(&format!("events are stored in {}", app.store.path().display()));
        sinks.iter().for_each(|sink| say(&format!("events go to {sink}")));
        let mut watch = app.watch().own();
        let (mut ready, mut unchecked, mut is_reported) = (false, false, false);
        loop {
            tokio::select! {
                () = stop.first() => break,
                Some(session) = opened(watch.as_mut()), if !is_reported => {
                    match &session {
                        SessionState::Queued if !ready => {
                            ready = true;
                            say("a relay opens the session, with the first event");
                        }
                        SessionState::Ready if !ready => {
                            ready = true;
                            say("the agent key is valid; a session is opened with the first event");
                        }
                        SessionState::Unchecked if !unchecked => {
                            unchecked = true;
                            say("cannot check the agent key, because UASAM does not answer; events are sent nevertheless");
                        }
                        SessionState::Open { otas_session_id } => {
                            is_reported = true;
                            say(&format!("session {}", otas_session_id.as_deref().unwrap_or("(as configured)")));
                        }
                        _ => {}
                    }
                }
            }
        }
        drop(announced);
        reloading.abort();
        said::err("otas-proxy: stopping (a second signal cuts calls that are still in flight)");
        let drain = app.drain_timeout();
        let summary = app.stop(drain, stop.hurry(), |_| {}).await;
        said::err(&summary.to_string());
        Ok(ExitCode::SUCCESS)
    })
}

/// The state of the proxy's own session, when it changes.
async fn opened(watch: Option<&mut watch::Receiver<Status>>) -> Option<SessionState> {
    let watch = watch?;
    watch.changed().await.ok()?;
    Some(watch.borrow_and_update().session.clone())
}
