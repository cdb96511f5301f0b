//! `[delivery]`

use super::super::shown::{ms, name_of};
use super::super::types::Order;
use super::key::{Key, Kind, choice, milliseconds, number, put};
use super::limits::LONGEST_MS;

pub(super) const KEYS: &[Key] = &[
    number!(
        delivery.max_in_flight,
        1..=64,
        "The most posts at once. Delivery starts with one and finds out how many OTAS can work on: two or three for a small one, \
         which checks keys slowly and refuses good ones when it is overloaded."
    )
    .live(),
    choice!(
        delivery.order,
        Order,
        "How closely the order of a session's events is kept, which is the order on OTAS's page. `\"adaptive\"`: one by one, unless \
         more than 64 events of the session wait and several at once are faster. `\"window\"`: several at once, so that neighbours \
         may arrive swapped (`metadata.event.seq` has the true order). `\"strict\"`: always one by one. An event that OTAS refuses \
         is retried before later ones of its session for a minute; then they pass it (with `\"window\"` at once)."
    )
    .live(),
    milliseconds!("delivery.attempt_timeout_ms", delivery.attempt_timeout, 1..=LONGEST_MS, "Limit for one post.").live(),
    milliseconds!(
        "delivery.backoff_min_ms",
        delivery.backoff_min,
        1..=LONGEST_MS,
        "The shortest wait after a failed post. The longest is twice this after the first failure, and doubles with each further one \
         up to `delivery.backoff_max_ms`. The wait is random between the two."
    )
    .live(),
    milliseconds!(
        "delivery.backoff_max_ms",
        delivery.backoff_max,
        1..=LONGEST_MS,
        "The longest such wait. With `Retry-After`, OTAS may ask for more, up to 5 minutes."
    )
    .live(),
    milliseconds!(
        "delivery.drain_timeout_ms",
        delivery.drain_timeout,
        0..=LONGEST_MS,
        "How long `run` and a stopping `serve` wait for events to reach OTAS and the sinks. What is left stays stored, and they \
         say so."
    )
    .live(),
];
