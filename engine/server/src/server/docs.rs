//! The documents of this process, and Swagger UI to read and try them. Everything is served from this process.

use std::hash::{DefaultHasher, Hash, Hasher};

use orderlog_http::{names::ServiceName, service::mounted::RouteTable};
use poem::{
    EndpointExt, IntoResponse, Request, Response,
    endpoint::{BoxEndpoint, make_sync},
    http::{Method, StatusCode, header},
};
use poem_openapi::OpenApiService;
use serde_json::{Map, Value, json};

use super::not_here;
use crate::{
    openapi::{self, Form},
    registry::Registry,
};

/// The page. Nothing is inserted into it and its scripts are files, so no text of a contract can become a script.
const PAGE: &str = include_str!("docs/page.html");
const STYLE: &str = include_str!("docs/page.css");
const START: &str = include_str!("docs/start.js");

/// The page's configuration: the services of this process, and the lists that return the newest objects, whose ids
/// replace those in the examples.
fn config(registry: &Registry, services: &[ServiceName]) -> String {
    let names: Vec<_> = services.iter().map(|service| service.as_str()).collect();
    let ids = registry.services.iter().flat_map(|service| service.example_ids());
    let newest: Map<_, _> = ids.map(|it| (it.id.to_string(), json!({ "list": it.list, "id": it.field }))).collect();
    json!({ "title": registry.about.name, "services": names, "newest": newest }).to_string()
}

/// Everything from this origin, and nothing inline except the small images of Swagger UI's style sheet.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
    frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// `/docs`, `/openapi.json` and `/openapi/{service}.json`, each also with `-3.0` before `.json`; `/` redirects to
/// `/docs`.
pub fn add_routes(registry: &Registry, services: &[ServiceName], table: &mut RouteTable) {
    let (script, style) = swagger_ui();
    let mut get = |path: &str, endpoint: BoxEndpoint<'static>| {
        table.entry(path.to_owned()).or_default().insert(Method::GET, endpoint);
    };
    get("/docs", File::new("text/html; charset=utf-8", PAGE).endpoint());
    get("/docs/page.css", File::new("text/css; charset=utf-8", STYLE).endpoint());
    get("/docs/start.js", File::new("text/javascript; charset=utf-8", START).endpoint());
    get("/docs/config.json", File::new("application/json", config(registry, services)).endpoint());
    get("/docs/swagger-ui.js", File::new("text/javascript; charset=utf-8", script).endpoint());
    get("/docs/swagger-ui.css", File::new("text/css; charset=utf-8", style).endpoint());
    let document = |document: Value| File::new("application/json", openapi::to_text(&document));
    let mut each: Vec<(String, File)> = Vec::new();
    for (form, suffix) in [(Form::Modern, ""), (Form::Classic, "-3.0")] {
        get(&format!("/openapi{suffix}.json"), document(openapi::of_services(registry, services, form)).endpoint());
        each.extend(registry.those(services).map(|service| {
            let name = format!("{}{suffix}.json", service.name());
            (name, document(openapi::of_service(registry, service, form)))
        }));
    }
    let one = move |request: Request| {
        let name = request.raw_path_param("service").unwrap_or_default();
        match each.iter().find(|(service, _)| service == name) {
            Some((_, file)) => file.answer(),
            None => not_here(name).into_response(),
        }
    };
    get("/openapi/:service", make_sync(one).map_to_response().boxed());
    let to_docs =
        |_| Response::builder().status(StatusCode::TEMPORARY_REDIRECT).header(header::LOCATION, "/docs").finish();
    get("/", make_sync(to_docs).map_to_response().boxed());
}

/// A text that never changes while the process runs.
struct File {
    content_type: &'static str,
    text: String,
    /// A hash of the text, by which browsers revalidate.
    tag: String,
}

impl File {
    fn new(content_type: &'static str, text: impl Into<String>) -> Self {
        let text = text.into();
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        Self { content_type, tag: format!("\"{:016x}\"", hasher.finish()), text }
    }

    fn answer(&self) -> Response {
        Response::builder()
            .content_type(self.content_type)
            .header(header::CACHE_CONTROL, "no-cache")
            .header(header::ETAG, &self.tag)
            .header(header::CONTENT_SECURITY_POLICY, POLICY)
            .header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
            .body(self.text.clone())
    }

    fn endpoint(self) -> BoxEndpoint<'static> {
        make_sync(move |_| self.answer()).map_to_response().boxed()
    }
}

/// The script and the style sheet of Swagger UI, extracted from the framework's page.
fn swagger_ui() -> (String, String) {
    let page = OpenApiService::new((), "", "").swagger_ui_html();
    let part = |begin: &str, end: &str| -> String {
        let rest = page.split_once(begin).map_or("", |(_, rest)| rest);
        rest.split_once(end).map_or("", |(part, _)| part).to_owned()
    };
    (part("<script charset=\"UTF-8\">", "</script>"), part("<style charset=\"UTF-8\">", "</style>"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_inline() {
        assert_eq!(PAGE.matches("<script").count(), PAGE.matches("<script src=\"/docs/").count());
        assert!(!PAGE.contains("<style") && !PAGE.contains("style=") && !PAGE.contains(" on"), "{PAGE}");
        assert!(!POLICY.contains("unsafe"), "{POLICY}");
    }

    #[test]
    fn swagger_ui_is_found_in_the_frameworks_page() {
        let (script, style) = swagger_ui();
        assert!(script.len() > 1_000_000 && script.contains("SwaggerUIBundle"), "{}", script.len());
        assert!(style.len() > 100_000 && style.contains(".swagger-ui"), "{}", style.len());
    }
}
