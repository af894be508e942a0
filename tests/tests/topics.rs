//! The published contract on a real broker, as an outsider sees it with `kcat`.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use std::process::Command;

use orderlog_domain::public::Public;
use orderlog_tests::{
    deployment::{Distributed, kafka},
    story::{self, Shop},
};
use serde_json::{Map, Value};

/// What `kcat` prints of a topic: headers and value of each record.
fn kcat(topic: &str) -> Vec<(String, String)> {
    let output = Command::new("kcat")
        .args(["-C", "-b", &kafka(), "-t", topic, "-o", "beginning", "-e", "-q", "-f", "%h\t%s\n"])
        .output()
        .expect("kcat is installed: `tests/run` does that");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| line.split_once('\t').unwrap()).map(|(h, v)| (h.to_owned(), v.to_owned())).collect()
}

/// The fields are those that the published contract tells of.
fn as_published(contract: &Value, topic: &str, value: &str) {
    let message = contract["components"]["messages"].as_object().unwrap().values().find(|it| it["name"] == topic);
    let payload = &message.unwrap_or_else(|| panic!("{topic} is in the contract"))["payload"];
    let fields: Map<String, Value> = serde_json::from_str(value).unwrap();
    for required in payload["required"].as_array().unwrap() {
        assert!(fields.contains_key(required.as_str().unwrap()), "{topic} lacks {required}: {value}");
    }
    for field in fields.keys() {
        assert!(
            payload["properties"].get(field).is_some(),
            "the contract of {topic} does not tell of {field}: {value}"
        );
    }
}

#[tokio::test]
async fn every_public_topic_holds_cloudevents_under_its_exact_name() {
    // The only test without a prefix: the names themselves are what is promised. The story's SKUs are its own, in case the
    // broker has seen this test before.
    let contract: Value = serde_json::from_str(include_str!("../../openapi/asyncapi.json")).unwrap();
    let deployment = Distributed::start_with_prefix(String::new()).await;
    story::play(&Shop::from(&deployment), &uuid::Uuid::new_v4().simple().to_string()).await;
    for (topic, service) in Public::TOPICS {
        let records = kcat(topic);
        assert!(!records.is_empty(), "{topic} flows in the story");
        for (headers, value) in records {
            for attribute in
                ["ce_specversion=1.0", &format!("ce_type={topic}"), &format!("ce_source=/orderlog/{service}")]
            {
                assert!(headers.contains(attribute), "{topic} has {attribute}: {headers}");
            }
            for attribute in
                ["ce_id=", "ce_subject=", "ce_time=", "ce_dataschema=", "ce_sequence=", "ce_correlationid="]
            {
                assert!(headers.contains(attribute), "{topic} has {attribute}: {headers}");
            }
            assert!(headers.contains("content-type=application/json"), "{headers}");
            Public::from_json(topic, value.as_bytes()).unwrap_or_else(|error| panic!("{topic}: {error}: {value}"));
            as_published(&contract, topic, &value);
            assert!(!value.contains('@'), "no personal data in {topic}: {value}");
        }
    }
}
