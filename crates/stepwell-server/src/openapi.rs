//! The description of the API: OpenAPI 3.1, generated from the handlers, committed as `schemas/openapi.json`.

use utoipa::OpenApi;

use crate::{problem, routes};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Stepwell",
        description = "Step-level metrics of machine-learning runs: durable in milliseconds, queryable at once. Errors are \
            application/problem+json with a stable code.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    tags(
        (name = "ingest", description = "Points in"),
        (name = "query", description = "SQL and charts out"),
        (name = "projects", description = "Containers of runs"),
        (name = "runs", description = "Executions that report"),
        (name = "artifacts", description = "Files that belong to runs"),
        (name = "deletion", description = "Into the trash, out of it, or for good"),
        (name = "server", description = "Health, figures, this description"),
    ),
    paths(
        routes::health::health,
        routes::health::ready,
        routes::health::metrics,
        routes::health::openapi,
        routes::projects::create,
        routes::projects::list,
        routes::runs::create,
        routes::runs::read,
        routes::runs::update,
        routes::runs::list,
        routes::artifacts::list,
        routes::artifacts::get,
        routes::artifacts::put,
        routes::artifacts::delete,
        routes::trash::delete_run,
        routes::trash::restore_run,
        routes::trash::purge_run,
        routes::trash::delete_project,
        routes::trash::restore_project,
        routes::trash::purge_project,
        routes::trash::delete_metric,
        routes::trash::set_retention,
        routes::trash::list,
        routes::log::log,
        routes::ingest::ingest,
        routes::sql::sql,
        routes::series::post,
        routes::series::get,
    ),
    components(schemas(problem::ProblemDetails, crate::readiness::Standing)),
)]
struct Api;

/// The OpenAPI description as indented JSON with a newline at its end.
pub fn openapi_json() -> String {
    let mut text = Api::openapi().to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// I12: what is committed is what is served. `UPDATE_SCHEMAS=1` writes it anew.
    #[test]
    fn i12_the_committed_description_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../schemas/openapi.json");
        let generated = openapi_json();
        if std::env::var_os("UPDATE_SCHEMAS").is_some() {
            std::fs::write(path, &generated).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(committed == generated, "schemas/openapi.json is out of date: run the tests with UPDATE_SCHEMAS=1");
    }

    #[test]
    fn every_route_is_described() {
        let value: serde_json::Value = serde_json::from_str(&openapi_json()).unwrap();
        assert!(value["openapi"].as_str().unwrap().starts_with("3.1"), "{}", value["openapi"]);
        let router = include_str!("router.rs");
        let paths = value["paths"].as_object().unwrap();
        for line in router.lines().filter(|line| line.trim_start().starts_with(".route(\"")) {
            // The router's sign for the rest of a path is none of OpenAPI's.
            let path = line.split('"').nth(1).unwrap().replace("{*", "{");
            let described = paths.get(&path).unwrap_or_else(|| panic!("{path} is not described"));
            for method in ["get", "post", "patch"] {
                let routed = line.contains(&format!("{method}("));
                assert_eq!(described.get(method).is_some(), routed, "{method} {path}");
            }
        }
    }
}
