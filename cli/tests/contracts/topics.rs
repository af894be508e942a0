//! The contract of the public topics: its files, and what consumers of earlier versions can rely on.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs,
};

use expect_test::expect_file;
use orderlog_cli::shop::SHOP;
use orderlog_server::asyncapi;
use serde_json::{Map, Value, json};

use super::{is_checked_in, objects, resolved};

#[test]
fn the_contract_of_the_topics_is_checked_in() {
    is_checked_in(&asyncapi::document(&SHOP), expect_file!["../../../openapi/asyncapi.json"]);
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../openapi/schemas");
    let mut files: BTreeSet<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    for (contract, _) in asyncapi::contracts(&SHOP) {
        let file = format!("{}.json", contract.topic);
        is_checked_in(&contract.document(), expect_file![format!("{folder}/{file}")]);
        files.remove(OsStr::new(&file));
    }
    assert!(files.is_empty(), "topics that do not exist: {files:?}");
}

/// What a reader of `then` can't read in events of `now`: fields may be added, and words to an enumeration; texts may be reworded.
fn incompatible(then: &Value, now: &Value, place: &str, found: &mut Vec<String>) {
    let (Some(before), Some(after)) = (then.as_object(), now.as_object()) else {
        if then != now {
            found.push(format!("{place}: {then} became {now}"));
        }
        return;
    };
    for (keyword, then) in before {
        let (now, place) = (after.get(keyword).unwrap_or(&Value::Null), format!("{place}/{keyword}"));
        match (keyword.as_str(), then, now) {
            ("description", ..) => {}
            ("properties", Value::Object(fields), _) => {
                fields
                    .iter()
                    .for_each(|(name, then)| incompatible(then, &now[name], &format!("{place}/{name}"), found));
            }
            ("required" | "enum", Value::Array(then), Value::Array(now)) if then.iter().all(|it| now.contains(it)) => {}
            _ => incompatible(then, now, &place, found),
        }
    }
    let new = after.keys().filter(|keyword| !before.contains_key(*keyword));
    let narrower = new.filter(|keyword| !["title", "description", "format"].contains(&keyword.as_str()));
    found.extend(narrower.map(|keyword| format!("{place}/{keyword} is new")));
}

#[test]
fn consumers_of_every_released_version_can_read_todays_events() {
    let fixtures = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures")).unwrap();
    let documents = fixtures.map(|entry| entry.unwrap().path().join("asyncapi.json")).filter(|file| file.exists());
    let documents: Vec<Value> =
        documents.map(|file| serde_json::from_slice(&fs::read(file).unwrap()).unwrap()).collect();
    assert!(!documents.is_empty());
    let contracts: BTreeMap<_, _> =
        asyncapi::contracts(&SHOP).map(|(contract, _)| (contract.name(), contract)).collect();
    for released in documents {
        for (name, message) in released["components"]["messages"].as_object().unwrap() {
            let contract = contracts.get(name).unwrap_or_else(|| panic!("{name} is published no longer"));
            let mut found = Vec::new();
            incompatible(resolved(&released, &message["payload"]), &contract.payload, name, &mut found);
            assert!(found.is_empty(), "{found:#?}");
        }
    }
}

#[test]
fn a_change_that_breaks_a_consumer_is_found() {
    let contract =
        asyncapi::contracts(&SHOP).map(|(contract, _)| contract).find(|it| it.topic == "order.rejected").unwrap();
    let then = contract.payload;
    let found = |change: fn(&mut Value)| {
        let (mut now, mut found) = (then.clone(), Vec::new());
        change(&mut now);
        incompatible(&then, &now, "", &mut found);
        found.len()
    };
    assert_eq!(found(|now| now["properties"]["note"] = json!({ "type": "string" })), 0, "a field more");
    assert_eq!(found(|now| now["description"] = "Reworded.".into()), 0);
    assert_eq!(found(|now| now["properties"]["order_id"]["type"] = "integer".into()), 1);
    assert_eq!(found(|now| drop(now["properties"].as_object_mut().unwrap().remove("order_id"))), 1);
    assert_eq!(found(|now| drop(now["required"].as_array_mut().unwrap().pop())), 1, "a field that may be missing");
    assert_eq!(found(|now| now["properties"]["order_id"]["maxLength"] = 3.into()), 1);
    let words = "/properties/reason/enum";
    assert!(then.pointer(words).is_some(), "{then:#}");
    assert_eq!(
        found(|now| now.pointer_mut("/properties/reason/enum").unwrap().as_array_mut().unwrap().push("new".into())),
        0
    );
    assert_eq!(found(|now| drop(now.pointer_mut("/properties/reason/enum").unwrap().as_array_mut().unwrap().pop())), 1);
}

#[test]
fn schemas_with_one_name_are_the_same() {
    let mut named = BTreeMap::new();
    let documents: Vec<_> = asyncapi::contracts(&SHOP).map(|(contract, _)| contract.payload).collect();
    let mut found = Vec::new();
    documents.iter().for_each(|document| objects(document, "", &mut found));
    for (place, schema) in found {
        if let (Some(title), Some(_)) = (schema.get("title").and_then(Value::as_str), schema.get("type")) {
            let without_words: Map<_, _> =
                schema.clone().into_iter().filter(|(keyword, _)| keyword != "description").collect();
            let first = named.entry(title.to_owned()).or_insert_with(|| without_words.clone());
            assert_eq!(*first, without_words, "{title} at {place}");
        }
    }
    assert!(named.len() > 15, "{named:?}");
}
