//! `/problems` and `/problems/{code}`: the target of a problem's `type`, as HTML for people and JSON for programs.

use std::fmt::Write;

use orderlog_http::{
    problem::{Code, Scope},
    service::mounted::RouteTable,
};
use poem::{
    EndpointExt, IntoResponse, Request, Response,
    endpoint::{BoxEndpoint, make_sync},
    http::{Method, header},
};
use serde_json::{Value, json};

use super::{
    docs::{ICON, STYLE},
    files, not_here,
};
use crate::registry::Registry;

/// Nothing but the page, its style sheet and its icon.
const POLICY: &str =
    "default-src 'none'; style-src 'self'; img-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// Adds the list and each code.
pub fn add_routes(registry: &'static Registry, table: &mut RouteTable) {
    let mut get = |path: &str, endpoint: BoxEndpoint<'static>| {
        table.entry(path.to_owned()).or_default().insert(Method::GET, endpoint);
    };
    let all = |request: Request| {
        if wants_html(&request) {
            answer("text/html; charset=utf-8", list_page(registry))
        } else {
            let all: Vec<_> = registry.codes().map(|it| it.in_short()).collect();
            answer("application/json", json!({ "problems": all }).to_string())
        }
    };
    get("/problems", make_sync(all).map_to_response().boxed());
    let one = |request: Request| {
        let name = request.raw_path_param("code").unwrap_or_default();
        match registry.codes().find(|code| code.name == name) {
            Some(code) if wants_html(&request) => answer("text/html; charset=utf-8", page(registry, code)),
            Some(code) => answer("application/json", in_full(registry, code).to_string()),
            None => not_here(name).into_response(),
        }
    };
    get("/problems/:code", make_sync(one).map_to_response().boxed());
}

/// Whether `Accept` names HTML and does not prefer JSON. Without `Accept`, the answer is JSON.
fn wants_html(request: &Request) -> bool {
    let quality = |name| files::quality(request.headers(), &header::ACCEPT, name).unwrap_or(0.0);
    let html = quality("text/html");
    html > 0.0 && html >= quality("application/json")
}

fn answer(content_type: &str, text: String) -> Response {
    Response::builder()
        .content_type(content_type)
        .header(header::VARY, "Accept")
        .header(header::CACHE_CONTROL, "no-cache")
        .header(header::CONTENT_SECURITY_POLICY, POLICY)
        .header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
        .body(text)
}

/// Escapes text for HTML; backticks become `<code>`.
fn html(text: &str) -> String {
    let escaped = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;");
    let mut html = String::with_capacity(escaped.len());
    for (n, part) in escaped.split('`').enumerate() {
        html.push_str(match n {
            0 => "",
            n if n % 2 == 1 => "<code>",
            _ => "</code>",
        });
        html.push_str(part);
    }
    html
}

fn around(title: &str, body: &str) -> String {
    let title = html(title);
    format!(
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title} - orderlog</title>
<link rel="icon" type="image/svg+xml" href="{ICON}">
<link rel="stylesheet" href="{STYLE}">
</head>
<body>
<header>
<nav>
<a href="/docs">Operations</a>
<a href="/problems">Error reference</a>
</nav>
</header>
<article>
<h1>{title}</h1>
{body}</article>
</body>
</html>
"#
    )
}

fn list_page(registry: &Registry) -> String {
    let mut body =
        "<p>Every failure is <code>application/problem+json</code> (RFC 9457), with one of these codes.</p>\n"
            .to_owned();
    let section = |body: &mut String, title: &str, is_here: fn(Scope) -> bool| {
        // Writing into a `String` can't fail.
        write!(body, "<h2>{title}</h2>\n<dl>\n").ok();
        for code in registry.codes().filter(|code| is_here(code.scope)) {
            let (path, name, meaning) = (code.path(), code.name, html(&code.meaning()));
            let statuses = statuses(code);
            write!(body, "<dt><a href=\"{path}\"><code>{name}</code></a> {statuses}</dt>\n<dd>{meaning}</dd>\n").ok();
        }
        body.push_str("</dl>\n");
    };
    section(&mut body, "Problems", |scope| scope != Scope::Values);
    section(&mut body, "What may be wrong with a value", |scope| scope == Scope::Values);
    around("Error reference", &body)
}

/// The operations whose handlers declare this code, by their ids.
fn operations_with(registry: &Registry, code: Code) -> impl Iterator<Item = &'static str> {
    registry.operations().filter(move |operation| operation.declares(code)).map(|operation| operation.id)
}

