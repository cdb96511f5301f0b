//! The page's script and style sheet. Their names contain a hash of their content, so a browser may cache them for ever.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// A file that is compiled into the program.
pub(super) struct Asset {
    text: &'static str,
    content_type: &'static str,
    hash: String,
    name: String,
}

/// The style sheet.
pub(super) static STYLE: LazyLock<Asset> = LazyLock::new(|| Asset::new("css", STYLES, "text/css; charset=utf-8"));
/// The script.
pub(super) static SCRIPT: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("js", SCRIPTS, "text/javascript; charset=utf-8"));

/// Each part of the page has its own file. The browser loads one file that is put together from all; `base` comes first.
pub(super) const STYLES: &str = concat!(
    include_str!("style/base.css"),
    include_str!("style/list.css"),
    include_str!("style/call.css"),
    include_str!("style/run.css"),
);
const SCRIPTS: &str = concat!(
    include_str!("script/base.js"),
    include_str!("script/call.js"),
    include_str!("script/list.js"),
    include_str!("script/keys.js"),
    include_str!("script/run.js"),
);

impl Asset {
    fn new(ending: &str, text: &'static str, content_type: &'static str) -> Self {
        let hash = digest(&SHA256, text.as_bytes());
        let hash = URL_SAFE_NO_PAD.encode(hash.as_ref().get(..12).unwrap_or_default());
        let name = format!("page-{hash}.{ending}");
        Self { text, content_type, hash: format!("\"{hash}\""), name }
    }

    /// The path of the file.
    pub(super) fn href(&self) -> String {
        format!("/assets/{}", self.name)
    }
}

/// `GET /assets/{name}`.
pub(super) async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Response {
    let Some(asset) = [&*STYLE, &*SCRIPT].into_iter().find(|asset| asset.name == name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let kept = [(CACHE_CONTROL, "private, max-age=31536000, immutable"), (ETAG, asset.hash.as_str())];
    match headers.get(IF_NONE_MATCH) {
        Some(theirs) if theirs.as_bytes() == asset.hash.as_bytes() => {
            (StatusCode::NOT_MODIFIED, kept).into_response()
        }
        _ => (kept, [(CONTENT_TYPE, asset.content_type)], asset.text).into_response(),
    }
}
