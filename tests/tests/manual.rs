//! Man pages and completion scripts: complete, the same wherever they are made, and without secrets.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

use orderlog_tests::deployment::{binary, orderlog_with, program, run};

const SECRET: &str = "hunter2";
const SECRETS: [(&str, &str); 3] = [
    ("ORDERLOG_HASH_KEY", SECRET),
    ("ORDERLOG_KAFKA_SETTINGS", "sasl.password=hunter2"),
    ("ORDERLOG_OTLP_ENDPOINT", "http://hunter2@127.0.0.1:4318"),
];

/// Each page by its name.
fn pages(dir: &Path) -> Vec<(String, String)> {
    let files = fs::read_dir(dir).unwrap().map(Result::unwrap);
    let page = |file: fs::DirEntry| {
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o644, "everybody may read {file:?}");
        (file.file_name().into_string().unwrap(), fs::read_to_string(file.path()).unwrap())
    };
    let mut pages: Vec<_> = files.map(page).collect();
    pages.sort();
    pages
}

/// The commands below `words`, as the help lists them.
async fn commands(words: &[&str]) -> BTreeSet<String> {
    let help = orderlog_with(&[], &[words, &["--help"]].concat()).await.ended_with(0).stdout;
    let listed = help.split_once("\nCommands:\n").map_or("", |(_, rest)| rest.split("\n\n").next().unwrap());
    let names = listed.lines().filter_map(|line| line.strip_prefix("  ")).filter(|line| !line.starts_with(' '));
    names.filter_map(|line| line.split(' ').next()).filter(|name| *name != "help").map(str::to_owned).collect()
}

#[tokio::test]
async fn every_command_has_a_page_that_the_environment_does_not_change() {
    let dir = tempfile::tempdir().unwrap();
    let [plain, secret] = ["plain", "secret/man1"].map(|name| dir.path().join(name));
    orderlog_with(&[], &["man", plain.to_str().unwrap()]).await.ended_with(0);
    let unset = [("ORDERLOG_DATA", ""), ("ORDERLOG_DEMO", "")];
    orderlog_with(&[&SECRETS[..], &unset].concat(), &["man", secret.to_str().unwrap()]).await.ended_with(0);
    let pages = pages(&plain);
    assert_eq!(pages, self::pages(&secret));

    let mut expected = BTreeSet::from(["orderlog.1".to_owned()]);
    for command in commands(&[]).await {
        for verb in commands(&[&command]).await {
            expected.insert(format!("orderlog-{command}-{verb}.1"));
        }
        expected.insert(format!("orderlog-{command}.1"));
    }
    assert_eq!(pages.iter().map(|(name, _)| name.clone()).collect::<BTreeSet<_>>(), expected);
    let text = |name: &str| &pages.iter().find(|page| page.0 == name).unwrap().1;
    assert!(
        text("orderlog-serve.1").contains("ORDERLOG_PEER_KEY") && text("orderlog-serve.1").contains("orders\\-url")
    );
    assert_eq!(orderlog_with(&SECRETS, &["man"]).await.ended_with(0).stdout.trim_end(), text("orderlog.1").trim_end());

    let taken = dir.path().join("file");
    fs::write(&taken, "").unwrap();
    let refused = orderlog_with(&[], &["man", taken.to_str().unwrap()]).await.ended_with(1);
    assert!(refused.stderr.contains(taken.to_str().unwrap()), "{refused:?}");
}

/// What bash offers for the last of these words.
fn offered(program: &Path, words: &[&str]) -> Vec<String> {
    let name = program.file_name().unwrap().to_str().unwrap();
    let script = r#"
        source <("$1" completions bash) && shift && COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) || exit 1
        "$(complete -p "$1" | grep -o '_[^ ]*')" "$1" "${@: -1}" && printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let mut bash = Command::new("bash");
    bash.args(["-c", script, "bash"]).arg(program).arg(name).args(words).envs(SECRETS).stderr(Stdio::inherit());
    let output = bash.output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn shells_complete_commands_options_and_services() {
    assert_eq!(offered(&binary(), &["proj"]), ["projection"]);
    assert_eq!(offered(&binary(), &["serve", "--kafka-u"]), ["--kafka-user"]);
    assert_eq!(offered(&binary(), &["projection", "rebuild", "bil"]), ["billing"]);
    assert_eq!(offered(&program("first-service"), &["proj"]), ["projection"]);
    for shell in ["bash", "fish", "zsh"] {
        let script = orderlog_with(&SECRETS, &["completions", shell]).await.ended_with(0).stdout;
        assert!(script.contains("peer-key") && script.contains("orderlog") && !script.contains(SECRET), "{script}");
        let example = run("first-service", &["completions", shell]).await.ended_with(0).stdout;
        assert!(example.contains("vouchers-url") && !example.contains("orders-url"), "{example}");
    }
    let unknown = orderlog_with(&[], &["completions", "tcsh"]).await.ended_with(2);
    assert!(unknown.stderr.contains("zsh"), "{unknown:?}");
}
