//! Facts of calls to language models and to the tools of agents, read from a copy of the bodies: pure, in pieces of any
//! size, in bounded memory. Whatever the bytes are, nothing here fails or panics. What cannot be read is reported as a
//! fact.
//!
//! ```text
//!  request head
//!    |- api        whether it is a model call, of which API, provider and model
//!  bytes of a body
//!    |- codings    content codings, piece by piece (crate::codings)
//!    |- replies    splits a response into pieces: sse, frames or objects
//!    |    |- sieve     keeps the few members of each piece that matter
//!    |    |- openai, responses, anthropic, gemini, bedrock, cohere, ollama, mcp    what a piece means
//!    |    |- reading   combines the pieces (usage: token counts in one form; counting: whether they cover all tokens;
//!    |    |             answer: the text for people; calls: tool calls; hosts: those that tools are sent to; limits:
//!    |    |             quotas that a stream states)
//!    |- refusal    an error response: the provider's error message
//!    |- request    parameters of the request, and its API if the path does not show it
//!    |- messages   where the messages of the request stand
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
mod hosts;
mod limits;
mod mcp;
mod messages;
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
pub use messages::message_places;
pub use reader::Reader;
pub(crate) use sse::{Part, Scanner};
pub use summary::Llm;
