//! Options from `ORDERLOG_*` variables: what an empty one means, how flags are written, and what errors call them.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use orderlog_tests::{
    deployment::{Said, Server, free_port, orderlog_with},
    keys::key,
};

/// Variables that must not be empty, because something would stand open without them.
const PROTECTING: [&str; 10] = [
    "ORDERLOG_HASH_KEY",
    "ORDERLOG_HASH_KEY_FILE",
    "ORDERLOG_KAFKA_PASSWORD",
    "ORDERLOG_KAFKA_PASSWORD_FILE",
    "ORDERLOG_OIDC_ISSUER",
    "ORDERLOG_OPERATOR_KEY_FILE",
    "ORDERLOG_PEER_KEY",
    "ORDERLOG_PEER_KEY_FILE",
    "ORDERLOG_REDIS_PASSWORD",
    "ORDERLOG_REDIS_PASSWORD_FILE",
];

/// The variables of `serve`, as its help lists them.
async fn variables() -> Vec<String> {
    let help = orderlog_with(&[], &["serve", "--help"]).await.ended_with(0).stdout;
    let words: Vec<&str> = help.split_whitespace().collect();
    let named = words.windows(2).filter(|pair| pair[0] == "[env:");
    named.filter_map(|pair| pair[1].split(['=', ']']).next()).map(str::to_owned).collect()
}

/// Ends with a usage error that names this variable instead of a flag.
#[track_caller]
fn names(said: Said, variable: &str) {
    let stderr = said.ended_with(2).stderr;
    let told = stderr.split("\n\nUsage:").next().unwrap();
    let flag = format!("--{}", variable.trim_start_matches("ORDERLOG_").to_lowercase().replace('_', "-"));
    assert!(told.contains(variable) && !told.contains(&format!("'{flag}")), "{variable}: {stderr}");
}

/// The defaults that a guide names, in the units of the options. A row begins with `--name` in its first cell and the value in its
/// second, such as `10 s until ...`; a sentence has the value in brackets behind `--name`.
fn defaults_in(guide: &str) -> Vec<(String, u64)> {
    let behind_names = guide.split("`--").skip(1).filter_map(|rest| rest.split_once('`'));
    // The default of a rate is no default of its option; `limits.rs` has it.
    let defaults = behind_names.filter(|(name, _)| *name != "rate-burst").filter_map(|(name, rest)| {
        let value = rest.strip_prefix(" | ").or_else(|| rest.strip_prefix(" ("))?;
        let mut words = value.split([' ', ')', ':', '|']);
        let number: u64 = words.next()?.replace(',', "").parse().ok()?;
        let unit = match words.next()? {
            "MiB" => 1 << 20,
            "s" if name.ends_with("-ms") => 1_000,
            _ => 1,
        };
        Some((name.to_owned(), number * unit))
    });
    defaults.collect()
}

#[tokio::test]
async fn the_defaults_are_those_in_the_guides() {
    let help = orderlog_with(&[], &["serve", "--help"]).await.ended_with(0).stdout;
    let guides = [include_str!("../../docs/security.md"), include_str!("../../docs/operations.md")];
    let defaults: Vec<_> = guides.iter().flat_map(|guide| defaults_in(guide)).collect();
    assert!(defaults.len() > 9, "{defaults:?}");
    for (name, value) in defaults {
        let (_, option) = help.split_once(&format!("--{name} <")).unwrap_or_else(|| panic!("there is no --{name}"));
        let option = option.split("\n      --").next().unwrap();
        assert!(option.contains(&format!("[default: {value}]")), "--{name} is {value} in the guide: {option}");
    }
}

#[tokio::test]
async fn a_server_starts_with_every_variable_empty_that_protects_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let known = variables().await.into_iter().filter(|it| !PROTECTING.contains(&it.as_str()));
    let empty: Vec<_> = known.map(|variable| (variable, String::new())).collect();
    assert!(empty.len() > 40, "{empty:?}");
    let args = ["--data".to_owned(), dir.path().join("data").display().to_string()];
    let log = dir.path().join("server.log");
    Server::begin_at("127.0.0.1", &args, free_port(), (&log, &[]), &empty).ready().await;
}

#[tokio::test]
async fn an_empty_variable_that_protects_something_is_an_error() {
    let known = variables().await;
    for variable in PROTECTING {
        assert!(known.iter().any(|it| it == variable), "{variable} is one");
        names(orderlog_with(&[(variable, "")], &["serve"]).await, variable);
    }
}

#[tokio::test]
async fn a_flag_is_set_by_the_words_that_deployments_use() {
    let shown = async |value| orderlog_with(&[("ORDERLOG_KAFKA_TLS", value)], &["config", "show"]).await;
    for (value, is_set) in [
        ("1", true),
        ("true", true),
        ("YES", true),
        ("on", true),
        ("0", false),
        ("false", false),
        ("no", false),
        ("off", false),
        ("", false),
    ] {
        let settings = shown(value).await.ended_with(0).stdout;
        assert!(settings.contains(&format!("kafka-tls = {is_set}")), "{value}: {settings}");
    }
    names(shown("maybe").await, "ORDERLOG_KAFKA_TLS");
}

