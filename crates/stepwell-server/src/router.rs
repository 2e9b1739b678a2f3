//! The routes, and what all answers have in common.

use std::sync::Arc;

use axum::{
    Router,
    extract::{MatchedPath, Request, State},
    http::{Method, Uri},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{any, delete, get, post, put},
};

use crate::{
    accept, flight,
    metrics::Door,
    problem::{Problem, Refused},
    routes::{artifacts, health, ingest, log, mlflow, mlflow_artifacts, projects, runs, series, sql, trash},
    state::ServerState,
    unread::close_behind_unread,
};

/// What a handler is given.
pub(crate) type Shared = State<Arc<ServerState>>;

/// Paths that answer while the storage is still being opened.
const ALWAYS: [&str; 4] = ["/health", "/ready", "/metrics", OPENAPI];
/// Paths whose answers are not always JSON: they look at `Accept` themselves, or ignore it as probes and scrapers expect.
const OWN_FORMS: [&str; 5] = ["/health", "/ready", "/metrics", "/api/v1/sql", "/api/v1/series"];
const OPENAPI: &str = "/api/v1/openapi.json";

/// The whole API over `state`.
pub(crate) fn router(state: Arc<ServerState>) -> Router {
    mlflow_routes(Router::new())
        .route("/health", get(health::health))
        .route("/ready", get(health::ready))
        .route("/metrics", get(health::metrics))
        .route(OPENAPI, get(health::openapi))
        .route("/api/v1/projects", get(projects::list).post(projects::create))
        .route("/api/v1/runs", get(runs::list).post(runs::create))
        .route("/api/v1/projects/{project}", delete(trash::delete_project))
        .route("/api/v1/projects/{project}/restore", post(trash::restore_project))
        .route("/api/v1/projects/{project}/purge", post(trash::purge_project))
        .route("/api/v1/projects/{project}/retention", put(trash::set_retention))
        .route("/api/v1/projects/{project}/metrics/{metric}", delete(trash::delete_metric))
        .route("/api/v1/trash", get(trash::list))
        .route("/api/v1/runs/{run_id}", get(runs::read).patch(runs::update).delete(trash::delete_run))
        .route("/api/v1/runs/{run_id}/restore", post(trash::restore_run))
        .route("/api/v1/runs/{run_id}/purge", post(trash::purge_run))
        .route("/api/v1/runs/{run_id}/log", post(log::log))
        .route("/api/v1/runs/{run_id}/artifacts", get(artifacts::list))
        .route(
            "/api/v1/runs/{run_id}/artifacts/{*path}",
            get(artifacts::get).put(artifacts::put).delete(artifacts::delete),
        )
        .route("/api/v1/ingest", post(ingest::ingest))
        .route("/api/v1/sql", post(sql::sql))
        .route("/api/v1/series", get(series::get).post(series::post))
        .route(flight::ROUTE, post(flight::serve))
        .fallback(unknown_route)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(state.clone(), gate))
        .layer(middleware::from_fn_with_state(state.clone(), count))
        .layer(middleware::from_fn(close_behind_unread))
        .with_state(state)
}

fn mlflow_routes(router: Router<Arc<ServerState>>) -> Router<Arc<ServerState>> {
    let endpoints = |router: Router<Arc<ServerState>>, prefix: &&str| {
        router.route(&format!("{prefix}/{{*path}}"), any(mlflow::call))
    };
    let router = mlflow_artifacts::routes(router.route("/version", get(mlflow::version)));
    mlflow::PREFIXES.iter().fold(router, endpoints)
}

async fn unknown_route(uri: Uri) -> Problem {
    Problem::unknown_route(uri.path())
}

async fn method_not_allowed(method: Method) -> Problem {
    Problem::method_not_allowed(method.as_str())
}

/// Refuses what needs no handler to be refused, before anything is done.
async fn gate(State(state): Shared, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    // They have refusals of their own, readiness included.
    if path.starts_with(flight::PREFIX) || mlflow::is_of(path) || mlflow_artifacts::is_of(path) {
        return next.run(request).await;
    }
    if state.app.get().is_none() && !ALWAYS.contains(&path) {
        return Problem::not_ready().into_response();
    }
    if !has_own_form(path)
        && let Err(problem) = accept::choose(request.headers(), &["application/json"])
    {
        return problem.into_response();
    }
    next.run(request).await
}

/// Whether the answer need not be JSON; an artifact is what was stored.
fn has_own_form(path: &str) -> bool {
    OWN_FORMS.contains(&path) || (path.starts_with("/api/v1/runs/") && path.contains("/artifacts/"))
}

/// Counts every answer by route, and refusals by code.
async fn count(State(state): Shared, request: Request, next: Next) -> Response {
    let start = tokio::time::Instant::now();
    let method = known_method(request.method());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let begun = state.metrics.began();
    let mut response = next.run(request).await;
    let route = route.as_ref().map_or("unknown", |route| route.as_str());
    if let Some(Refused(problem)) = response.extensions_mut().remove::<Refused>() {
        state.metrics.refused(Door::of_route(route), &problem);
    }
    state.metrics.answered(begun, method, route, response.status().as_u16(), start.elapsed());
    response
}

/// Methods are labels of counters, and a client may invent any number of them.
fn known_method(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PATCH" => "PATCH",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

#[cfg(test)]
mod app_tests;
#[cfg(test)]
mod ready_tests;
#[cfg(test)]
mod tests;
