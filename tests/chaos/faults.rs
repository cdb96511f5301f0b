//! Faults of OTAS, one at a time, from a seed.

use std::time::Duration;

use crate::support::otas::{Answer, TestOtas};

/// A small generator (xorshift): the same seed gives the same schedule.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A number below `bound`.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap()
    }
}

/// The maximum number of posts in flight. When answers are lost, each of them may have been saved.
pub(super) const IN_FLIGHT: usize = 16;

/// Ends the current fault and starts another one, or none. Returns how many answers it may lose.
pub(super) async fn next(otas: &TestOtas, random: &mut Random) -> usize {
    otas.up().await;
    let few = 1 + random.below(6);
    let fault = random.below(13);
    match fault {
        0 => otas.down().await,
        1 => otas.slow(Duration::from_millis(20 + random.below(200) as u64)),
        2 => otas.hang(),
        3 => otas.answer_next(few, Answer::refusal(401, "invalid_or_expired_agent_key")),
        4 => otas.answer_all(Answer::new(200).body("text/html", "<html>Welcome to the hotel's network</html>")),
        5 => otas.lose_answers(few),
        6 => otas.answer_next(few, Answer::new(503).body("text/html", "<html>")),
        7 => otas.answer_next(few, Answer::new(429).header("retry-after", "0")),
        8 => otas.uasam_away(),
        9 => otas.expire_tokens().await,
        10 => otas.withhold_answers(1),
        11 => otas.answer_next(few, Answer::refusal(401, "invalid_or_expired_token")),
        _ => {}
    }
    match fault {
        0..=2 => IN_FLIGHT,
        5 => few,
        10 => 1,
        _ => 0,
    }
}
