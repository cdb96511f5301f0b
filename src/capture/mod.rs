//! Records an exchange while its bytes pass, and makes one [`Exchange`] of its two halves.

mod arrivals;
mod body;
mod budget;
mod caller;
mod conclude;
mod copies;
mod delivery;
mod exchange;
mod fault;
mod fields;
mod keeper;
mod model;
mod recorder;
mod shared;
mod sink;
mod socket;
mod state;
mod steps;
mod text_type;
mod transcript;
mod turn;

pub use arrivals::Arrival;
pub use body::CapturedBody;
pub use budget::{Budget, Reservation};
pub use caller::{AgentProcess, Caller, Credential, SessionTokens, Unlogged};
pub use copies::Tap;
pub use delivery::Flushes;
pub use exchange::{
    Blind, BodyEnd, Captured, Exchange, Failure, HostNames, Kind, Origin, Outcome, RequestFacts, ResponseFacts, Side,
    SocketFacts, Timings, TlsFacts, TurnFacts, WebSocket,
};
pub use fault::OriginFault;
pub use fields::Fields;
pub use keeper::{Keeper, Kept, Limits};
pub use recorder::{Recorder, Recording};
pub use sink::{Finished, Sink};
pub use socket::{Passed, SocketReader, socket};
pub use steps::Upstreamed;
pub use text_type::is_text_type;
