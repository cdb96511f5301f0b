//! Facts about the process that calls, and which of it and its ancestors is the agent.

use std::sync::Arc;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use wildmatch::WildMatch;

use super::command::name_of;
use super::system;
use crate::known_agents;

/// The process that holds the agent's end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// The process itself.
    pub facts: Arc<Facts>,
    /// Its parent, grandparent and so on, as they were when it first called: a child whose parent ends gets another
    /// parent. The list ends below the proxy itself.
    pub ancestors: Vec<Arc<Facts>>,
    /// The leader of its Unix session. If that has ended: the topmost ancestor in the same session.
    pub leader: Option<Arc<Facts>>,
}

/// Facts about one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Its process id. The system may reuse it after the process has ended.
    pub pid: u32,
    /// When it started, in clock ticks since boot (`/proc/PID/stat`, field 22). Together with `pid` it is unique.
    pub start_ticks: u64,
    /// The process id of its parent.
    pub parent: u32,
    /// The process id of the leader of its Unix session.
    pub unix_session: u32,
    /// Its name in the system, at most 15 bytes. Programs may change it.
    pub name: Box<str>,
    /// Its executable. `None`: not reported.
    pub exe: Option<Box<str>>,
    /// Its command line without possible secrets: the program, the names of its options, and its script files.
    pub command: Box<str>,
    /// The script that it runs, without its folder, if that is known.
    pub script: Option<Box<str>>,
}

/// Globs on program names. They distinguish an agent from the programs that started it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AgentRules(Vec<WildMatch>);

impl AgentRules {
    /// Makes rules from globs (`*`: any characters, `?`: any one character). They match a process by its executable,
    /// its name, or the script that it runs.
    pub fn new<'a>(globs: impl IntoIterator<Item = &'a str>) -> Self {
        Self(globs.into_iter().map(WildMatch::new).collect())
    }

    fn matches(&self, process: &Facts) -> bool {
        self.0.iter().any(|glob| process.names().any(|name| glob.matches(name)))
    }
}

impl Process {
    /// The process that is the agent: the topmost of this process and its ancestors that the rules match; else the
    /// leader of its Unix session; else this process.
    pub fn agent_process(&self, rules: &AgentRules) -> &Arc<Facts> {
        let mut topmost_first = self.ancestors.iter().rev().chain([&self.facts]);
        topmost_first.find(|process| rules.matches(process)).or(self.leader.as_ref()).unwrap_or(&self.facts)
    }
}

impl Facts {
    /// When it started, by this machine's clock (RFC 3339). `None`: not reported.
    pub fn started_at(&self) -> Option<String> {
        let since_boot_s = self.start_ticks / system::ticks_per_second();
        let at = i64::try_from(system::booted_at_s()? + since_boot_s).ok()?;
        OffsetDateTime::from_unix_timestamp(at).ok()?.format(&Rfc3339).ok()
    }

    /// The known agent program that it runs, if any.
    pub(crate) fn known_agent(&self) -> Option<&'static str> {
        self.names().find_map(known_agents::of_program)
    }

    /// All its names: of its executable, in the system, of its script.
    fn names(&self) -> impl Iterator<Item = &str> {
        // The suffix of an executable that was replaced while it runs.
        let exe = self.exe.as_deref().map(|exe| name_of(exe.strip_suffix(" (deleted)").unwrap_or(exe)));
        exe.into_iter().chain([&*self.name]).chain(self.script.as_deref())
    }
}

/// The leader of the Unix session of `facts`. `alive` looks up a process that still runs.
#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "nothing is known there"))]
pub(super) fn leader(
    facts: &Arc<Facts>,
    ancestors: &[Arc<Facts>],
    alive: impl FnOnce(u32) -> Option<Arc<Facts>>,
) -> Option<Arc<Facts>> {
    // It has no session, or one that is not visible from here.
    if facts.unix_session == 0 {
        return None;
    }
    let above = || ancestors.iter().take_while(|above| above.unix_session == facts.unix_session);
    let mut line = [facts].into_iter().chain(above());
    let leader = line.find(|process| process.pid == facts.unix_session).cloned();
    leader.or_else(|| alive(facts.unix_session)).or_else(|| above().last().cloned())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn facts(pid: u32, session: u32, name: &str) -> Arc<Facts> {
        let (start_ticks, parent) = (u64::from(pid) * 10, pid - 1);
        let (exe, command) = (Some(format!("/usr/bin/{name}").into()), name.into());
        Arc::new(Facts {
            pid,
            start_ticks,
            parent,
            unix_session: session,
            name: name.into(),
            exe,
            command,
            script: None,
        })
    }

    /// A process without ancestors.
    pub(in crate::peer) fn process(pid: u32) -> Process {
        Process { facts: facts(pid, pid, "alone"), ancestors: Vec::new(), leader: None }
    }

    /// `bash` started `claude`, which started `sh` (the session leader), which started `python3`, which started `curl`.
    fn family() -> Process {
        let ancestors = [(14, 13, "python3"), (13, 13, "sh"), (12, 11, "claude"), (11, 11, "bash")]
            .map(|(p, s, n)| facts(p, s, n));
        Process { facts: facts(15, 13, "curl"), leader: Some(ancestors[1].clone()), ancestors: ancestors.to_vec() }
    }

    #[test]
    fn the_agent_is_the_topmost_match_else_the_session_leader_else_the_caller() {
        let family = family();
        for (rules, agent) in [
            (&["claude"][..], "claude"),
            (&["python*", "curl"][..], "python3"),
            (&["curl"][..], "curl"),
            (&["*"][..], "bash"),
            (&["codex"][..], "sh"),
            (&[][..], "sh"),
        ] {
            let rules = AgentRules::new(rules.iter().copied());
            assert_eq!(&*family.agent_process(&rules).name, agent, "{rules:?}");
        }
        assert_eq!(process(7).agent_process(&AgentRules::default()).pid, 7);
    }

    #[test]
    fn a_process_is_matched_by_executable_name_and_script() {
        let one = Facts {
            exe: Some("/opt/node (deleted)".into()),
            script: Some("agent.mjs".into()),
            ..(*facts(1, 1, "worker")).clone()
        };
        for (glob, has) in [("node", true), ("worker", true), ("agent.*", true), ("opt", false), ("NODE", false)] {
            assert_eq!(AgentRules::new([glob]).matches(&one), has, "{glob}");
        }
    }

    #[test]
    fn the_leader_is_an_ancestor_or_another_living_process_or_the_topmost_ancestor_left() {
        let [caller, parent, other] = [facts(15, 9, "a"), facts(14, 9, "b"), facts(13, 2, "c")];
        let line = [parent.clone(), other];
        let dead = |_| None;
        assert_eq!(leader(&caller, &line, |_| Some(facts(9, 9, "leader"))).unwrap().pid, 9);
        assert_eq!(leader(&caller, &line, dead).unwrap().pid, 14);
        assert_eq!(leader(&caller, &[], dead), None);
        assert_eq!(leader(&facts(9, 9, "itself"), &line, dead).unwrap().pid, 9);
        assert_eq!(leader(&facts(9, 0, "none"), &line, |_| Some(caller.clone())), None);
    }
}
