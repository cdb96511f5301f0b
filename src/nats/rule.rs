//! When a proxy may forget an event (pure).

use serde_json::Value;

use crate::config::Forget;

/// The rule, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) forget: Forget,
    pub(crate) because: String,
}

/// What a server's monitoring says of itself (`/varz`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Monitored {
    /// Its version.
    pub(crate) version: String,
    /// Whether it syncs each message before it acknowledges. `None`: it does not say.
    pub(crate) syncs_always: Option<bool>,
}

impl Monitored {
    /// Reads `/varz`. `None`: it is something else.
    pub(crate) fn read(varz: &Value) -> Option<Self> {
        let version = varz.get("version")?.as_str()?.to_owned();
        let jetstream = varz.get("jetstream").and_then(|jetstream| jetstream.get("config"));
        // Versions before 2.10 have no such setting and show none: they sync now and then.
        let syncs_always = jetstream.and_then(|config| match config.get("sync_always") {
            Some(always) => always.as_bool(),
            None => config.get("sync_interval").map(|_| false),
        });
        Some(Self { version, syncs_always })
    }
}

impl Rule {
    /// With so many copies of each message, and what is known of the server.
    pub(crate) fn of(replicas: usize, server_version: &str, syncs_always: Option<bool>) -> Self {
        if replicas >= 3 {
            let because = format!("{replicas} servers have each message before it is acknowledged");
            return Self { forget: Forget::Acknowledged, because };
        }
        let copies =
            if replicas == 1 { "one server has it".to_owned() } else { format!("{replicas} servers have it") };
        match syncs_always {
            Some(true) => Self {
                forget: Forget::Acknowledged,
                because: format!("{copies}, and it is synced before it is acknowledged (`sync_interval: always`)"),
            },
            known => {
                let sync = match known {
                    Some(_) => "is acknowledged before it is synced",
                    None => "is acknowledged before it is synced, as far as is known",
                };
                let because = format!(
                    "{copies}, and each message {sync} (version {server_version}): a loss of power may take the last ones"
                );
                Self { forget: Forget::Delivered, because }
            }
        }
    }

    /// The value of `queue.forget`.
    pub(crate) fn setting(&self) -> &'static str {
        match self.forget {
            Forget::Delivered => "delivered",
            Forget::Acknowledged => "acknowledged",
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_proxy_forgets_at_the_acknowledgement_only_if_power_loss_cannot_take_the_message() {
        let rule = |replicas, syncs| Rule::of(replicas, "2.9.10", syncs).forget;
        assert_eq!([rule(1, None), rule(1, Some(false)), rule(2, None)], [Forget::Delivered; 3]);
        assert_eq!([rule(3, None), rule(5, Some(false)), rule(1, Some(true))], [Forget::Acknowledged; 3]);
        assert!(Rule::of(1, "2.9.10", None).because.contains("2.9.10"));
    }

    #[test]
    fn the_sync_setting_is_read_as_far_as_the_server_shows_it() {
        let read = |config: Value| {
            let varz = json!({ "version": "2.11.0", "jetstream": { "config": config } });
            Monitored::read(&varz).unwrap().syncs_always
        };
        assert_eq!(read(json!({ "max_memory": 1, "store_dir": "/x" })), None, "as 2.9.10 answers");
        assert_eq!(read(json!({ "sync_interval": 120_000_000_000_i64 })), Some(false));
        assert_eq!(read(json!({ "sync_interval": 120_000_000_000_i64, "sync_always": true })), Some(true));
        assert_eq!(Monitored::read(&json!({ "jetstream": {} })), None);
    }
}
