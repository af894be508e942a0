//! Options from flags, variables and the settings file together.

use std::{fs, os::unix::fs::PermissionsExt};

use orderlog_server::config::Insecure;
use tempfile::TempDir;

use super::*;

/// A command line, variables and a settings file.
struct Given<'a> {
    args: &'a [&'a str],
    variables: &'a [(&'a str, &'a str)],
    file: &'a str,
    mode: u32,
}

const NOTHING: Given<'static> = Given { args: &["serve"], variables: &[], file: "", mode: 0o600 };

impl Given<'_> {
    fn read(&self) -> Result<Cli, String> {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("orderlog.toml");
        fs::write(&file, self.file).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(self.mode)).unwrap();
        let mut environment: Environment =
            self.variables.iter().map(|(name, value)| ((*name).to_owned(), value.into())).collect();
        environment.insert("ORDERLOG_CONFIG".to_owned(), file.into());
        let args = std::iter::once(&"orderlog").chain(self.args).map(OsString::from);
        let folder = format!("{}/", folder.path().display());
        Cli::read(&SHOP, args, &environment).map_err(|error| error.to_string().replace(&folder, ""))
    }

    fn config(&self) -> Config {
        self.read().unwrap().config(&SHOP).unwrap()
    }

    #[track_caller]
    fn refused_with(&self, faults: &[&str]) {
        let error = self.read().unwrap_err();
        for fault in faults {
            assert!(error.contains(fault), "{fault}: {error}");
        }
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn a_flag_beats_a_variable_which_beats_the_file_which_beats_the_default() {
    let listen = |args, variables, file| Given { args, variables, file, ..NOTHING }.config().options.listen;
    let (flag, variable) = (["serve", "--listen", "[::1]:1"], [("ORDERLOG_LISTEN", "[::1]:2")]);
    let file = "listen = '[::1]:3'";
    assert_eq!(listen(&flag, &variable, file), "[::1]:1");
    assert_eq!(listen(&["serve"], &variable, file), "[::1]:2");
    assert_eq!(listen(&["serve"], &[("ORDERLOG_LISTEN", "")], file), "[::1]:3");
    assert_eq!(listen(&[], &[], file), "[::1]:3");
    assert_eq!(listen(&["serve"], &[], ""), "127.0.0.1:8080");
    // A list is replaced, not extended.
    let hosts = |args, variables| {
        let given = Given { args, variables, file: "allowed-host = ['a.example', 'b.example']", ..NOTHING };
        given.config().options.security.allowed_hosts
    };
    assert_eq!(hosts(&["serve"], &[]), ["a.example", "b.example"]);
    assert_eq!(hosts(&["serve"], &[("ORDERLOG_ALLOWED_HOSTS", "c.example,d.example")]), ["c.example", "d.example"]);
    assert_eq!(hosts(&["serve", "--allowed-host", "e.example"], &[]), ["e.example"]);
    // A switch can be turned off again.
    let demands = |variables| {
        let given = Given { variables, file: "require-idempotency-keys = true", ..NOTHING };
        given.config().options.require_idempotency_keys
    };
    assert!(demands(&[]));
    assert!(!demands(&[("ORDERLOG_REQUIRE_IDEMPOTENCY_KEYS", "no")]));
}

#[test]
fn the_file_has_the_types_that_its_values_look_like() {
    let file = "kafka-replication = 3\nmax-requests = 1_000\ntrace-ratio = 1\ninsecure = true\ntopic-prefix = ''\n\
                snapshot-every = 0x10\nkafka-setting = ['client.rack=a']\ndevelopment-hash-key = false";
    let options = Given { file, ..NOTHING }.config().options;
    assert_eq!((options.storage.kafka_replication, options.limits.max_requests), (Some(3), 1_000));
    assert_eq!((options.trace_ratio, options.snapshot_every), (1.0, 16));
    assert_eq!(options.security.insecure, [Insecure::NoKeys, Insecure::NoTls]);
    assert_eq!(options.storage.kafka_settings, [("client.rack".to_owned(), "a".to_owned())]);
    assert!(!options.storage.development_hash_key);
    let insecure = Given { file: "insecure = ['no-tls']", ..NOTHING }.config().options.security.insecure;
    assert_eq!(insecure, [Insecure::NoTls]);
}

#[test]
fn every_option_of_serve_is_a_setting() {
    let command = Cli::commands(&SHOP);
    let options = command.get_arguments().filter(|option| !["config", "quiet"].contains(&option.get_id().as_str()));
    let names: Vec<_> = options.filter_map(clap::Arg::get_long).collect();
    assert!(names.len() > 50, "{names:?}");
    for name in names {
        let file = format!("{name} = 2027-01-31");
        Given { file: &file, ..NOTHING }.refused_with(&[&format!("orderlog.toml:1: `{name}` must be ")]);
    }
}

#[test]
fn all_that_is_wrong_with_the_file_is_reported_with_its_line() {
    let file = "\nlisten = 8080\nmax_requests = 5\n# a comment\npublic-partitions = 'three'\nkafka-tls = 1\nallowed-host = [1]\n\
                zebra = 1\nconfig = 'a'\nkafka.user = 'x'\n[limits]\nmax-requests = 1\n";
    Given { file, ..NOTHING }.refused_with(&[
        "orderlog.toml:2: `listen` must be a string, but is an integer\n",
        "orderlog.toml:3: there is no setting `max_requests`: did you mean `max-requests`?\n",
        "orderlog.toml:5: `public-partitions` must be an integer, but is a string\n",
        "orderlog.toml:6: `kafka-tls` must be true or false, but is an integer\n",
        "orderlog.toml:7: `allowed-host` must be a string or a list of strings, but is a list\n",
        "orderlog.toml:8: there is no setting `zebra`",
        "orderlog.toml:9: there is no setting `config`",
        "orderlog.toml:10: `kafka` is a section",
        "orderlog.toml:11: `limits` is a section",
    ]);
    Given { file: "log = 'embedded'\nhash-key = \"hunter2\n", ..NOTHING }.refused_with(&["orderlog.toml:2: "]);
    Given { file: "data = 'a'\ndata = 'b'\n", ..NOTHING }.refused_with(&["orderlog.toml:2: duplicate key"]);
    Given { args: &["serve", "--config", "/nowhere/a.toml"], ..NOTHING }
        .refused_with(&["/nowhere/a.toml can't be read"]);
    // Values are parsed like those of flags.
    for (file, fault) in [
        (
            "\npublic-partitions = 0",
            "invalid value '0' for 'public-partitions' in orderlog.toml:2: 0 is not in 1..=1000",
        ),
        ("log = 'kafka://hunter2@host:1'", "invalid value for 'log' in orderlog.toml:1: "),
        ("\n\nkafka-password = 'hunter2'", "--kafka-user <NAME> or ORDERLOG_KAFKA_USER"),
        (
            "hash-key = 'hunter2'\nhash-key-file = 'b'",
            "'hash-key' in orderlog.toml:1 cannot be used with 'hash-key-file' in orderlog.toml:2",
        ),
    ] {
        Given { file, ..NOTHING }.refused_with(&[fault]);
    }
}

#[test]
fn a_stronger_source_hides_what_it_excludes_in_a_weaker_one() {
    let secrets = |args, variables, file| {
        let storage = Given { args, variables, file, ..NOTHING }.config().options.storage;
        (storage.hash_key, storage.hash_key_file.map(|file| file.display().to_string()), storage.development_hash_key)
    };
    let (key, file) = (|text: &str| Some(text.to_owned()), "hash-key-file = 'f'");
    assert_eq!(secrets(&["serve"], &[], file), (None, key("f"), false));
    assert_eq!(secrets(&["serve"], &[("ORDERLOG_HASH_KEY", "v")], file), (key("v"), None, false));
    let flag = ["serve", "--development-hash-key"];
    assert_eq!(secrets(&flag, &[("ORDERLOG_HASH_KEY", "v")], file), (None, None, true));
    let off = [("ORDERLOG_DEVELOPMENT_HASH_KEY", "false")];
    assert_eq!(secrets(&["serve"], &off, file), (None, key("f"), false));
    // What belongs together may come from several places.
    let given = Given { args: &["serve", "--tls-cert", "c"], file: "tls-key = 'k'", ..NOTHING };
    assert!(given.config().options.security.tls_key.is_some());
}

#[test]
fn other_commands_take_what_they_share_with_serve() {
    let file = "data = 'elsewhere'\nlisten = '[::1]:1'\nkeys = 'k.json'\n";
    for args in [
        &["log", "replay", "orders"][..],
        &["projection", "status"],
        &["parked", "list"],
        &["key", "list"],
        &["health"],
    ] {
        let cli = Given { args, file, ..NOTHING }.read().unwrap();
        assert!(format!("{cli:?}").contains("data: \"elsewhere\""), "{args:?}: {cli:?}");
        Given { args, file: "lisen = 1", ..NOTHING }.refused_with(&["did you mean `listen`?"]);
    }
    Given { args: &["asyncapi"], file: "lisen = 1", ..NOTHING }.read().unwrap();
    Given { args: &["asyncapi", "--config", "a.toml"], ..NOTHING }.refused_with(&["--config"]);
}

#[test]
fn a_file_with_a_secret_is_not_for_every_user() {
    for secret in
        ["hash-key = 'hunter2'", "redis = 'redis://:hunter2@host:1'", "kafka-setting = ['sasl.password=hunter2']"]
    {
        Given { file: secret, mode: 0o644, ..NOTHING }.refused_with(&["orderlog.toml:1: ", "chmod o= "]);
        for mode in [0o600, 0o640] {
            Given { file: secret, mode, ..NOTHING }.config();
        }
    }
    let open = "hash-key-file = 'f'\nredis = 'redis://host:1'\nkafka-setting = ['client.rack=a']";
    Given { file: open, mode: 0o644, ..NOTHING }.config();
}
