//! Where events are delivered: the configured OTAS, or the embedded collector.

use std::net::SocketAddr;
use std::path::Path;

use super::error::{AppError, step};
use super::ports::bind;
use crate::collector::{Collector, CollectorOptions, embedded_agent};
use crate::config::Otas;

/// The service to deliver to: the configured one, or the embedded collector when there is no agent key.
pub(crate) async fn destination(mut otas: Otas, store: &Path) -> Result<(Otas, Option<Collector>), AppError> {
    if otas.agent_key.is_some() {
        return Ok((otas, None));
    }
    let listener = bind("the embedded collector", SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    let key_file = store.with_file_name("collector.key");
    let agent = embedded_agent(&key_file)
        .map_err(|e| step(format!("use the embedded collector's key in `{}`", key_file.display()), e))?;
    let key = agent.key.clone();
    let db = Some(store.with_file_name("collector.db"));
    let collector = Collector::start(listener, CollectorOptions { db, agents: vec![agent] })
        .await
        .map_err(|e| step("start the embedded collector".to_owned(), e))?;
    let url =
        url::Url::parse(&collector.url).map_err(|e| step("use the embedded collector's address".to_owned(), e))?;
    otas.brain_url = url.clone();
    otas.uasam_url = url;
    otas.agent_key = Some(key);
    otas.agent_key_file = Some(key_file);
    (otas.project_id, otas.session_token) = (None, None);
    Ok((otas, Some(collector)))
}
