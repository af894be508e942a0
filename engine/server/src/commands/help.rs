//! What `-h`, `--help` and `--version` print. `-h` fits on a screen: it lists the options that are in no section. `--help` lists
//! all, with examples and exit codes.

use clap::Command;
use orderlog_eventlog::{embedded, kafka};

use super::exit;
use crate::registry::Registry;

/// The examples of each command, by its words. `NAME` is the program and `SERVICE` its first service.
const EXAMPLES: &[(&str, &[&str])] = &[
    ("", &["NAME --demo", "NAME serve --listen 127.0.0.1:9000", "NAME log replay SERVICE", "NAME projection status"]),
    (
        "serve",
        &[
            "NAME serve --demo",
            "NAME serve --config NAME.toml",
            "NAME serve --listen 0.0.0.0:8443 --tls-cert cert.pem --tls-key key.pem",
            "NAME serve SERVICE --log kafka://broker-1:9092,broker-2:9092 --hash-key-file hash.key",
        ],
    ),
    ("openapi", &["NAME openapi > NAME.json", "NAME openapi SERVICE --form 3.0"]),
    ("asyncapi", &["NAME asyncapi > asyncapi.json"]),
    (
        "log replay",
        &[
            "NAME log replay SERVICE --json | jq .type",
            "NAME log replay SERVICE --from SERVICE@1000 --to SERVICE@1100",
            "NAME log replay SERVICE --follow",
        ],
    ),
    ("log topics", &["NAME log topics"]),
    ("log lint", &["NAME log lint"]),
    (
        "log export",
        &[
            "NAME log export backup",
            "NAME log export backup --sign-key private.pem",
            "NAME log export segments --follow --every 10s",
        ],
    ),
    (
        "log import",
        &[
            "NAME log import backup --data restored",
            "NAME log import segments --to 2026-01-31T12:00:00Z --data restored",
            "NAME log import --undo --data restored",
        ],
    ),
    ("log republish", &["NAME log republish TOPIC --dry-run", "NAME log republish TOPIC --json | jq .id"]),
    ("log check", &["NAME log check backup --verify-key public.pem", "NAME log check segments --to 17"]),
    ("sql", &["NAME sql", "NAME sql --csv - > rows.csv"]),
    ("parked list", &["NAME parked list"]),
    ("parked show", &["NAME parked show SERVICE 1042"]),
    ("parked retry", &["NAME parked retry SERVICE"]),
    ("parked discard", &["NAME parked discard SERVICE 1042 --reason broken --dry-run"]),
    ("projection status", &["NAME projection status", "NAME projection status SERVICE --json"]),
    ("projection verify", &["NAME projection verify", "NAME projection verify SERVICE --scratch /var/tmp"]),
    ("projection rebuild", &["NAME projection rebuild SERVICE --dry-run", "NAME projection rebuild SERVICE"]),
    ("projection snapshot", &["NAME projection snapshot"]),
    ("projection prepare", &["NAME projection prepare", "NAME projection prepare all --until-stopped"]),
    ("projection rollback", &["NAME projection rollback SERVICE"]),
    ("topics plan", &["NAME topics plan", "NAME topics plan --kafka-replication 3 --json"]),
    ("config show", &["NAME config show --config NAME.toml", "NAME config show --json"]),
    ("config check", &["NAME config check --config NAME.toml"]),
    ("key create", &["NAME key create --name shop --scope SERVICE:* --out shop.key"]),
    ("key list", &["NAME key list --json"]),
    ("key revoke", &["NAME key revoke 5f1c9a"]),
    ("completions", &["NAME completions bash > /etc/bash_completion.d/NAME"]),
    ("man", &["NAME man | man -l -", "NAME man /usr/local/share/man/man1"]),
    ("health", &["NAME health", "NAME health --url http://127.0.0.1:8080"]),
];

/// Whether a command takes this option only so that it can share a settings file and a command line with others.
fn is_unused(words: &str, id: &str) -> bool {
    let (is_log, is_republish) = (words.starts_with("log "), words == "log republish");
    let writes = is_republish || words == "log import";
    let only_looks = is_log && !writes || ["parked list", "parked show", "projection status"].contains(&words);
    match id {
        _ if words == "topics plan" => {
            let used = ["topic_prefix", "public_partitions", "kafka_replication", "config", "json", "quiet", "help"];
            !used.contains(&id)
        }
        "advertised_url" => is_log || words.starts_with("parked ") || words.starts_with("projection "),
        "public_partitions" | "kafka_replication" | "schemas_url" | "no_create_topics" => only_looks,
        "hash_key" | "hash_key_file" | "development_hash_key" => is_log && !writes,
        "snapshots" | "keys_in_memory" => is_log && !is_republish,
        _ => false,
    }
}

/// Arranges the help of a program with these services.
pub fn arranged(command: Command, registry: &Registry) -> Command {
    let version = env!("CARGO_PKG_VERSION");
    let commit = registry.about.commit.map(|commit| format!("commit {commit}\n")).unwrap_or_default();
    let libraries = format!("librdkafka {}\nSQLite {}", kafka::library_version(), embedded::library_version());
    let command = command.version(version).long_version(format!("{version}\n{commit}{libraries}"));
    arranged_one(command, registry, "")
}

fn arranged_one(command: Command, registry: &Registry, words: &str) -> Command {
    let examples = EXAMPLES.iter().find(|(command, _)| *command == words).map_or(&[][..], |(_, examples)| examples);
    let service = registry.names().first().map(|service| service.as_str()).unwrap_or_default();
    let is_possible = |example: &&&str| registry.demo.is_some() || !example.contains("--demo");
    let example =
        |example: &&str| format!("  {}\n", example.replace("NAME", registry.about.name).replace("SERVICE", service));
    let text: String = examples.iter().filter(is_possible).map(example).collect();
    let text = if text.is_empty() { text } else { format!("Examples:\n{text}\n") };
    command
        .after_long_help(format!("{text}{}", exit::HELP))
        .mut_args(|option| {
            let is_in_section = option.get_help_heading().is_some();
            let is_hidden = option.is_hide_set() || is_unused(words, option.get_id().as_str());
            option.hide_short_help(is_in_section).hide(is_hidden)
        })
        .mut_subcommands(|command| {
            let words = format!("{words} {}", command.get_name()).trim_start().to_owned();
            arranged_one(command, registry, &words)
        })
}