#[tokio::test]
async fn a_variable_that_no_option_has_is_reported_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    key(dir.path(), "shop", &["orders:read"], &[]).await;
    let data = ("ORDERLOG_DATA", dir.path().to_str().unwrap());
    for (variable, help) in [
        ("ORDERLOG_KEY", "pass --key"),
        ("ORDERLOG_JSON", "pass --json"),
        ("ORDERLOG_LISTENS", "ORDERLOG_LISTEN?"),
        ("ORDERLOG_ZEBRA", "no effect"),
    ] {
        let said = orderlog_with(&[(variable, "1"), data], &["key", "list"]).await.ended_with(0);
        assert!(said.stderr.contains(variable) && said.stderr.contains(help), "{said:?}");
        assert!(!said.stdout.starts_with('{'), "{said:?}");
    }
    // Kubernetes sets these for a service that is called orderlog.
    let links = [("ORDERLOG_PORT", "tcp://10.0.0.1:80"), ("ORDERLOG_SERVICE_HOST", "10.0.0.1"), data];
    assert_eq!(orderlog_with(&links, &["key", "list"]).await.ended_with(0).stderr, "");
}

#[tokio::test]
async fn a_switch_of_all_commands_stands_anywhere_and_variables_still_count() {
    let dir = tempfile::tempdir().unwrap();
    let data = ("ORDERLOG_DATA", dir.path().to_str().unwrap());
    for args in [["-q", "key", "list"], ["key", "--quiet", "list"], ["key", "list", "-q"]] {
        let said = orderlog_with(&[data], &args).await.ended_with(0);
        assert_eq!((said.stdout, said.stderr), Default::default(), "{args:?}");
    }
    key(dir.path(), "shop", &["orders:read"], &[]).await;
    let said = orderlog_with(&[data], &["key", "-q", "list", "--json"]).await.ended_with(0);
    assert!(said.stdout.contains("\"shop\""), "{said:?}");
}

#[tokio::test]
async fn config_shows_each_value_with_its_source_and_the_result_is_a_settings_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("orderlog.toml");
    std::fs::write(&file, "# mine\nmax-requests = 7\nlisten = '127.0.0.1:1'\nallowed-host = ['a.example']\n").unwrap();
    let path = file.to_str().unwrap();
    let variables =
        [("ORDERLOG_CONFIG", path), ("ORDERLOG_PEER_KEY_FILE", "/nowhere"), ("ORDERLOG_HASH_KEY", "hunter2")];
    let shown = orderlog_with(&variables, &["config", "show", "--listen", "127.0.0.1:2"]).await.ended_with(0).stdout;
    for (setting, source) in [
        ("listen = \"127.0.0.1:2\"", "flag"),
        ("max-requests = 7", &format!("{path}:2")),
        ("allowed-host = [\"a.example\"]", &format!("{path}:4")),
        ("# hash-key = \"(hidden)\"", "ORDERLOG_HASH_KEY"),
        ("trace-ratio = 1", "default"),
        ("# redis =", "not set"),
    ] {
        let line = shown.lines().find(|line| line.starts_with(setting)).unwrap_or_else(|| panic!("{setting}: {shown}"));
        assert!(line.ends_with(&format!("  # {source}")), "{line}");
    }
    std::fs::write(&file, shown).unwrap();
    let again = orderlog_with(&[("ORDERLOG_CONFIG", path)], &["config", "show", "--json"]).await.ended_with(0).stdout;
    let listen = again.lines().find(|line| line.contains("\"listen\"")).unwrap();
    let listen: serde_json::Value = serde_json::from_str(listen).unwrap();
    assert_eq!((&listen["value"], &listen["source"]), (&"127.0.0.1:2".into(), &"file".into()), "{listen}");
    // What serve would refuse, check refuses.
    let check = async |args: &[&str]| orderlog_with(&[], &[&["config", "check"], args].concat()).await;
    check(&["--data", dir.path().to_str().unwrap()]).await.ended_with(0);
    for (args, fault) in [
        (["--peer-key-file", "/nowhere"], "the other services"),
        (["--config", path], "the other services"),
        (["--listen", "0.0.0.0:1"], "--insecure"),
        (["--log", "kafka://127.0.0.1:1"], "--hash-key-file"),
    ] {
        let said = check(&args).await.ended_with(2);
        assert!(said.stderr.contains(fault), "{args:?}: {said:?}");
    }
}

#[tokio::test]
async fn an_error_names_the_variable_that_the_value_came_from() {
    for (variable, value) in [
        ("ORDERLOG_PUBLIC_PARTITIONS", "0"),
        ("ORDERLOG_PEER_KEY", "hunter2"),
        ("ORDERLOG_LOG", "kafka"),
        ("ORDERLOG_LOG_FORMAT", "xml"),
        ("ORDERLOG_LOG_FILTER", "orders=loud"),
        ("ORDERLOG_INSECURE", "everything"),
        ("ORDERLOG_KAFKA_TLS", "2"),
    ] {
        let said = orderlog_with(&[(variable, value)], &["serve"]).await;
        assert!(!said.stderr.contains("hunter2"), "{said:?}");
        names(said, variable);
    }
    let both = [("ORDERLOG_HASH_KEY", "a"), ("ORDERLOG_HASH_KEY_FILE", "b")];
    names(orderlog_with(&both, &["serve"]).await, "ORDERLOG_HASH_KEY");
    // What is missing can be given either way.
    let missing = orderlog_with(&[("ORDERLOG_KAFKA_PASSWORD", "a")], &["serve"]).await.ended_with(2).stderr;
    assert!(missing.contains("--kafka-user <NAME> or ORDERLOG_KAFKA_USER"), "{missing}");
    // A flag wins over its variable, and is what the error is about.
    let flag = ["serve", "--public-partitions", "0"];
    let wrong = orderlog_with(&[("ORDERLOG_PUBLIC_PARTITIONS", "3")], &flag).await.ended_with(2).stderr;
    assert!(wrong.contains("'--public-partitions <N>'"), "{wrong}");
}
