//! `[tls]`

use super::super::given::Value;
use super::super::shown::{client_certificates, path, pinned};
use super::key::{Key, Kind, file, put};
use super::names;
use super::part::part;

pub(super) const KEYS: &[Key] = &[
    Key::new(
        names::CA_DIR,
        Kind::Text,
        "The folder of the proxy's own certificate authority, made at the first start. Its key can impersonate any site to \
         clients that trust it, so only its owner can read the folder. `XDG_DATA_HOME` moves the default.",
        |c, g| put(&mut c.tls.ca_dir, g.path()),
        |c| Some(path(&c.tls.ca_dir)),
        part!(tls.ca_dir),
    )
    .example("\"certs\"")
    .flag("--ca-dir", |f| file(&f.ca_dir)),
    Key::new(
        names::AGENT_DIR,
        Kind::Text,
        "A folder for agents that must not see the CA's folder: those of other users and of other containers. It gets the \
         certificates that they must trust, never a key, and `env.sh`, which sets their variables. Everybody may read it; others \
         should not be able to write in it.",
        |c, g| put(&mut c.tls.agent_dir, g.path().map(Some)),
        |c| c.tls.agent_dir.as_deref().map(path),
        part!(tls.agent_dir),
    )
    .example("\"/run/otas-proxy\""),
    Key::new(
        "tls.origin_ca_file",
        Kind::Text,
        "Root certificates (PEM) to trust for origins, in addition to the system's. For servers with a private CA.",
        |c, g| put(&mut c.tls.origin_ca_file, g.path().map(Some)),
        |c| c.tls.origin_ca_file.as_deref().map(path),
        part!(tls.origin_ca_file),
    ).live()
    .example("\"roots.pem\"")
    .flag("--origin-ca-file", |f| file(&f.origin_ca_file)),
    Key::new(
        "tls.passthrough",
        Kind::Plain,
        "Hosts whose TLS is relayed without being opened, such as those of clients that pin certificates. Entries are names, globs \
         (`*.example.com`: all names below it), addresses and networks (`10.0.0.0/8`: resolved addresses count), each with or \
         without a port (`*:5432`).",
        |c, g| put(&mut c.tls.passthrough, g.hosts()),
        |c| Some(c.tls.passthrough.to_string()),
        part!(tls.passthrough),
    ).live()
    .flag("--passthrough", |f| (!f.passthrough.is_empty()).then_some(Value::List(&f.passthrough))),
    Key::new(
        "tls.learn_passthrough",
        Kind::Text,
        "After agents have refused our certificate for a host twice, relay that host without opening its TLS for this time \
         (`\"10m\"`). Events mark such relays.",
        |c, g| put(&mut c.tls.learn_passthrough, g.span().map(Some)),
        |c| c.tls.learn_passthrough.map(|d| format!("{:?}", humantime::format_duration(d).to_string())),
        part!(tls.learn_passthrough),
    ).live()
    .unset("none (it is not done)")
    .example("\"10m\""),
    Key::new(
        "tls.client_certificates",
        Kind::Plain,
        "Certificates to show to origins that ask for one (mutual TLS). The first entry that has the host applies: \
         `{ hosts = [\"api.example.com\"], cert_file = \"client.pem\", key_file = \"client.key\" }`. A list, or one section \
         `[[tls.client_certificates]]` for each.",
        |c, g| put(&mut c.tls.client_certificates, g.client_certificates()),
        |c| Some(client_certificates(&c.tls.client_certificates)),
        part!(tls.client_certificates),
    ).live(),
    Key::new(
        "tls.pinned",
        Kind::Plain,
        "Exceptions from the check of origins' certificates: `{ hosts = [\"nas.example\"], sha256 = \"AB:CD:...\" }`. These hosts \
         must show the certificate with this SHA-256. Its issuer, names and dates are not checked. Their events say so \
         (`metadata.upstream.certificate`). `openssl x509 -noout -fingerprint -sha256 -in FILE` prints it. A list, or one section \
         `[[tls.pinned]]` for each.",
        |c, g| put(&mut c.tls.pinned, g.pinned()),
        |c| Some(pinned(&c.tls.pinned)),
        part!(tls.pinned),
    ).live(),
];
