//! What is known of the process that calls, and which of it and its ancestors is the agent.

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
    /// Its own facts.
    pub facts: Arc<Facts>,
    /// Its parent, the parent of that, and so on: as they were when it was first seen to call, for children whose parent ends
    /// are given another. Ends below the proxy itself.
    pub ancestors: Vec<Arc<Facts>>,
    /// The leader of its session; when that has ended, the topmost ancestor in the session.
    pub leader: Option<Arc<Facts>>,
}

/// What is known of one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Its number, which another process gets when it has ended.
    pub pid: u32,
    /// When it began, in clock ticks since the system did (`/proc/PID/stat`, field 22): with `pid`, no other process has it.
    pub start_ticks: u64,
    /// Its parent's number.
    pub parent: u32,
    /// The number of its session's leader.
    pub session: u32,
    /// Its name as the system has it, of at most 15 bytes; programs may set it.
    pub name: Box<str>,
    /// The file that it runs. `None`: the system does not say.
    pub exe: Option<Box<str>>,
    /// Its command line without what could be secret: the program, the names of its options, the sources that it was given.
    pub command: Box<str>,
    /// The source that it runs, if that can be told, without its folder.
    pub script: Option<Box<str>>,
}

/// How agents are told from what they were started by: globs on the names of programs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AgentRules(Vec<WildMatch>);

impl AgentRules {
    /// From globs: `*` is any characters, `?` any one. A process has one if its executable, its name, or the script that it
    /// runs is called so.
    pub fn new<'a>(globs: impl IntoIterator<Item = &'a str>) -> Self {
        Self(globs.into_iter().map(WildMatch::new).collect())
    }

    fn have(&self, process: &Facts) -> bool {
        self.0.iter().any(|glob| process.names().any(|name| glob.matches(name)))
    }
}

impl Process {
    /// The process that is the agent: of this one and its ancestors the topmost that the rules have; else the leader of its
    /// session; else this one.
    pub fn agent_process(&self, rules: &AgentRules) -> &Arc<Facts> {
        let mut topmost_first = self.ancestors.iter().rev().chain([&self.facts]);
        topmost_first.find(|process| rules.have(process)).or(self.leader.as_ref()).unwrap_or(&self.facts)
    }
}

impl Facts {
    /// When it began, by this machine's clock (RFC 3339). `None`: the system does not say.
    pub fn started_at(&self) -> Option<String> {
        let since_boot_s = self.start_ticks / system::ticks_per_second();
        let at = i64::try_from(system::booted_at_s()? + since_boot_s).ok()?;
        OffsetDateTime::from_unix_timestamp(at).ok()?.format(&Rfc3339).ok()
    }

    /// The agent that it is known to be.
    pub(crate) fn known_agent(&self) -> Option<&'static str> {
        self.names().find_map(known_agents::of_program)
    }

    /// What it is called.
    fn names(&self) -> impl Iterator<Item = &str> {
        // The file of a program that was replaced while it runs.
        let exe = self.exe.as_deref().map(|exe| name_of(exe.strip_suffix(" (deleted)").unwrap_or(exe)));
        exe.into_iter().chain([&*self.name]).chain(self.script.as_deref())
    }
}

/// The leader of `facts`'s session among what is known of it. `alive`: the leader itself, if it lives.
#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "nothing is known there"))]
pub(super) fn leader(
    facts: &Arc<Facts>,
    ancestors: &[Arc<Facts>],
    alive: impl FnOnce(u32) -> Option<Arc<Facts>>,
) -> Option<Arc<Facts>> {
    // It has none, or one that cannot be seen from here.
    if facts.session == 0 {
        return None;
    }
    let above = || ancestors.iter().take_while(|above| above.session == facts.session);
    let mut line = [facts].into_iter().chain(above());
    let leader = line.find(|process| process.pid == facts.session).cloned();
    leader.or_else(|| alive(facts.session)).or_else(|| above().last().cloned())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn facts(pid: u32, session: u32, name: &str) -> Arc<Facts> {
        let (start_ticks, parent) = (u64::from(pid) * 10, pid - 1);
        let (exe, command) = (Some(format!("/usr/bin/{name}").into()), name.into());
        Arc::new(Facts { pid, start_ticks, parent, session, name: name.into(), exe, command, script: None })
    }

    /// A process alone.
    pub(in crate::peer) fn process(pid: u32) -> Process {
        Process { facts: facts(pid, pid, "alone"), ancestors: Vec::new(), leader: None }
    }

    /// `curl` below `python3` below `sh`, which leads the session, below `claude` below `bash`.
    fn family() -> Process {
        let ancestors = [(14, 13, "python3"), (13, 13, "sh"), (12, 11, "claude"), (11, 11, "bash")]
            .map(|(p, s, n)| facts(p, s, n));
        Process { facts: facts(15, 13, "curl"), leader: Some(ancestors[1].clone()), ancestors: ancestors.to_vec() }
    }

    #[test]
    fn the_agent_is_the_topmost_that_the_rules_have_else_the_leader_else_the_caller() {
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
    fn a_process_is_known_by_its_file_its_name_and_its_script() {
        let one = Facts {
            exe: Some("/opt/node (deleted)".into()),
            script: Some("agent.mjs".into()),
            ..(*facts(1, 1, "worker")).clone()
        };
        for (glob, has) in [("node", true), ("worker", true), ("agent.*", true), ("opt", false), ("NODE", false)] {
            assert_eq!(AgentRules::new([glob]).have(&one), has, "{glob}");
        }
    }

    #[test]
    fn the_leader_is_of_the_line_or_lives_elsewhere_or_is_the_topmost_that_is_left() {
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
