//! What the router itself answers, before and without storage.

use axum::{
    body::Body,
    http::{HeaderMap, Request as HttpRequest},
};
use serde_json::Value;
use tower::ServiceExt;

use super::*;
use crate::state::{AppSlot, ServerConfig};

/// Sends one request and reads the whole answer.
pub(super) async fn send(
    router: &Router,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Body>,
) -> (u16, HeaderMap, Vec<u8>) {
    let mut request = HttpRequest::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = router.clone().oneshot(request.body(body.into()).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, 1 << 24).await.unwrap();
    (parts.status.as_u16(), parts.headers, bytes.to_vec())
}

fn empty() -> Router {
    router(Arc::new(ServerState::new(AppSlot::new(), ServerConfig::default())))
}

#[tokio::test]
async fn before_the_storage_is_open_only_probes_are_answered() {
    for path in ["/health", "/metrics", "/api/v1/openapi.json"] {
        assert_eq!(send(&empty(), "GET", path, &[], Body::empty()).await.0, 200, "{path}");
    }
    for (method, path) in
        [("GET", "/ready"), ("POST", "/api/v1/ingest"), ("GET", "/api/v1/projects"), ("GET", "/nothing")]
    {
        let (status, headers, bytes) = send(&empty(), method, path, &[], Body::empty()).await;
        let problem: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!((status, problem["code"].as_str()), (503, Some("not_ready")), "{path}");
        assert_eq!(headers["content-type"], "application/problem+json");
        assert_eq!(headers["retry-after"], "1");
    }
}
