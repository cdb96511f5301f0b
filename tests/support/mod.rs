//! What the tests are made of: an origin, a test OTAS, and the proxy between them.

pub mod origin;
pub mod otas;
pub mod proxy;
