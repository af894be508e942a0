//! The shape of a body: compares it with the schema in the contract, and replaces invalid parts, so that the other values can be
//! validated too.
//!
//! Only types, names and required members are compared here. Bounds and patterns are left to [`Checked`](super::Checked), which has
//! separate codes for them. Objects are closed, as the contract states for requests. Numbers stay texts, since a float loses digits.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Write},
};

use poem_openapi::registry::{MetaSchema, MetaSchemaRef};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::{Value, value::RawValue};
use uuid::Uuid;

use super::{
    escaped,
    number::{Number, number},
};
use crate::problem::{Code, Faults, codes};

/// A schema that accepts anything.
static ANY: MetaSchema = MetaSchema::ANY;

/// A body being compared with its schema.
pub struct Shape<'s> {
    schemas: &'s BTreeMap<String, MetaSchema>,
    pointer: String,
    /// The faults so far.
    pub faults: Faults,
    /// The places of the faults, as JSON pointers.
    wrong: BTreeSet<String>,
    /// The body with a placeholder of the right shape for each fault. Incomplete once there are more faults than are kept.
    pub mended: String,
    /// Whether a name has an escape that is not a character, which is only found when the name is read.
    pub has_bad_escape: bool,
}

impl<'s> Shape<'s> {
    /// Compares a body with its schema; `schemas` has the schemas that it refers to.
    pub fn compared(schemas: &'s BTreeMap<String, MetaSchema>, schema: &'s MetaSchemaRef, body: &RawValue) -> Self {
        let (faults, wrong) = (Faults::default(), BTreeSet::new());
        let mut shape =
            Self { schemas, pointer: "#".to_owned(), faults, wrong, mended: String::new(), has_bad_escape: false };
        shape.value(schema, body.get());
        shape
    }

    /// Whether the value at this place, or one around it, was replaced.
    pub fn has_mended(&self, pointer: &str) -> bool {
        let mut ends = pointer.match_indices('/').map(|(end, _)| end).chain([pointer.len()]);
        ends.any(|end| self.wrong.contains(&pointer[..end]))
    }

    fn value(&mut self, schema: &'s MetaSchemaRef, text: &str) {
        let schema = self.resolved(schema);
        match (expected(schema, text), schema.ty) {
            (Some(expected), _) => self.mend(schema, codes::WRONG_TYPE, &format!("expected {expected}")),
            (None, "object") => self.object(schema, text),
            (None, "array") => self.array(schema, text),
            (None, _) => self.keep(text),
        }
    }

