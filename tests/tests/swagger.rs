//! Swagger UI in a real browser: every operation is there, and an order can be placed by pressing buttons.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use std::process::{Child, Command, Stdio};

use fantoccini::{Client, ClientBuilder, Locator, elements::Element, wd::WebDriverCompatibleCommand};
use hyper_util::client::legacy::connect::HttpConnector;
use orderlog_tests::{
    PATIENCE,
    deployment::{Embedded, binary, free_port},
    eventually,
    http::Http,
    story::{Shop, text},
};
use reqwest::{Method, Url};
use serde_json::{Value, json};

/// A command of Chromium's own protocol: how large the window is, and which colors its user prefers.
#[derive(Debug)]
struct Cdp(&'static str, Value);

impl WebDriverCompatibleCommand for Cdp {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, <Url as std::str::FromStr>::Err> {
        base.join(&format!("session/{}/goog/cdp/execute", session.unwrap()))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(json!({ "cmd": self.0, "params": self.1 }).to_string()))
    }
}

const SCREEN_HEIGHT: u64 = 900;
const CONTRAST: &str = include_str!("swagger/contrast.js");

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

    async fn look(&self, width: u64, scheme: &str) {
        let window = json!({ "width": width, "height": SCREEN_HEIGHT, "deviceScaleFactor": 1, "mobile": width < 640 });
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.page.issue_cmd(Cdp("Emulation.setDeviceMetricsOverride", window)).await.unwrap();
        self.page.issue_cmd(Cdp("Emulation.setEmulatedMedia", media)).await.unwrap();
    }

    async fn read(&self, script: &str) -> Value {
        self.page.execute(script, Vec::new()).await.unwrap()
    }

    /// For people to look at, in the target folder.
    async fn photograph(&self, name: &str) {
        let screenshot = self.page.screenshot().await.unwrap();
        std::fs::write(binary().with_file_name(format!("swagger-{name}.png")), screenshot).unwrap();
    }

    /// On a wide screen and on a phone, in both color schemes, every text can be read and nothing is cut off.
    async fn is_legible(&self, name: &str) {
        for (width, scheme) in [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")] {
            self.look(width, scheme).await;
            // Swagger UI fades from one color to the other.
            let legible = format!("{name}, {width}, {scheme}: no text is too faint");
            eventually(&legible, async || (self.read(CONTRAST).await == json!([])).then_some(())).await;
            let scrolled = self.read("return document.documentElement.scrollWidth").await;
            assert!(scrolled.as_u64().unwrap() <= width, "{name} is {scrolled} pixels wide on a screen of {width}");
            self.photograph(&format!("{name}-{width}-{scheme}")).await;
        }
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

/// The selector of an operation on the page.
fn block(operations: &[(String, String, Value)], method: &str, path: &str) -> String {
    let (_, _, operation) = operations.iter().find(|(at, by, _)| at == path && by == method).unwrap();
    format!("#operations-{}-{}", operation["tags"][0].as_str().unwrap(), text(operation, "operationId"))
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

    let block = block(&operations, "post", "/orders");
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
    browser.photograph("answer").await;
    assert!(status.starts_with("201"), "{status}");
    browser.nothing_was_blocked().await;
    let orders = http.get(&format!("/orders?customer_id={customer}")).await.expect(200);
    assert_eq!(orders["items"].as_array().map(Vec::len), Some(1), "{orders}");
}

#[tokio::test]
async fn a_reader_finds_an_operation_and_its_problems_on_any_screen() {
    let deployment = Embedded::start().await;
    let http: Http = deployment.http();
    let operations = operations(&http.get("/openapi.json").await.expect(200));
    let profile = tempfile::tempdir().unwrap();
    let browser = Browser::start(profile.path()).await;
    browser.page.goto(&format!("{}/docs", http.base)).await.unwrap();
    browser.wait(".opblock").await;
    assert_eq!(browser.read("return document.querySelectorAll('.model-container').length").await, 0);

    let filter = browser.wait("#filter").await;
    let is_about = |(path, method, it): &&(String, String, Value)| {
        method == "post" && format!("{path} {}", text(it, "summary")).to_lowercase().contains("refund")
    };
    let n_wanted = operations.iter().filter(is_about).count();
    assert!(n_wanted > 0);
    for (typed, n_wanted) in [("Refund POST", n_wanted), ("no such operation", 0), ("", operations.len())] {
        filter.clear().await.unwrap();
        filter.send_keys(&format!("{typed} ")).await.unwrap();
        eventually("the filter is applied", async || {
            let shown = browser.page.find_all(Locator::Css(".opblock")).await.ok()?.len();
            (shown == n_wanted).then_some(())
        })
        .await;
    }

    browser.look(1280, "light").await;
    let block = block(&operations, "post", "/orders");
    browser.wait(&format!("{block} .opblock-summary-control")).await.click().await.unwrap();
    browser.wait(&format!("{block} .problems a[href='/problems/customer_inactive']")).await;
    let height = format!("return document.querySelector('{block}').getBoundingClientRect().height");
    let height = browser.read(&height).await.as_f64().unwrap();
    assert!(height > 500.0 && height <= 2.0 * SCREEN_HEIGHT as f64, "POST /orders is {height} pixels high");
    browser.wait(&format!("{block} .shared-problems summary")).await.click().await.unwrap();
    browser.wait(&format!("{block} .shared-problems[open] a[href='/problems/rate_limited']")).await;
    browser.is_legible("page").await;

    let transfer = "const [it] = performance.getEntriesByType('resource').filter((it) => it.name.includes('swagger-ui.js')); \
        return [it.transferSize, it.encodedBodySize, it.decodedBodySize]";
    let [sent, encoded, decoded] = serde_json::from_value::<[u64; 3]>(browser.read(transfer).await).unwrap();
    assert!(sent > encoded && encoded * 3 < decoded, "{encoded} of {decoded} bytes are sent");
    browser.page.goto(&format!("{}/docs?service=orders", http.base)).await.unwrap();
    browser.wait(".opblock").await;
    assert_eq!(browser.read(transfer).await[0], 0, "the script is in the browser's cache");
    browser.nothing_was_blocked().await;

    browser.wait("a[href='/problems']").await.click().await.unwrap();
    browser.wait("a[href='/problems/rate_limited']").await;
    browser.is_legible("problems").await;
    browser.page.goto(&format!("{}/problems/overpayment", http.base)).await.unwrap();
    browser.is_legible("problem").await;
    browser.nothing_was_blocked().await;
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
