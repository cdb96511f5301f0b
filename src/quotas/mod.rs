//! How much of a quota or a rate limit is used, as providers state it in header fields of their responses, or in their streams: the newest
//! statement for each provider, account, window and model. Bounded, and pure: the time is handed in.
//!
//! ```text
//!  read       header fields -> windows
//!  Quotas     the newest window of each key
//! ```

mod read;

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;

use self::read::{account, windows};
use crate::event::{Side, Stored};
use crate::llm::Llm;

/// Windows that are remembered. A further one replaces the one that was not stated for the longest time.
const WINDOWS_MAX: usize = 64;
/// A rate limit is shown for so long after it was stated: many reset within milliseconds.
const LIMIT_KEPT_MS: i64 = 10 * 60 * 1_000;
/// A quota without a known end is shown for so long.
const QUOTA_KEPT_MS: i64 = 24 * 3_600 * 1_000;

/// A quota window of a subscription, or a rate limit of an API.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Window {
    /// The provider's name of it: `5h`, `7d`, `requests`, `tokens`, ….
    pub name: String,
    /// The share that is used: 0 is none, 1 is all.
    pub used: Option<f64>,
    /// How many requests or tokens are allowed.
    pub limit: Option<f64>,
    /// How many of them are left.
    pub remaining: Option<f64>,
    /// When it is full again, in Unix milliseconds.
    pub resets_at_ms: Option<i64>,
    /// The provider's word: `allowed`, `allowed_warning`, `rejected`, ….
    pub status: Option<String>,
    /// Whether it belongs to one model. Quotas of subscriptions do not.
    pub is_of_model: bool,
}

/// A window, and whose it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Quota {
    /// The provider, or else the host.
    pub provider: String,
    /// The model, for a limit of one model. Empty for others.
    pub model: String,
    /// The window.
    pub window: Window,
    /// Which of the provider's accounts, by the order of their ids: 0 is the first. It may change when another account is seen.
    pub account: usize,
    /// When the response that stated it began, in Unix milliseconds.
    pub stated_at_ms: i64,
}

/// Provider, account, model, window.
type Key = (String, String, String, String);

/// The newest statement for each window.
#[derive(Default)]
pub struct Quotas(Mutex<BTreeMap<Key, Quota>>);

/// Whose windows they are.
#[derive(Debug, Clone, Copy)]
struct Owner<'a> {
    /// The provider, or else the host.
    provider: &'a str,
    /// The provider's id of the account. Empty if it is not stated.
    account: &'a str,
    model: &'a str,
}

impl Quotas {
    /// Notes what the header fields of a response state. `llm`: the facts of the call. `at_ms`: when the call began, in Unix
    /// milliseconds.
    pub fn note<'a>(
        &self,
        host: &str,
        llm: Option<&Llm>,
        fields: impl Iterator<Item = (&'a str, &'a str)> + Clone,
        at_ms: i64,
    ) {
        // Most calls state none, and then nothing else is read.
        let windows = windows(fields.clone(), at_ms);
        if !windows.is_empty() {
            self.note_windows(host, llm, account(fields), windows, at_ms);
        }
    }

    /// Notes what a stored event states.
    pub fn note_event(&self, host: &str, event: &Stored, at_ms: i64) {
        let Some(limits) = event.metadata()["rate_limit"].as_object() else { return };
        let limits = limits.iter().filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)));
        let fields = event.headers(Side::Response);
        let account = account(fields.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        self.note_windows(host, event.llm().as_ref(), account, windows(limits, at_ms), at_ms);
    }

    fn note_windows(&self, host: &str, llm: Option<&Llm>, account: &str, windows: Vec<Window>, at_ms: i64) {
        let provider = llm.and_then(Llm::provider).unwrap_or(host);
        let model = llm.and_then(Llm::model).unwrap_or_default();
        self.take(Owner { provider, account, model }, windows, at_ms);
    }

    /// An older statement never replaces a newer one.
    fn take(&self, of: Owner<'_>, windows: Vec<Window>, at_ms: i64) {
        let mut known = self.0.lock();
        for window in windows {
            let model = if window.is_of_model { of.model } else { "" };
            let key = (of.provider.to_owned(), of.account.to_owned(), model.to_owned(), window.name.clone());
            if known.get(&key).is_some_and(|newer| newer.stated_at_ms > at_ms) {
                continue;
            }
            if !known.contains_key(&key) && known.len() >= WINDOWS_MAX {
                let oldest = known.iter().min_by_key(|(_, quota)| quota.stated_at_ms).map(|(key, _)| key.clone());
                oldest.map(|oldest| known.remove(&oldest));
            }
            let quota =
                Quota { provider: key.0.clone(), model: key.2.clone(), window, account: 0, stated_at_ms: at_ms };
            known.insert(key, quota);
        }
    }

    /// What is known at `now_ms`, by provider, account, model and window. What has been reset since is left out: nothing is known
    /// of it.
    pub fn now(&self, now_ms: i64) -> Vec<Quota> {
        let mut known = self.0.lock();
        known.retain(|_, quota| quota.is_known_at(now_ms));
        let of_provider = |provider: &str| {
            let accounts = known.keys().filter(|key| key.0 == provider).map(|key| key.1.as_str());
            accounts.collect::<BTreeSet<_>>()
        };
        let number = |key: &Key| of_provider(&key.0).iter().take_while(|account| ***account < *key.1).count();
        known.iter().map(|(key, quota)| Quota { account: number(key), ..quota.clone() }).collect()
    }
}

