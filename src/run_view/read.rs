//! Reads one run. Its model calls are found in the index. Then the conversation of each is read, the newest first, and only a small part
//! of it is kept. So neither memory nor time depends on how long conversations are.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::build::{Loaded, tree};
use super::compare::event;
use super::error::ViewError;
use super::id::RunId;
use super::list::{everything, model_call, runs_by};
use super::memory::Memory;
use super::place::place_others;
use super::tree::{LeftOut, Run, Step};
use crate::conversation::{Conversation, cache_miss_reason};
use crate::event::Stored;
use crate::llm::Llm;
use crate::runs::Gist;
use crate::store::{Call, StoreError, Viewer};

/// Bounds of a tree.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Model calls.
    pub model_calls: usize,
    /// Calls to others than models.
    pub other_calls: usize,
    /// Reasons of cache misses. Each takes two conversations.
    pub reasons: usize,
    /// The time for reading conversations. What is not read by then is left out.
    pub time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { model_calls: 2_000, other_calls: 2_000, reasons: 50, time: Duration::from_secs(5) }
    }
}

/// Threads that read conversations at the same time.
const READERS_MAX: usize = 4;
/// Fewer calls are read by one thread.
const READ_TOGETHER_FROM: usize = 8;

/// The run as a tree. `None`: no such run has a call.
///
/// # Errors
/// When the store cannot be read in time.
pub fn read(viewer: &Viewer, id: &RunId, limits: &Limits) -> Result<Option<Run>, StoreError> {
    read_with(viewer, id, limits, &Memory::default())
}

/// The same. What `memory` has is not read again.
///
/// # Errors
/// As [`read`].
pub fn read_with(viewer: &Viewer, id: &RunId, limits: &Limits, memory: &Memory) -> Result<Option<Run>, StoreError> {
    let rows = Rows::of(viewer, id)?;
    let (calls, more) = rows.model_calls(viewer, limits.model_calls)?;
    let until = Instant::now() + limits.time;
    let mut left_out = LeftOut { model_calls: more, ..LeftOut::default() };
    let (mut loaded, not_read) = load_all(viewer, calls, until, memory)?;
    left_out.model_calls += not_read;
    left_out.unread = not_read;
    // Rows are numbered as calls end.
    loaded.sort_by_key(|of| (of.call.started_at_ms, of.call.id));
    let others = others(viewer, &rows, id, &loaded, limits, &mut left_out)?;
    if loaded.is_empty() && others.own.is_empty() && others.loose.is_empty() {
        return Ok(None);
    }
    let mut run = tree(id.clone(), loaded);
    place_others(&mut run, others.own);
    run.other.extend(others.loose);
    explain(viewer, &mut run, limits, until, memory, &mut left_out)?;
    run.left_out = left_out;
    Ok(Some(run))
}

/// What a tree needs of these calls, and how many were not read until then: the last ones.
fn load_all(
    viewer: &Viewer,
    calls: Vec<(Call, Llm)>,
    until: Instant,
    memory: &Memory,
) -> Result<(Vec<Loaded>, u64), StoreError> {
    let (mut loaded, mut unknown) = (Vec::with_capacity(calls.len()), Vec::new());
    for (call, llm) in calls {
        match memory.call(&call) {
            Some(known) => loaded.push(known),
            None => unknown.push((call, llm)),
        }
    }
    let next = AtomicUsize::new(0);
    let read_some = || -> Result<Vec<Loaded>, StoreError> {
        let mut some = Vec::new();
        // Each reads at least one call.
        while let Some((call, llm)) = unknown.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Some(of) = load(viewer, call.clone(), llm.clone())? {
                memory.keep(&of);
                some.push(of);
            }
            if Instant::now() > until {
                break;
            }
        }
        Ok(some)
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let readers = if unknown.len() < READ_TOGETHER_FROM { 1 } else { cores.min(READERS_MAX) };
    let read: Vec<Result<Vec<Loaded>, StoreError>> = thread::scope(|scope| {
        let others: Vec<_> = (1..readers).map(|_| scope.spawn(read_some)).collect();
        let own = read_some();
        // A reader that panicked has read nothing.
        others.into_iter().filter_map(|reader| reader.join().ok()).chain([own]).collect()
    });
    for some in read {
        loaded.extend(some?);
    }
    let taken = next.into_inner().min(unknown.len());
    Ok((loaded, (unknown.len() - taken) as u64))
}

/// A call to another than a model.
struct Beside {
    row: i64,
    /// The session of the proxy.
    session: i64,
    started_at_ms: i64,
}

/// The rows of calls, newest first.
struct Rows {
    /// The model calls of the run.
    own: Vec<i64>,
    /// All model calls, with their sessions of the proxy.
    model_calls: Vec<(i64, i64)>,
    /// The calls to others than models.
    others: Vec<Beside>,
}

impl Rows {
    fn of(viewer: &Viewer, id: &RunId) -> Result<Self, StoreError> {
        let mut rows = Self { own: Vec::new(), model_calls: Vec::new(), others: Vec::new() };
        viewer.each_entry(&everything(), |entry| match model_call(&entry) {
            Some(facts) => {
                rows.model_calls.push((entry.id, entry.session));
                rows.own.extend(is_of(id, &RunId::of_entry(&entry, facts)).then_some(entry.id));
            }
            None => {
                rows.others.push(Beside { row: entry.id, session: entry.session, started_at_ms: entry.started_at_ms })
            }
        })?;
        Ok(rows)
    }

