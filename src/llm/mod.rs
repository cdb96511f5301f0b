//! Facts of calls to language models and to the tools of agents, read from a copy of the bodies: pure, in pieces of any
//! size, in bounded memory. Whatever the bytes are, nothing here fails or panics. What cannot be read is reported as a
//! fact.
//!
//! ```text
//!  head of the question
//!    |- api        is it one? which interface, whose, which model
//!  bytes of a body
//!    |- codings    content codings, piece by piece (crate::codings)
//!    |- replies    sse, frames or objects: the pieces of an answer
//!    |    |- sieve     the few members of each that matter; the rest passes
//!    |    |- openai, responses, anthropic, gemini, bedrock, cohere, ollama, mcp    what a piece means
//!    |    |- reading   what the pieces add up to (usage: tokens in one form; counting: may they be of all;
//!    |    |             answer: the text for people; calls: of tools)
//!    |- refusal    an answer that is an error: the provider's own sentence
//!    |- request    the question: parameters, and its interface if the path did not tell
//!    v
//!  facts           by the names in `names`
//! ```

mod answer;
mod anthropic;
mod api;
mod bedrock;
mod calls;
mod cohere;
mod counting;
mod facts;
mod frames;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod gemini;
mod mcp;
pub mod names;
mod ollama;
mod openai;
#[cfg(test)]
mod oracles;
mod reader;
mod reading;
mod refusal;
mod replies;
mod request;
mod responses;
mod sieve;
mod sse;
mod summary;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod text;
mod usage;

pub use api::{Api, Call, Head};
pub use facts::{AnswerError, Fact, Facts};
pub use reader::Reader;
pub(crate) use sse::{Part, Scanner};
pub use summary::Llm;
