//! What the documentation shows works as it stands: commands run, links between pages lead somewhere, and the files that pages name
//! exist.
//!
//! Deliberately absent: commands of other pages, many of which have placeholders; links to other sites.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use orderlog_tests::deployment::{free_port, program};
use serde_json::{Value, json};
use tokio::process::Command;

/// The pages whose commands run, in this order, in one shell.
const SHOP: [&str; 2] = ["README.md", "docs/api.md"];
const ENGINE: [&str; 1] = ["engine/README.md"];

/// Blocks that do not run: how they begin, and why, with the place that checks them otherwise.
const ELSEWHERE: [(&str, &str); 2] = [
    ("$run serve --log kafka://", "has placeholders; tests/tests/first_service.rs passes the same options"),
    ("docker compose up", "needs Docker; `Distributed` in tests/src/deployment.rs starts the same processes"),
];

/// The one request of the tour that is refused.
const REFUSED: &str = "POST /stock/reserve 409";

/// Stands in for a reader who has two terminals, and `orderlog` on the path. A server runs until the next one is started, or until the
/// end. Each request is noted in `requests`. Programs are those that were built beside the tests.
const READER: &str = r#"
serving=
stop() { [ -z "$serving" ] || { kill "$serving"; wait "$serving"; serving=; }; }
trap stop EXIT
cargo() {
  case "$*" in
    'run --release') orderlog serve ;;
    'run --release -- '*) orderlog "${@:4}" ;;
    'run -p orderlog-first-service -- '*) orderlog serve "${@:5}" ;;
    'run -q -p orderlog-first-service -- '*) orderlog "${@:6}" ;;
    *) echo "unexpected: cargo $*" >&2; return 1 ;;
  esac
}
orderlog() {
  [ "$1" = serve ] || { "$PROGRAM" "$@"; return; }
  stop
  "$PROGRAM" "$@" --listen "$ADDRESS" >>server.log 2>&1 &
  serving=$!
  until command curl -fs "http://$ADDRESS/readyz" >/dev/null; do kill -0 "$serving"; sleep 0.05; done
}
curl() { command curl --show-error -w '%{stderr}%{method} %{url_effective} %{http_code}\n' "$@" 2>>requests; }
"#;

/// Writes down what the tour has come to.
const RESULT: &str = r#"
command curl -fs "$B/orders/$ORDER" >order.json
command curl -fs "$B/orders/$ORDER/history" >history.json
command curl -fs "$B/customers/$CUSTOMER/orders" >orders.json
command curl -fs "$B/stock/beans" >stock.json
"#;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The blocks of shell commands of a page.
///
/// # Panics
/// If a block is in none of the known languages: it might be commands that nothing runs.
fn blocks(text: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = text.lines().map(str::trim_start);
    while let Some(fence) = lines.by_ref().find(|line| line.starts_with("```")) {
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        match fence {
            "```sh" => blocks.push(block.join("\n") + "\n"),
            "```json" | "```toml" | "```yaml" | "```sql" => {}
            _ => panic!("{fence} {block:?} is not in a language that is known here"),
        }
    }
    blocks
}

fn blocks_of(pages: &[&str]) -> Vec<String> {
    pages.iter().flat_map(|page| blocks(&fs::read_to_string(root().join(page)).unwrap())).collect()
}

/// The commands of pages for a server at `address`, without the blocks that are checked elsewhere.
fn commands(pages: &[&str], address: &str) -> String {
    let is_run = |block: &String| !ELSEWHERE.iter().any(|(beginning, _)| block.starts_with(beginning));
    let blocks = blocks_of(pages).into_iter().filter(is_run);
    blocks.map(|block| block.replace("127.0.0.1:8080", address)).collect()
}

/// Runs commands in `folder`, and returns what they printed and the requests that they made.
async fn run(script: &str, name: &str, address: &str, folder: &Path) -> (String, Vec<String>) {
    let mut command = Command::new("timeout");
    command.args(["120", "bash", "-euo", "pipefail", "-c", script]).current_dir(folder).kill_on_drop(true);
    command.env("PROGRAM", program(name)).env("ADDRESS", address).env_remove("ORDERLOG_DATA");
    let output = command.output().await.unwrap();
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_default();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let (requests, log) = (read("requests"), read("server.log"));
    assert!(output.status.success(), "{}\n{said}\n{requests}\n{log}", output.status);
    fs::remove_file(folder.join("requests")).unwrap();
    let place = format!("http://{address}");
    (said, requests.lines().map(|line| line.replace(&place, "")).collect())
}

