//! Hosts and networks, and what is recorded of calls to them.

use std::net::IpAddr;

use ipnet::IpNet;
use toml::Spanned;
use toml::de::DeValue;

use super::value::{Given, Refused, Value, bad, toml_type};
use crate::hosts::{HostRule, HostRules};
use crate::redact::CaptureLevel;

const HOSTS: &str = "a list of hosts such as `[\"api.example.com\", \"*.example.org:443\", \"10.0.0.0/8\"]`";
const CAPTURE: &str = "a list such as `[{ hosts = [\"*.bank.example\"], capture = \"metadata\" }]`";
const NETWORKS: &str = "a list of networks such as `[\"10.1.0.0/16\", \"fd00:1::/64\"]`";

impl Given<'_> {
    /// A list of hosts.
    pub(in crate::config) fn hosts(&self) -> Result<HostRules, Refused> {
        let refused = |reason| bad("a host name, a glob, an address or a network, with or without a port", reason);
        match self.value {
            Value::List(texts) => {
                let rules = texts.iter().map(|text| HostRule::parse(text).map_err(refused));
                rules.collect::<Result<_, _>>().map(HostRules::new)
            }
            Value::Text(_) => Err(self.wrong_type(HOSTS)),
            Value::Toml(value) => {
                let items = value.get_ref().as_array().ok_or_else(|| self.wrong_type(HOSTS))?;
                let host = |item: &Spanned<DeValue<'_>>| {
                    let text = item.get_ref().as_str().ok_or_else(|| Refused {
                        message: format!("expected {HOSTS}, found {} in it", toml_type(item.get_ref())),
                        span: Some(item.span()),
                        entry: None,
                    })?;
                    HostRule::parse(text).map_err(|reason| Refused { span: Some(item.span()), ..refused(reason) })
                };
                items.iter().map(host).collect::<Result<_, _>>().map(HostRules::new)
            }
        }
    }

    /// Networks, or addresses, which are the networks of themselves.
    pub(in crate::config) fn networks(&self) -> Result<Vec<IpNet>, Refused> {
        self.list(NETWORKS, |text| {
            let address = text.parse::<IpAddr>().map(|address| IpNet::from(address.to_canonical()));
            address.or_else(|_| text.parse::<IpNet>().map(|net| net.trunc())).map_err(|_| "this is not a network")
        })
    }

    /// How much of calls to which hosts is recorded.
    pub(in crate::config) fn capture_rules(&self) -> Result<Vec<(HostRules, CaptureLevel)>, Refused> {
        self.tables(CAPTURE, &["hosts", "capture"], |entry| {
            let hosts = entry.required("hosts", |given| given.hosts())?;
            let level = entry.required("capture", |given| given.one_of(&CaptureLevel::NAMES))?;
            Ok((hosts, level))
        })
    }
}
