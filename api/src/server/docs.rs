//! The documents of this process, and Swagger UI to read them and try them out. Nothing of it comes from elsewhere.

use std::sync::Arc;

use poem::{
    EndpointExt, IntoResponse, Request, Response,
    endpoint::{BoxEndpoint, make_sync},
    http::{Method, StatusCode, header},
};
use poem_openapi::OpenApiService;
use serde_json::json;

use super::not_here;
use crate::{
    openapi,
    params::{EXAMPLE_CUSTOMER, EXAMPLE_NOTIFICATION, EXAMPLE_ORDER},
    services::{RouteTable, ServiceName},
};

/// Which page. The scripts are files of their own, so that the page needs no inline script.
const PAGE: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>orderlog</title>
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/docs/swagger-ui.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"#;

/// Starts it. The ids in the examples belong to nobody: what is sent instead is the newest object's, so that every example
/// works as it stands.
fn start() -> String {
    let newest = json!({
        EXAMPLE_CUSTOMER.to_string(): { "list": "/customers?limit=1", "id": "customer_id" },
        EXAMPLE_ORDER.to_string(): { "list": "/orders?limit=1", "id": "order_id" },
        EXAMPLE_NOTIFICATION.to_string(): { "list": "/notifications?recipient=operations&limit=1", "id": "notification_id" },
    });
    format!(
        r##"const NEWEST = {newest};

async function withNewestIds(request) {{
  for (const [example, {{ list, id }}] of Object.entries(NEWEST)) {{
    if (!`${{request.url}} ${{request.body ?? ""}}`.includes(example)) continue;
    const answer = await fetch(list);
    const newest = answer.ok ? (await answer.json()).items[0]?.[id] : undefined;
    if (newest === undefined) continue;
    request.url = request.url.replaceAll(example, newest);
    if (typeof request.body === "string") request.body = request.body.replaceAll(example, newest);
  }}
  return request;
}}

SwaggerUIBundle({{
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  displayRequestDuration: true,
  requestInterceptor: withNewestIds,
  validatorUrl: null
}});
"##
    )
}

/// Everything from here; Swagger UI sets styles and shows small pictures inline.
const POLICY: &str =
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'";

/// `/docs`, `/openapi.json` and `/openapi/{service}.json`; `/` leads to `/docs`.
pub fn add_routes(services: &[ServiceName], table: &mut RouteTable) {
    let (script, style) = swagger_ui();
    let mut get = |path: &str, endpoint: BoxEndpoint<'static>| {
        table.entry(path.to_owned()).or_default().insert(Method::GET, endpoint);
    };
    get("/docs", file("text/html; charset=utf-8", PAGE.into()));
    get("/docs/start.js", file("text/javascript; charset=utf-8", start().into()));
    get("/docs/swagger-ui.js", file("text/javascript; charset=utf-8", script));
    get("/docs/swagger-ui.css", file("text/css; charset=utf-8", style));
    get("/openapi.json", file("application/json", openapi::to_text(&openapi::of_services(services)).into()));
    let each: Vec<(String, Arc<str>)> = services
        .iter()
        .map(|&service| (format!("{service}.json"), openapi::to_text(&openapi::of_service(service)).into()))
        .collect();
    let one = move |request: Request| {
        let name = request.raw_path_param("service").unwrap_or_default();
        match each.iter().find(|(service, _)| service == name) {
            Some((_, text)) => answer("application/json", text),
            None => not_here(name).into_response(),
        }
    };
    get("/openapi/:service", make_sync(one).map_to_response().boxed());
    let to_docs =
        |_| Response::builder().status(StatusCode::TEMPORARY_REDIRECT).header(header::LOCATION, "/docs").finish();
    get("/", make_sync(to_docs).map_to_response().boxed());
}

fn file(content_type: &'static str, text: Arc<str>) -> BoxEndpoint<'static> {
    endpoint(move |_| answer(content_type, &text))
}

fn endpoint(answer: impl Fn(Request) -> Response + Send + Sync + 'static) -> BoxEndpoint<'static> {
    make_sync(answer).map_to_response().boxed()
}

fn answer(content_type: &str, text: &str) -> Response {
    Response::builder()
        .content_type(content_type)
        .header(header::CACHE_CONTROL, "no-cache")
        .header(header::CONTENT_SECURITY_POLICY, POLICY)
        .header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
        .body(text.to_owned())
}

/// The script and the style sheet of Swagger UI, out of the page in which the framework has them.
fn swagger_ui() -> (Arc<str>, Arc<str>) {
    let page = OpenApiService::new((), "", "").swagger_ui_html();
    let part = |begin: &str, end: &str| -> Arc<str> {
        let rest = page.split_once(begin).map_or("", |(_, rest)| rest);
        rest.split_once(end).map_or("", |(part, _)| part).into()
    };
    (part("<script charset=\"UTF-8\">", "</script>"), part("<style charset=\"UTF-8\">", "</style>"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swagger_ui_is_found_in_the_frameworks_page() {
        let (script, style) = swagger_ui();
        assert!(script.len() > 1_000_000 && script.contains("SwaggerUIBundle"), "{}", script.len());
        assert!(style.len() > 100_000 && style.contains(".swagger-ui"), "{}", style.len());
    }
}