fn failed(requests: &[String]) -> Vec<&str> {
    let is_success = |request: &str| request.rsplit(' ').next().unwrap().starts_with('2');
    requests.iter().map(String::as_str).filter(|request| !is_success(request)).collect()
}

#[tokio::test]
async fn the_tour_works_as_it_stands_and_again_in_the_same_folder() {
    let folder = tempfile::tempdir().unwrap();
    let address = format!("127.0.0.1:{}", free_port());
    let script = format!("{READER}{}{RESULT}", commands(&SHOP, &address));
    let mut first = None;
    for round in 1..=2 {
        let (_, requests) = run(&script, "orderlog", &address, folder.path()).await;
        assert_eq!(failed(&requests), [REFUSED], "round {round}: {requests:#?}");
        let read = |name| -> Value { serde_json::from_slice(&fs::read(folder.path().join(name)).unwrap()).unwrap() };
        let (order, history) = (read("order.json"), read("history.json"));
        assert_eq!((&order["state"], &order["payment"]), (&json!("fulfilled"), &json!("paid")), "round {round}");
        assert_eq!(*first.get_or_insert(order["order_id"].clone()), order["order_id"], "round {round}");
        assert_eq!(history["items"].as_array().map(Vec::len), Some(4), "round {round}: {history}");
        assert_eq!(read("orders.json")["items"].as_array().map(Vec::len), Some(1), "round {round}");
        assert_eq!(read("stock.json")["available"], json!(8), "round {round}");
    }
}

#[tokio::test]
async fn the_engines_tour_works_as_it_stands() {
    let folder = tempfile::tempdir().unwrap();
    let address = format!("127.0.0.1:{}", free_port());
    let commands = commands(&ENGINE, &address).replace("/tmp/", "./");
    let (said, requests) = run(&format!("{READER}{commands}"), "first-service", &address, folder.path()).await;
    assert_eq!((failed(&requests), requests.len()), (vec![], 3), "{requests:?}");
    assert!(said.to_lowercase().contains("orderlog-position: vouchers@2"), "{said}");
}

#[test]
fn blocks_that_are_checked_elsewhere_are_still_there() {
    let blocks = [blocks_of(&SHOP), blocks_of(&ENGINE)].concat();
    for (beginning, why) in ELSEWHERE {
        let n = blocks.iter().filter(|block| block.starts_with(beginning)).count();
        assert_eq!(n, 1, "blocks that begin with {beginning:?} ({why})");
    }
}

/// The pages below `folder`, with their texts.
fn pages(folder: &Path, found: &mut BTreeMap<PathBuf, String>) {
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let name = path.file_name().unwrap().to_string_lossy();
        let is_generated = name == "target" || name == "node_modules" || name.starts_with('.');
        if path.is_dir() && !is_generated {
            pages(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            let text = fs::read_to_string(&path).unwrap();
            found.insert(path.canonicalize().unwrap(), text);
        }
    }
}

/// The lines of a page without fenced blocks.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// The anchors of a page's headings, as code hosts make them.
fn anchors(text: &str) -> Vec<String> {
    let (mut anchors, mut n_same) = (Vec::new(), BTreeMap::new());
    for line in prose(text).filter(|line| line.starts_with('#')) {
        let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        let heading = line.trim_start_matches('#').trim().to_lowercase();
        let anchor = heading.chars().filter(kept).collect::<String>().replace(' ', "-");
        let n: &mut usize = n_same.entry(anchor.clone()).or_default();
        anchors.push(if *n == 0 { anchor } else { format!("{anchor}-{n}") });
        *n += 1;
    }
    anchors
}

