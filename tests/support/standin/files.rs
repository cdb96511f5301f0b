//! Files of a folder by their paths: a package registry, a repository, an object store.

use std::path::PathBuf;

use super::Reply;
use crate::support::origin::Received;

/// What is at the path; in a folder, its `index.html`.
pub fn files(root: PathBuf) -> impl Fn(&Received) -> Reply + Send + Sync + 'static {
    move |request| {
        let uri: http::Uri = request.uri.parse().unwrap();
        let path = uri.path().trim_start_matches('/');
        let file = if path.ends_with('/') { root.join(path).join("index.html") } else { root.join(path) };
        let content_type = match file.extension().and_then(|extension| extension.to_str()) {
            Some("html") => "text/html",
            Some("json") => "application/json",
            _ => "application/octet-stream",
        };
        // A client that knows it already asks again with If-None-Match, which is answered in full: that is allowed.
        let found = std::fs::read(file).map(|bytes| Reply::whole(content_type, bytes));
        found
            .map_or_else(|_| Reply::not_found(), |reply| reply.with("last-modified", "Mon, 02 Nov 2026 08:00:00 GMT"))
    }
}
