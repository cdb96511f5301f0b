//! What an event says of a call, however it ended.
