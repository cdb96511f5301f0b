//! What of the settings can be given on the command line. No secret can: other users may read a command line.

use std::path::PathBuf;

/// The highest layer of the settings: what the command line sets, and which settings file is read.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Settings")]
pub struct Flags {
    /// Settings file [env: OTAS_PROXY_CONFIG] [default: ./proxy.toml, else otas-proxy/proxy.toml in the user's
    /// configuration folder, if one exists]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Address that agents connect to; port 0 takes any free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "IP:PORT")]
    pub listen_proxy: Option<String>,

    /// Address of the health checks; port 0 takes any free one [default: 127.0.0.1:8081]
    #[arg(long, value_name = "IP:PORT")]
    pub listen_admin: Option<String>,

    /// Brain, the OTAS service that takes events [env: OTAS_BRAIN_URL] [default: http://localhost:8002]
    #[arg(long, value_name = "URL")]
    pub brain_url: Option<String>,

    /// UASAM, the OTAS service that checks keys and opens sessions [env: OTAS_UASAM_URL] [default:
    /// http://localhost:8000]
    #[arg(long, value_name = "URL")]
    pub uasam_url: Option<String>,

    /// File that holds the agent key and nothing else (the key itself goes into OTAS_AGENT_KEY or the settings file)
    #[arg(long, value_name = "FILE")]
    pub agent_key_file: Option<PathBuf>,

    /// Project that events belong to [env: OTAS_PROJECT_ID] [default: the project of the agent key]
    #[arg(long, value_name = "UUID")]
    pub project_id: Option<String>,

    /// Base URL of the project's own servers [env: OTAS_PROJECT_DOMAIN]
    #[arg(long, value_name = "URL")]
    pub project_domain: Option<String>,

    /// PEM file of root certificates to trust for origins, beside the system's
    #[arg(long, value_name = "FILE")]
    pub origin_ca_file: Option<PathBuf>,

    /// Host whose TLS is relayed without being opened: an exact name or *.suffix. May be repeated, or list several
    /// with commas; replaces the settings file's list
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    pub passthrough: Vec<String>,

    /// SQLite file that events wait in [default: otas-proxy/otas-proxy.db in the user's data folder]
    #[arg(long, value_name = "FILE")]
    pub store_path: Option<PathBuf>,

    /// Folder of the proxy's own certificate authority [default: otas-proxy/ca in the user's data folder]
    #[arg(long, value_name = "FOLDER")]
    pub ca_dir: Option<PathBuf>,
}
