//! The documents of this process, and Swagger UI to read and try them. Everything is served from this process.

use std::{collections::BTreeMap, sync::Arc};

use orderlog_core::schema;
use orderlog_http::{names::ServiceName, service::mounted::RouteTable};
use poem::{
    EndpointExt, Request, Response,
    endpoint::{make, make_sync},
    http::{Method, StatusCode, header},
};
use poem_openapi::OpenApiService;
use serde_json::{Map, Value, json};

use super::{
    files::{self, File},
    not_here,
};
use crate::{
    asyncapi,
    openapi::{self, Form},
    registry::Registry,
};

/// The page. Nothing is inserted into it but versions of files, and its scripts are files, so no text of a contract can
/// become a script.
const PAGE: &str = include_str!("docs/page.html");

/// The style sheet that the page shares with those of problems.
pub const STYLE: &str = "/docs/style.css";
pub const ICON: &str = "/docs/favicon.svg";

/// Everything from this origin, and nothing inline except the small images of Swagger UI's style sheet.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
    frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const JSON: &str = "application/json";

/// The page's configuration: the services of this process, and the lists that return the newest objects, whose ids
/// replace those in the examples.
fn config(registry: &Registry, services: &[ServiceName]) -> String {
    let names: Vec<_> = services.iter().map(|service| service.as_str()).collect();
    let ids = registry.services.iter().flat_map(|service| service.example_ids());
    let newest: Map<_, _> = ids.map(|it| (it.id.to_string(), json!({ "list": it.list, "id": it.field }))).collect();
    json!({ "title": registry.about.name, "services": names, "newest": newest }).to_string()
}

/// The files of the page, by their paths.
fn assets() -> BTreeMap<&'static str, Arc<File>> {
    let fixed = |content_type, text: &'static str| File::new(content_type, POLICY, move || text);
    BTreeMap::from([
        ("/docs/page.css", fixed(CSS, include_str!("docs/page.css"))),
        (STYLE, fixed(CSS, include_str!("docs/style.css"))),
        (ICON, fixed("image/svg+xml", include_str!("docs/favicon.svg"))),
        ("/docs/start.js", fixed(SCRIPT, include_str!("docs/start.js"))),
        ("/docs/swagger-ui.css", File::new(CSS, POLICY, || swagger_ui("style"))),
        ("/docs/swagger-ui.js", File::new(SCRIPT, POLICY, || swagger_ui("script"))),
    ])
}

/// The page, with the version of each file in its URL.
fn page(assets: &BTreeMap<&str, Arc<File>>) -> String {
    let named = |page: String, (path, file): (&&str, &Arc<File>)| {
        page.replace(&format!("\"{path}\""), &format!("\"{}\"", files::versioned(path, file)))
    };
    assets.iter().fold(PAGE.to_owned(), named)
}

/// `/docs`, `/openapi.json` and `/openapi/{service}.json`, each also with `-3.0` before `.json`; `/asyncapi.json`, and the schemas
/// of all public topics; `/` redirects to `/docs`.
pub fn add_routes(registry: &'static Registry, services: &[ServiceName], table: &mut RouteTable) {
    let mut get = |path: &str, file: Arc<File>| {
        table.entry(path.to_owned()).or_default().insert(Method::GET, file.endpoint());
    };
    let assets = assets();
    assets.iter().for_each(|(path, file)| get(path, Arc::clone(file)));
    get("/docs", File::new(HTML, POLICY, move || page(&assets)));
    let running = services.to_vec();
    get("/docs/config.json", File::new(JSON, POLICY, move || config(registry, &running)));
    let document = |make: Box<dyn FnOnce() -> Value + Send>| File::new(JSON, POLICY, || openapi::to_text(&make()));
    let mut each = BTreeMap::new();
    for (form, suffix) in [(Form::Modern, ""), (Form::Classic, "-3.0")] {
        let running = services.to_vec();
        let all = document(Box::new(move || openapi::of_services(registry, &running, form)));
        get(&format!("/openapi{suffix}.json"), all);
        each.extend(registry.those(services).map(|service| {
            let file = document(Box::new(move || openapi::of_service(registry, service, form)));
            (format!("{}{suffix}.json", service.name()), file)
        }));
    }
    get("/asyncapi.json", document(Box::new(move || asyncapi::document(registry))));
    for (contract, _) in asyncapi::contracts(registry) {
        get(&schema::path_of(contract.topic), document(Box::new(move || contract.document())));
    }
    let one = move |request: Request| {
        let name = request.raw_path_param("service").unwrap_or_default();
        let file = each.get(name).cloned().ok_or_else(|| not_here(name));
        async move { file?.respond(request).await }
    };
    table.entry("/openapi/:service".to_owned()).or_default().insert(Method::GET, make(one).map_to_response().boxed());
    let to_docs =
        |_| Response::builder().status(StatusCode::TEMPORARY_REDIRECT).header(header::LOCATION, "/docs").finish();
    table.entry("/".to_owned()).or_default().insert(Method::GET, make_sync(to_docs).map_to_response().boxed());
}

/// The text of an element of the framework's page: the script of Swagger UI, or its style sheet.
fn swagger_ui(element: &str) -> String {
    let page = OpenApiService::new((), "", "").swagger_ui_html();
    let rest = page.split_once(&format!("<{element} charset=\"UTF-8\">")).map_or("", |(_, rest)| rest);
    rest.split_once(&format!("</{element}>")).map_or("", |(text, _)| text).to_owned()
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
    fn the_page_names_the_version_of_every_file() {
        let assets = assets();
        let page = page(&assets);
        for path in assets.keys() {
            assert_eq!(page.matches(&format!("\"{path}?v=")).count(), 1, "{path}: {page}");
        }
        assert!(!page.contains(".js\"") && !page.contains(".css\"") && !page.contains(".svg\""), "{page}");
    }

    #[test]
    fn swagger_ui_is_found_in_the_frameworks_page() {
        let (script, style) = (swagger_ui("script"), swagger_ui("style"));
        assert!(script.len() > 1_000_000 && script.contains("SwaggerUIBundle"), "{}", script.len());
        assert!(style.len() > 100_000 && style.contains(".swagger-ui"), "{}", style.len());
    }
}
