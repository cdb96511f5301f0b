//! The settings that the command line can give. No secret is among them, because other users can read command lines.
//! Their help is made from `keys` (see `help`).

use std::path::PathBuf;

/// What the flags stand under in the help.
pub const FLAGS_HEADING: &str = "Settings";

/// The highest layer of the settings: what the command line sets, and which settings file is read.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = FLAGS_HEADING)]
pub struct Flags {
    /// Settings file [env: OTAS_PROXY_CONFIG] [default: ./proxy.toml and the user's own]
    ///
    /// By default ./proxy.toml is read over otas-proxy/proxy.toml in the user's configuration folder, as far as they exist.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Sets `listen.proxy`.
    #[arg(long, value_name = "IP:PORT")]
    pub listen_proxy: Option<String>,

    /// Sets `listen.admin`.
    #[arg(long, value_name = "IP:PORT")]
    pub listen_admin: Option<String>,

    /// Sets `otas.brain_url`.
    #[arg(long, value_name = "URL")]
    pub brain_url: Option<String>,

    /// Sets `otas.uasam_url`.
    #[arg(long, value_name = "URL")]
    pub uasam_url: Option<String>,

    /// Sets `otas.agent_key_file`.
    #[arg(long, value_name = "FILE")]
    pub agent_key_file: Option<PathBuf>,

    /// Sets `otas.project_id`.
    #[arg(long, value_name = "UUID")]
    pub project_id: Option<String>,

    /// Sets `otas.project_domain`.
    #[arg(long, value_name = "URL")]
    pub project_domain: Option<String>,

    /// Sets `tls.origin_ca_file`.
    #[arg(long, value_name = "FILE")]
    pub origin_ca_file: Option<PathBuf>,

    /// Sets `tls.passthrough`.
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    pub passthrough: Vec<String>,

    /// Sets `store.path`.
    #[arg(long, value_name = "FILE")]
    pub store_path: Option<PathBuf>,

    /// Sets `tls.ca_dir`.
    #[arg(long, value_name = "FOLDER")]
    pub ca_dir: Option<PathBuf>,
}