    /// The newest model calls, and how many others there are.
    fn model_calls(&self, viewer: &Viewer, most: usize) -> Result<(Vec<(Call, Llm)>, u64), StoreError> {
        let newest = self.own.get(..most).unwrap_or(&self.own);
        let mut calls = Vec::with_capacity(newest.len());
        viewer.each_of(newest, |call| calls.extend(Llm::parse(&call.llm).map(|llm| (call, llm))))?;
        Ok((calls, (self.own.len() - newest.len()) as u64))
    }

    /// The rows of the model calls in a session.
    fn model_calls_in(&self, session: i64) -> Vec<i64> {
        self.model_calls.iter().filter(|(_, of)| *of == session).map(|(row, _)| *row).collect()
    }

    /// The rows of the calls to others than models in a session that began at such times.
    fn others_in(&self, session: i64, is_then: impl Fn(i64) -> bool) -> Vec<i64> {
        let wanted = self.others.iter().filter(|of| of.session == session && is_then(of.started_at_ms));
        wanted.map(|of| of.row).collect()
    }
}

/// Whether a call's run is the one that is wanted. Without an agent's name, the id of the session decides.
fn is_of(wanted: &RunId, run: &RunId) -> bool {
    match (wanted, run) {
        (RunId::Agent(agent, session), RunId::Agent(of_agent, of_session)) => {
            session == of_session && (agent.is_empty() || agent == of_agent)
        }
        _ => wanted == run,
    }
}

/// Codex' name of the main agent.
const MAIN_OF_CODEX: &str = "/root";

/// What a tree needs of an event. `None`: it was removed meanwhile.
fn load(viewer: &Viewer, call: Call, llm: Llm) -> Result<Option<Loaded>, StoreError> {
    let Some(row) = viewer.event(call.id)? else { return Ok(None) };
    let stored = Stored::parse(&row.json);
    drop(row.json);
    let agent = &stored.metadata()["agent"];
    let text = |name: &str| agent[name].as_str().map(str::to_owned);
    // Codex may call its sub-agents like the main agent.
    let is_of_main = |name: &String| name == MAIN_OF_CODEX && agent["parent_thread_id"].is_string();
    Ok(Some(Loaded {
        event: row.event_id,
        continues: stored.link("continues"),
        retry_of: stored.link("retry_of"),
        parent_thread: text("parent_thread_id"),
        name: text("agent_name").filter(|name| !is_of_main(name)).or_else(|| text("agent_type")),
        gist: Conversation::of(&stored).map(|conversation| Gist::of(&conversation)).unwrap_or_default(),
        call,
        llm,
    }))
}

/// Calls to others than models, oldest first.
#[derive(Default)]
struct Others {
    /// Those of the run.
    own: Vec<Call>,
    /// In the proxy's run of a session that others share: those that nothing ties to a run.
    loose: Vec<Call>,
}

/// The calls to others than models in the run's sessions of the proxy: where no other run shares these, those while the run lasted.
fn others(
    viewer: &Viewer,
    rows: &Rows,
    id: &RunId,
    loaded: &[Loaded],
    limits: &Limits,
    left_out: &mut LeftOut,
) -> Result<Others, StoreError> {
    let mut sessions: Vec<i64> = loaded.iter().map(|of| of.call.session).collect();
    if let RunId::Proxy(session) = id {
        sessions = vec![*session];
    }
    sessions.sort_unstable();
    sessions.dedup();
    let (start, end) = (loaded.iter().map(|of| of.call.started_at_ms).min(), loaded.iter().map(ended).max());
    let mut all = Others::default();
    for row in sessions {
        let runs = runs_by(viewer, &rows.model_calls_in(row))?;
        // Other programs may have used the proxy before and afterwards.
        let is_bound = matches!(id, RunId::Agent(..)) && !runs.are_several();
        let is_then = |at_ms: i64| !is_bound || (start..=end).contains(&Some(at_ms));
        viewer.each_of(&rows.others_in(row, is_then), |call| {
            let calls = match runs.of(&call) {
                Some(run) if is_of(id, run) => &mut all.own,
                None if *id == RunId::Proxy(row) => &mut all.loose,
                None if (start..=end).contains(&Some(call.started_at_ms)) => {
                    return left_out.unattributed += 1;
                }
                _ => return,
            };
            match calls.len() < limits.other_calls {
                true => calls.push(call),
                false => left_out.other_calls += 1,
            }
        })?;
    }
    for calls in [&mut all.own, &mut all.loose] {
        calls.sort_by_key(|call| (call.started_at_ms, call.id));
    }
    Ok(all)
}

fn ended(of: &Loaded) -> i64 {
    of.call.ended_at_ms()
}

/// Finds out why calls missed the cache.
fn explain(
    viewer: &Viewer,
    run: &mut Run,
    limits: &Limits,
    until: Instant,
    memory: &Memory,
    left_out: &mut LeftOut,
) -> Result<(), StoreError> {
    let turns = run.threads.iter_mut().flat_map(|thread| &mut thread.turns);
    let mut room = limits.reasons;
    for step in turns.flat_map(|turn| &mut turn.steps) {
        let Step::Model(call) = step else { continue };
        let Some(miss) = &mut call.miss else { continue };
        if let Some(known) = memory.reason(call.event, miss.previous) {
            miss.reason = known;
            continue;
        }
        if room == 0 || Instant::now() > until {
            left_out.reasons += 1;
            continue;
        }
        room -= 1;
        miss.reason = match (event(viewer, miss.previous), event(viewer, call.call.id)) {
            (Ok(before), Ok(after)) => Some(cache_miss_reason(&before.conversation, &after.conversation)),
            (Err(ViewError::Store(error)), _) | (_, Err(ViewError::Store(error))) => return Err(error),
            _ => None,
        };
        memory.keep_reason(call.event, miss.previous, miss.reason.clone());
    }
    Ok(())
}