    /// Resolves references. A reference with a description beside it is an `allOf`.
    fn resolved(&self, schema: &'s MetaSchemaRef) -> &'s MetaSchema {
        match schema {
            MetaSchemaRef::Reference(name) => self.schemas.get(name).unwrap_or(&ANY),
            MetaSchemaRef::Inline(schema) => schema.all_of.first().map_or(schema, |part| self.resolved(part)),
        }
    }

    fn object(&mut self, schema: &'s MetaSchema, text: &str) {
        // It was scanned as JSON before, so only escapes in names may be wrong.
        let Ok(Members(members)) = serde_json::from_str(text) else {
            self.has_bad_escape = true;
            return;
        };
        let mut seen = BTreeSet::new();
        self.keep("{");
        for (name, value) in members {
            let known = schema.properties.iter().find(|(known, _)| *known == name);
            self.within(escaped(&name), |shape| match known {
                None => shape.fault(codes::UNKNOWN_FIELD, "there is no such field"),
                Some((name, _)) if !seen.insert(*name) => {
                    shape.fault(codes::DUPLICATE_FIELD, "this field is repeated");
                }
                // An optional member may be null.
                Some((name, _)) if value.get() == "null" && !schema.required.contains(name) => {
                    shape.name(name);
                    shape.keep("null");
                }
                Some((name, property)) => {
                    shape.name(name);
                    shape.value(property, value.get());
                }
            });
        }
        self.missing(schema, &seen);
        self.keep("}");
    }

    fn missing(&mut self, schema: &'s MetaSchema, seen: &BTreeSet<&str>) {
        let is_missing = |name: &&str| schema.required.contains(name) && !seen.contains(name);
        for (name, property) in schema.properties.iter().filter(|(name, _)| is_missing(name)) {
            self.name(name);
            let property = self.resolved(property);
            self.within(escaped(name), |shape| shape.mend(property, codes::MISSING_FIELD, "this field is missing"));
        }
    }

    fn array(&mut self, schema: &'s MetaSchema, text: &str) {
        let items: Vec<&RawValue> = serde_json::from_str(text).unwrap_or_default();
        self.keep("[");
        for (i, item) in items.into_iter().enumerate() {
            self.separate('[');
            self.within(i, |shape| match &schema.items {
                Some(schema) => shape.value(schema, item.get()),
                None => shape.keep(item.get()),
            });
        }
        self.keep("]");
    }

    /// Adds a fault, and a placeholder that the schema accepts, as far as serde checks it.
    fn mend(&mut self, schema: &'s MetaSchema, code: Code, detail: &str) {
        self.fault(code, detail);
        if schema.ty == "object" && !self.faults.is_full() {
            self.keep("{");
            self.missing(schema, &BTreeSet::new());
            return self.keep("}");
        }
        self.keep(match (schema.ty, schema.enum_items.first()) {
            ("array", _) => "[]",
            ("boolean", _) => "false",
            ("integer", _) => "0",
            ("string", Some(name)) => return self.keep(&name.to_string()),
            ("string", _) if schema.format == Some("uuid") => "\"00000000-0000-0000-0000-000000000000\"",
            ("string", _) => "\"\"",
            _ => "null",
        });
    }

    /// Adds a fault, unless there is one here or around it already. Faults that are only counted use no memory.
    fn fault(&mut self, code: Code, detail: &str) {
        if self.faults.is_full() || !self.has_mended(&self.pointer) {
            self.faults.add(&self.pointer, code, detail);
        }
        if !self.faults.is_full() {
            self.wrong.insert(self.pointer.clone());
        }
    }

    fn within(&mut self, segment: impl fmt::Display, compare: impl FnOnce(&mut Self)) {
        let length = self.pointer.len();
        // Writing into a string cannot fail.
        write!(self.pointer, "/{segment}").ok();
        compare(self);
        self.pointer.truncate(length);
    }

    fn name(&mut self, name: &str) {
        self.separate('{');
        self.keep(&format!("\"{name}\":"));
    }

    fn separate(&mut self, opening: char) {
        if !self.mended.ends_with(opening) {
            self.keep(",");
        }
    }

    /// Appends to the mended body, as long as its values will be validated.
    fn keep(&mut self, text: &str) {
        if !self.faults.is_full() {
            self.mended.push_str(text);
        }
    }
}

/// Describes the expected type, if the value has another one.
fn expected(schema: &MetaSchema, text: &str) -> Option<String> {
    let (is_right, expected) = match (schema.ty, schema.format) {
        ("object", _) => (text.starts_with('{'), "an object"),
        ("array", _) => (text.starts_with('['), "an array"),
        ("boolean", _) => (["true", "false"].contains(&text), "a boolean"),
        ("integer", format) => return integer(format.unwrap_or("int64"), text).map(str::to_owned),
        ("string", Some("uuid")) => (serde_json::from_str::<Uuid>(text).is_ok(), "a UUID"),
        ("string", _) if schema.enum_items.is_empty() => (text.starts_with('"'), "a string"),
        ("string", _) => {
            let name = serde_json::from_str::<String>(text).map(Value::from);
            let is_right = name.is_ok_and(|name| schema.enum_items.contains(&name));
            let names = schema.enum_items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("`, `");
            return (!is_right).then(|| format!("one of `{names}`"));
        }
        _ => (true, ""),
    };
    (!is_right).then(|| expected.to_owned())
}

fn integer(format: &str, text: &str) -> Option<&'static str> {
    if !text.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
        return Some("a whole number");
    }
    let n_bits: u32 = format.trim_start_matches(char::is_alphabetic).parse().unwrap_or(64);
    let range = if format.starts_with('u') { 0..1 << n_bits } else { -1 << (n_bits - 1)..1 << (n_bits - 1) };
    match number(text) {
        Number::Whole(whole) if range.contains(&whole) => None,
        Number::Whole(_) | Number::OutOfRange => Some("a whole number within the range of a 64-bit integer"),
        Number::Fraction => Some("a whole number, without a fraction"),
    }
}

/// The members of an object in order, including duplicates.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members(Vec::new()))
    }
}

impl<'de> Visitor<'de> for Members<'de> {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self, A::Error> {
        while let Some(member) = map.next_entry()? {
            self.0.push(member);
        }
        Ok(self)
    }
}
