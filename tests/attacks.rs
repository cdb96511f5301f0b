//! The attacker's suite: agents, pages and other users that want what is not theirs. Nothing of it may succeed, and memory stays
//! bounded while it is tried.

mod attribution;
mod exhaustion;
mod other_users;
mod planted;
mod secrets;
mod smuggling;
mod ssrf;
mod stuck;
