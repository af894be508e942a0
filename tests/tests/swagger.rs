//! Swagger UI in a real browser: every operation is there, and an order can be placed by pressing buttons.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use std::process::{Child, Command, Stdio};

use fantoccini::{Client, ClientBuilder, Locator, elements::Element};
use hyper_util::client::legacy::connect::HttpConnector;
use orderlog_tests::{
    PATIENCE,
    deployment::{Embedded, binary, free_port},
    eventually,
    http::Http,
    story::{Shop, text},
};
use serde_json::{Value, json};

/// Headless Chromium behind its driver; both are killed when dropped.
struct Browser {
    driver: Child,
    page: Client,
}

impl Browser {
    async fn start(profile: &std::path::Path) -> Self {
        let port = free_port();
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver is installed: `tests/run` does that");
        let args = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--window-size=1400,2000",
            &format!("--user-data-dir={}", profile.display()),
        ];
        let capabilities = json!({"goog:chromeOptions": {"args": args}}).as_object().unwrap().clone();
        let page = eventually("the browser starts", async || {
            let mut builder = ClientBuilder::new(HttpConnector::new());
            builder.capabilities(capabilities.clone()).connect(&format!("http://127.0.0.1:{port}")).await.ok()
        })
        .await;
        Self { driver, page }
    }

    async fn wait(&self, css: &str) -> Element {
        let found = self.page.wait().at_most(PATIENCE).for_element(Locator::Css(css)).await;
        found.unwrap_or_else(|error| panic!("{css} does not appear: {error}"))
    }

    /// The page's Content-Security-Policy forbade nothing that it wanted to do.
    async fn nothing_was_blocked(&self) {
        let script = r#"
            const done = arguments[arguments.length - 1];
            const told = (reports) => reports.map((report) => `${report.body.effectiveDirective} ${report.body.blockedURL}`);
            const observer = new ReportingObserver((reports) => done(told(reports)), { types: ["csp-violation"], buffered: true });
            observer.observe();
            setTimeout(() => done(told(observer.takeRecords())), 500);
        "#;
        let blocked = self.page.execute_async(script, Vec::new()).await.unwrap();
        assert_eq!(blocked, json!([]));
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        drop(self.driver.kill());
        drop(self.driver.wait());
    }
}

/// (path, method, operation) of everything in an OpenAPI document.
fn operations(spec: &Value) -> Vec<(String, String, Value)> {
    let paths = spec["paths"].as_object().unwrap();
    let methods = paths.iter().flat_map(|(path, item)| {
        item.as_object().unwrap().iter().map(|(method, operation)| (path.clone(), method.clone(), operation.clone()))
    });
    methods.filter(|(_, _, operation)| operation.get("operationId").is_some()).collect()
}

#[tokio::test]
async fn an_order_is_placed_by_pressing_try_it_out() {
    let deployment = Embedded::start().await;
    let http: Http = deployment.http();
    let shop = Shop::from(&deployment);
    let customer = shop.customer("Ada").await;
    let spec = http.get("/openapi.json").await.expect(200);
    let operations = operations(&spec);

    let profile = tempfile::tempdir().unwrap();
    let browser = Browser::start(profile.path()).await;
    browser.page.goto(&format!("{}/docs", http.base)).await.unwrap();
    browser.wait(".opblock").await;
    let shown = browser.page.find_all(Locator::Css(".opblock")).await.unwrap().len();
    assert_eq!(shown, operations.len(), "every operation of every service is on the page");

    let (_, _, place) = operations.iter().find(|(path, method, _)| path == "/orders" && method == "post").unwrap();
    let block = format!("#operations-{}-{}", place["tags"][0].as_str().unwrap(), text(place, "operationId"));
    browser.wait(&format!("{block} .opblock-summary-control")).await.click().await.unwrap();
    browser.wait(&format!("{block} .try-out__btn")).await.click().await.unwrap();
    // The example as it stands.
    browser.wait(&format!("{block} textarea.body-param__text")).await;
    browser.wait(&format!("{block} .execute")).await.click().await.unwrap();
    let status = browser.wait(&format!("{block} .live-responses-table tbody .response-col_status")).await;
    let status = eventually("the answer is shown", async || {
        let text = status.text().await.unwrap_or_default();
        text.starts_with(|first: char| first.is_ascii_digit()).then_some(text)
    })
    .await;
    let screenshot = browser.page.screenshot().await.unwrap();
    // For people to look at, in the target folder.
    std::fs::write(binary().with_file_name("swagger.png"), screenshot).unwrap();
    assert!(status.starts_with("201"), "{status}");
    browser.nothing_was_blocked().await;
    let orders = http.get(&format!("/orders?customer_id={customer}")).await.expect(200);
    assert_eq!(orders["items"].as_array().map(Vec::len), Some(1), "{orders}");
}

#[tokio::test]
async fn who_has_authorised_the_page_need_not_do_so_again_after_a_reload() {
    let deployment = Embedded::start().await;
    let profile = tempfile::tempdir().unwrap();
    let browser = Browser::start(profile.path()).await;
    browser.page.goto(&format!("{}/docs", deployment.http().base)).await.unwrap();
    browser.wait(".opblock").await;
    browser.wait(".auth-wrapper .btn.authorize.unlocked").await.click().await.unwrap();
    browser.wait(".auth-container input").await.send_keys("olk_0_x").await.unwrap();
    browser.wait(".auth-btn-wrapper .authorize").await.click().await.unwrap();
    browser.wait(".auth-wrapper .btn.authorize.locked").await;
    browser.page.refresh().await.unwrap();
    browser.wait(".opblock").await;
    browser.wait(".auth-wrapper .btn.authorize.locked").await;
    browser.nothing_was_blocked().await;
}

#[tokio::test]
async fn one_service_is_chosen_and_its_problems_are_explained() {
    let deployment = Embedded::start().await;
    let http: Http = deployment.http();
    let profile = tempfile::tempdir().unwrap();
    let browser = Browser::start(profile.path()).await;
    browser.page.goto(&format!("{}/docs", http.base)).await.unwrap();
    browser.wait(".opblock").await;
    browser.wait("#service option[value=billing]").await.click().await.unwrap();
    let of_billing = operations(&http.get("/openapi/billing.json").await.expect(200)).len();
    eventually("only billing is on the page", async || {
        let shown = browser.page.find_all(Locator::Css(".opblock")).await.ok()?.len();
        (shown == of_billing).then_some(())
    })
    .await;
    assert!(browser.page.current_url().await.unwrap().as_str().ends_with("/docs?service=billing"));
    browser.nothing_was_blocked().await;

    let problem = http.get("/billing/019a0000-0000-7000-8000-000000000009").await;
    let kind = problem.expect_problem(404, "unknown_order")["type"].as_str().unwrap().to_owned();
    assert!(http.get(&kind).await.expect(200)["remedy"].is_string());
    browser.page.goto(&format!("{}{kind}", http.base)).await.unwrap();
    assert_eq!(browser.wait("h1").await.text().await.unwrap(), "Unknown order");
    browser.nothing_was_blocked().await;
}
