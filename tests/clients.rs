//! Real clients, each told of the proxy by `otas-proxy run` and nothing else: the same result as a direct call, and one
//! right event a call. What ran is noted in `target/clients-table`, from which the table in docs/clients.md is made.

pub(crate) mod installed;
mod java;
mod llm;
mod neighbours;
mod node;
mod packages;
mod preload;
mod python;
mod refused;
mod shell;
mod stage;
mod table;
