//! Looks for the slowest mixture of pieces: pieces are added, removed and exchanged at random, and what is slower stays.

use std::time::{Duration, Instant};

use crate::hostile::{HOSTILE, HOSTILE_TO_FORMATS, HOSTILE_TO_GRAMMARS, SIDE_BY_SIDE};
use crate::{Numbers, is_withheld, per_megabyte, redactor, search as search_once};

/// So long are the texts that are compared, in bytes.
const TRIED_BYTES: usize = 256 << 10;
/// So many mixtures are kept.
const KEPT: usize = 24;
/// A longer mixture is not tried, in bytes.
const MIXTURE_MAX_BYTES: usize = 700;

/// For how many seconds to search: the number behind `--search`.
pub fn seconds() -> Option<u64> {
    let mut args = std::env::args().skip_while(|arg| arg != "--search");
    args.next()?;
    Some(args.next().and_then(|seconds| seconds.parse().ok()).unwrap_or(120))
}

/// Searches for so long, and prints the slowest mixtures.
pub fn search(time: Duration, prose: Duration) {
    let pieces: Vec<&str> =
        [HOSTILE, HOSTILE_TO_FORMATS, HOSTILE_TO_GRAMMARS, SIDE_BY_SIDE].into_iter().flatten().copied().collect();
    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let mut numbers = Numbers(seed.as_nanos() as u64);
    let mut any = |count: usize| numbers.next() as usize % count;
    let redactor = redactor();
    let cost = |mixture: &[&str]| {
        let mixture = mixture.concat();
        let text = mixture.repeat(TRIED_BYTES / mixture.len() + 1);
        let once = || search_once(&redactor, &text);
        once().min(once()).as_secs_f64() / text.len() as f64
    };
    let mut kept: Vec<(f64, Vec<&str>)> = Vec::new();
    let begin = Instant::now();
    while begin.elapsed() < time {
        let mut mixture = match kept.len() {
            KEPT => kept[any(KEPT).min(any(KEPT))].1.clone(),
            _ => vec![pieces[any(pieces.len())]],
        };
        for _ in 0..=any(3) {
            let at = any(mixture.len() + 1);
            match any(4) {
                0 | 1 => mixture.insert(at, pieces[any(pieces.len())]),
                2 if at < mixture.len() && mixture.len() > 1 => drop(mixture.remove(at)),
                _ if kept.len() == KEPT => {
                    let other = kept[any(KEPT)].1.clone();
                    mixture.splice(at..at, other[any(other.len())..].iter().copied());
                }
                _ => {}
            }
        }
        let bytes: usize = mixture.iter().map(|piece| piece.len()).sum();
        if bytes > MIXTURE_MAX_BYTES || kept.iter().any(|(_, known)| *known == mixture) {
            continue;
        }
        kept.push((cost(&mixture), mixture));
        kept.sort_by(|one, other| other.0.total_cmp(&one.0));
        kept.truncate(KEPT);
    }
    for (_, mixture) in kept.iter().take(5) {
        let mixture = mixture.concat();
        let text = mixture.repeat(crate::BYTES / mixture.len());
        let time = per_megabyte(&text);
        let ratio = time.as_secs_f64() / prose.as_secs_f64();
        let withheld = if is_withheld(&text) { " (withheld)" } else { "" };
        println!("{:>8.2} ms/MiB {ratio:>8.2} × prose{withheld}: {mixture:?}", time.as_secs_f64() * 1e3);
    }
}
