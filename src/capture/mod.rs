//! What is kept of an exchange while its bytes pass by, and how its two halves become one [`Exchange`].

mod exchange;

pub use exchange::{
    BodyEnd, Captured, Exchange, Failure, Kind, Origin, Outcome, RequestFacts, ResponseFacts, Timings, TlsFacts,
};
