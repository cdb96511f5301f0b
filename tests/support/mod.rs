//! What the tests are made of: an origin, a test OTAS, and the proxy between them.

#![allow(dead_code, unreachable_pub, reason = "each file of tests uses its own part of this")]

pub mod agent;
pub mod browser;
#[cfg(feature = "otlp")]
pub mod collector;
pub mod frames;
#[cfg(target_os = "linux")]
pub mod island;
pub mod lines;
pub mod manual;
#[cfg(feature = "nats")]
pub mod nats;
pub mod nobody;
pub mod origin;
pub mod otas;
#[cfg(target_os = "linux")]
pub mod pod;
pub mod program;
pub mod proxy;
pub mod relay;
pub mod sample;
pub mod standin;
pub mod websocket;
