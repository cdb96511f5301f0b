//! What the benchmarks of a call's cost share: the bare proxy, the processes and the cores they run on, the origin's
//! connections, and the way through a proxy to it.

pub mod bare;
pub mod origin;
pub mod processes;
pub mod way;
