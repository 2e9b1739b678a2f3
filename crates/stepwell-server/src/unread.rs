//! Bodies of which the answer needed nothing. The server can only find the next request of a connection behind the body of the last,
//! so that it ends the connection; the answer says so, or the client would send its next request into the end.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{
    body::{Body, HttpBody},
    extract::Request,
    http::{HeaderValue, Version, header},
    middleware::Next,
    response::Response,
};
use futures::{StreamExt, future, stream};

/// Marks answers to requests of which the body was not read to its end. Connections of HTTP/2 go on in any case.
pub(crate) async fn close_behind_unread(request: Request, next: Next) -> Response {
    if request.version() > Version::HTTP_11 || request.body().is_end_stream() {
        return next.run(request).await;
    }
    let is_read = Arc::new(AtomicBool::new(false));
    let at_end = is_read.clone();
    let request = request.map(|body| {
        let end = stream::once(async move { at_end.store(true, Ordering::Relaxed) });
        Body::from_stream(body.into_data_stream().chain(end.filter_map(|()| future::ready(None))))
    });
    let mut response = next.run(request).await;
    if !is_read.load(Ordering::Relaxed) {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

#[cfg(test)]
mod tests {
    use axum::{Router, body::to_bytes, middleware, routing::post};
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn an_answer_without_a_look_at_the_body_ends_the_connection_and_says_so() {
        let router = Router::new()
            .route("/unread", post(|| async { "no" }))
            .route("/read", post(|body: Body| async { to_bytes(body, 100).await.unwrap() }))
            .layer(middleware::from_fn(close_behind_unread));
        for (path, body, version, answer, is_closed) in [
            ("/unread", "x", Version::HTTP_11, "no", true),
            ("/unread", "", Version::HTTP_11, "no", false),
            ("/unread", "x", Version::HTTP_2, "no", false),
            ("/read", "some bytes", Version::HTTP_11, "some bytes", false),
        ] {
            let request = Request::post(path).version(version).body(Body::from(body)).unwrap();
            let response = router.clone().oneshot(request).await.unwrap();
            assert_eq!(response.headers().contains_key(header::CONNECTION), is_closed, "{path} {body:?} {version:?}");
            assert_eq!(to_bytes(response.into_body(), 100).await.unwrap(), answer);
        }
    }
}