impl Quota {
    fn is_known_at(&self, now_ms: i64) -> bool {
        let kept = if self.window.is_of_model { LIMIT_KEPT_MS } else { QUOTA_KEPT_MS };
        let kept_until = self.stated_at_ms.saturating_add(kept);
        let until = match self.window.resets_at_ms {
            Some(resets) if self.window.is_of_model => resets.max(kept_until),
            Some(resets) => resets,
            None => kept_until,
        };
        now_ms < until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    fn window(name: &str, used: f64, resets_at_ms: Option<i64>) -> Window {
        Window { name: name.to_owned(), used: Some(used), resets_at_ms, ..Window::default() }
    }

    fn owner<'a>(provider: &'a str, account: &'a str) -> Owner<'a> {
        Owner { provider, account, model: "m" }
    }

    fn used(quotas: &Quotas, now_ms: i64) -> Vec<(String, usize, String, Option<f64>)> {
        let all = quotas.now(now_ms).into_iter();
        all.map(|quota| (quota.provider, quota.account, quota.window.name, quota.window.used)).collect()
    }

    #[test]
    fn the_newest_statement_of_each_window_counts_until_it_is_reset() {
        let quotas = Quotas::default();
        quotas.take(
            owner("anthropic", "a"),
            vec![window("5h", 0.5, Some(5 * HOUR)), window("7d", 0.1, Some(99 * HOUR))],
            2,
        );
        quotas.take(owner("anthropic", "a"), vec![window("5h", 0.2, Some(5 * HOUR))], 1);
        quotas.take(owner("anthropic", "b"), vec![window("5h", 0.9, Some(5 * HOUR))], 3);
        let row = |account, name: &str, used| ("anthropic".to_owned(), account, name.to_owned(), Some(used));
        assert_eq!(used(&quotas, HOUR), [row(0, "5h", 0.5), row(0, "7d", 0.1), row(1, "5h", 0.9)]);
        assert_eq!(used(&quotas, 6 * HOUR), [row(0, "7d", 0.1)]);
    }

    #[test]
    fn a_rate_limit_is_shown_for_a_while_although_it_resets_at_once() {
        let quotas = Quotas::default();
        let limit = Window { is_of_model: true, ..window("requests", 0.3, Some(6)) };
        quotas.take(owner("openai", ""), vec![limit], 1);
        assert_eq!(quotas.now(1_000)[0].model, "m");
        assert_eq!(quotas.now(LIMIT_KEPT_MS + 1), []);
    }

    #[test]
    fn the_number_of_windows_is_bounded() {
        let quotas = Quotas::default();
        for n in 0..200 {
            let account = format!("a{n}");
            quotas.take(owner("anthropic", &account), vec![window("5h", 0.0, Some(9 * HOUR))], n);
        }
        assert_eq!(quotas.now(HOUR).len(), WINDOWS_MAX);
    }
}