fn in_full(registry: &Registry, code: Code) -> Value {
    let mut full = code.in_full();
    if code.scope == Scope::Declared {
        full["operations"] = operations_with(registry, code).collect();
    }
    full
}

fn statuses(code: Code) -> String {
    code.statuses.iter().map(u16::to_string).collect::<Vec<_>>().join(", ")
}

fn page(registry: &Registry, code: Code) -> String {
    let (meaning, remedy, statuses) = (html(&code.meaning()), html(&code.remedy()), statuses(code));
    let example = serde_json::to_string_pretty(&code.example()).unwrap_or_default();
    // Backticks in an example are not markup.
    let example = html(&example.replace('`', "'"));
    let place = match code.scope {
        Scope::Values => "<p>Stands in <code>errors</code> of <a href=\"/problems/invalid_request\">\
            <code>invalid_request</code></a>.</p>\n"
            .to_owned(),
        Scope::Declared => {
            let names: Vec<_> = operations_with(registry, code).map(|id| format!("<code>{id}</code>")).collect();
            format!("<p>Operations: {}</p>\n", names.join(", "))
        }
        Scope::Any | Scope::Queries | Scope::Commands | Scope::Bodies | Scope::Elsewhere => String::new(),
    };
    let (name, retry) = (code.name, if code.retryable { "retryable" } else { "not retryable" });
    let body = format!(
        "<p>Code <code>{name}</code>, status {statuses}, {retry}</p>\n<h2>What it means</h2>\n<p>{meaning}</p>\n\
         <h2>What to do</h2>\n<p>{remedy}</p>\n{place}<h2>Example</h2>\n<pre>{example}</pre>\n"
    );
    around(&code.title(), &body)
}

#[cfg(test)]
mod tests {
    use poem::Endpoint;

    use super::*;
    use crate::registry::About;

    static REGISTRY: Registry = Registry { about: About::NONE, codes: &[], services: &[], demo: None };

    async fn asked(path: &str, accept: &str) -> (u16, String, String) {
        let mut table = RouteTable::new();
        add_routes(&REGISTRY, &mut table);
        let mut route = poem::Route::new();
        for (path, methods) in table {
            let methods = methods.into_iter();
            route = route.at(path, methods.fold(poem::RouteMethod::new(), |on, (method, it)| on.method(method, it)));
        }
        let request = Request::builder().uri(path.parse().unwrap()).header(header::ACCEPT, accept).finish();
        let response = route.call(request).await.unwrap().into_response();
        let content_type = response.content_type().unwrap_or_default().to_owned();
        (response.status().as_u16(), content_type, response.into_body().into_string().await.unwrap())
    }

    #[tokio::test]
    async fn every_problem_is_explained_where_its_type_leads() {
        for code in REGISTRY.codes() {
            let (status, content_type, text) = asked(&code.path(), "*/*").await;
            assert_eq!((status, content_type.as_str()), (200, "application/json"));
            let told: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(told["code"], code.name);
            assert!(told["remedy"].is_string() && told["example"]["status"].is_u64(), "{told}");
            let (status, content_type, text) = asked(&code.path(), "text/html,application/xhtml+xml,*/*;q=0.8").await;
            assert_eq!((status, content_type.as_str()), (200, "text/html; charset=utf-8"));
            assert!(text.contains(&format!("<code>{}</code>", code.name)), "{text}");
            assert_eq!(text.matches("<code>").count(), text.matches("</code>").count(), "{text}");
        }
        assert_eq!(asked("/problems/no_such_code", "*/*").await.0, 404);
        let (_, _, list) = asked("/problems", "application/json").await;
        let list: serde_json::Value = serde_json::from_str(&list).unwrap();
        assert_eq!(list["problems"].as_array().map(Vec::len), Some(REGISTRY.codes().count()));
    }

    #[tokio::test]
    async fn programs_get_json_and_browsers_html() {
        for (accept, is_html) in [
            ("", false),
            ("*/*", false),
            ("application/problem+json", false),
            ("application/json, text/html;q=0.5", false),
            ("text/html", true),
            ("text/html;q=0.9, application/json;q=0.1", true),
        ] {
            assert_eq!(asked("/problems", accept).await.1.starts_with("text/html"), is_html, "{accept}");
        }
    }

    #[test]
    fn texts_are_escaped() {
        assert_eq!(html("a < `b` & \"c\""), "a &lt; <code>b</code> &amp; &quot;c&quot;");
    }
}
