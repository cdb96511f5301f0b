//! Certificates: our authority and the leaves it signs for agents, and the roots that origins are verified against.

mod authority;
mod bundle;
mod handout;
mod leaf;
mod pem;
mod pinned;
mod roots;
mod suites;
mod system_store;
mod trust_store;
mod upkeep;
mod verdict;

pub use authority::{AuthorityError, CA_CERT_FILE, CA_KEY_FILE, CertAuthority, DEFAULT_OVERLAP, Standing, key_id};
pub use bundle::{AgentFiles, BUNDLE_FILE, ParentBundles, write_agent_files, write_bundle};
pub use handout::hand_out;
pub(crate) use handout::{hand_out_file, make_readable};
pub use leaf::{LeafError, Leaves};
pub use roots::{Offer, OriginTls, RootsError, system_roots};
pub(crate) use roots::{provider, speaks_any};
pub use suites::SuiteOrder;
pub use system_store::{Step, SystemStore, SystemStoreError};
pub use trust_store::{TRUST_STORE_PASSWORD, encode as trust_store};
pub use upkeep::{finish_rotation, keep_up, open_authority, rotate};
pub use verdict::certificate_failure;

/// The ALPN name of HTTP/2.
pub const H2: &[u8] = b"h2";
/// The ALPN name of HTTP/1.1.
pub const HTTP11: &[u8] = b"http/1.1";