/// Where the links and pictures of a page lead, without those to other sites.
fn links(text: &str) -> Vec<&str> {
    let of_line = |line| {
        let in_text = ["](", "src=\"", "href=\""].into_iter().zip([')', '"', '"']);
        in_text.flat_map(move |(begin, end): (&str, char)| {
            str::split(line, begin).skip(1).filter_map(move |rest| rest.split(end).next())
        })
    };
    prose(text).flat_map(of_line).filter(|link| !link.contains("://") && !link.starts_with("mailto:")).collect()
}

/// The links of a page that lead nowhere.
fn broken<'a>(page: &Path, text: &'a str, pages: &BTreeMap<PathBuf, String>) -> Vec<&'a str> {
    let leads_somewhere = |link: &str| {
        let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
        let target = if path.is_empty() { page.to_owned() } else { page.parent().unwrap().join(path) };
        let Ok(target) = target.canonicalize() else { return false };
        anchor.is_empty() || pages.get(&target).is_some_and(|text| anchors(text).iter().any(|it| it == anchor))
    };
    links(text).into_iter().filter(|link| !leads_somewhere(link)).collect()
}

/// Files and folders of the project that a page names, as code, without placeholders.
fn named_files(text: &str) -> impl Iterator<Item = &str> {
    let is_path = |code: &&str| {
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-' | '.' | '/');
        let folder = code.split_once('/').map_or("", |(folder, _)| folder);
        !folder.is_empty()
            && folder != "."
            && folder != "target"
            && !code.contains("/.cache")
            && code.chars().all(is_plain)
    };
    let is_folder_of_project = |code: &&str| root().join(code.split('/').next().unwrap_or_default()).is_dir();
    prose(text).flat_map(|line| line.split('`').skip(1).step_by(2)).filter(is_path).filter(is_folder_of_project)
}

#[test]
fn links_between_pages_lead_somewhere() {
    let mut all = BTreeMap::new();
    pages(&root(), &mut all);
    let n_links: usize = all.values().map(|text| links(text).len()).sum();
    assert!(all.len() > 30 && n_links > 100, "{} pages, {n_links} links", all.len());
    let broken = all.iter().flat_map(|(page, text)| {
        broken(page, text, &all).into_iter().map(|link| format!("{}: {link}", page.display()))
    });
    assert_eq!(broken.collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn a_link_that_leads_nowhere_is_named() {
    let readme = root().canonicalize().unwrap().join("README.md");
    let text = "# Once `more`: twice\n## Twice\n## Twice-told\n## Twice\n```sh\n# [no](link)\n```\n";
    let all = BTreeMap::from([(readme.clone(), text.to_owned())]);
    let good = "[a](#once-more-twice), [b](#twice-1) and [c](README.md#twice) [d](docs) [e](https://example.com/no)";
    assert_eq!(broken(&readme, good, &all), [""; 0]);
    let bad = "[a](#thrice) [b](#no)\n[c](docs/no.md) <img src=\"no.svg\"> [d](docs#twice) [e](README.md#twice-2)";
    let mut found = broken(&readme, bad, &all);
    found.sort_unstable();
    assert_eq!(found, ["#no", "#thrice", "README.md#twice-2", "docs#twice", "docs/no.md", "no.svg"]);
}

#[test]
fn files_that_pages_name_exist() {
    let mut all = BTreeMap::new();
    pages(&root(), &mut all);
    // A decision and the changelog speak of the past.
    let is_present =
        |page: &&PathBuf| !page.ends_with("CHANGELOG.md") && !page.parent().unwrap().ends_with("decisions");
    let named = all.keys().filter(is_present).flat_map(|page| named_files(&all[page]).map(move |file| (page, file)));
    let (found, missing): (Vec<_>, Vec<_>) = named.partition(|(_, file)| root().join(file).exists());
    assert!(found.len() > 100, "only {} files are named", found.len());
    assert_eq!(missing, []);
}

#[test]
fn only_blocks_of_shell_commands_run() {
    assert_eq!(blocks("a\n```sh\nb\nc\n```\n```yaml\nd\n```\n- x\n  ```sh\n  e\n  ```\n"), ["b\nc\n", "e\n"]);
    for unknown in ["```\nb\n```\n", "```bash\nb\n```\n"] {
        assert!(std::panic::catch_unwind(|| blocks(unknown)).is_err(), "{unknown}");
    }
}
