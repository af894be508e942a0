//! Replaces schemas of the framework by forms that every client generator understands
//! ([docs/clients.md](../../../docs/clients.md)). Nothing changes on the wire.

use serde_json::{Value, json};

use super::schemas;

/// Unsigned formats, and the signed ones that hold every value that orderlog sends. OpenAPI 3.0 has only the latter:
/// generators read unknown formats as 32 bits, too few for an offset or a version.
const FORMATS: [(&str, &str); 3] = [("uint16", "int32"), ("uint32", "int64"), ("uint64", "int64")];

pub fn all(document: &mut Value) {
    schemas::each(document, &mut |schema| {
        described_beside(schema);
        signed(schema);
    });
}

/// Moves a description out of `allOf`: generators take a part that is only a description for a second type, and drop the
/// property or name the combination like another schema.
fn described_beside(schema: &mut Value) {
    let Some(parts) = schema.get_mut("allOf").and_then(Value::as_array_mut) else { return };
    let mut description = None;
    parts.retain(|part| {
        let only = part.as_object().filter(|members| members.len() == 1).and_then(|members| members.get("description"));
        description = only.cloned().or_else(|| description.take());
        only.is_none()
    });
    if let Some(description) = description
        && schema.get("description").is_none()
    {
        schema["description"] = description;
    }
}

/// Replaces an unsigned format by a signed one with a lower bound, and names the format of an integer that has none.
fn signed(schema: &mut Value) {
    if schema["type"] != "integer" {
        return;
    }
    let format = schema.get("format").and_then(Value::as_str);
    if let Some((_, signed)) = FORMATS.iter().find(|(unsigned, _)| format == Some(unsigned)) {
        schema["format"] = json!(signed);
        if schema.get("minimum").is_none() {
            schema["minimum"] = json!(0);
        }
    } else if format.is_none() {
        schema["format"] = json!("int64");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn portable(schema: Value) -> Value {
        let mut document = json!({ "schema": schema });
        all(&mut document);
        document["schema"].take()
    }

    #[test]
    fn a_description_stands_beside_the_reference_that_it_describes() {
        let reference = json!({ "$ref": "#/x" });
        assert_eq!(
            portable(json!({ "allOf": [reference, { "description": "inner" }] })),
            json!({ "allOf": [reference], "description": "inner" })
        );
        assert_eq!(
            portable(json!({ "allOf": [reference, { "description": "inner" }], "description": "outer" })),
            json!({ "allOf": [reference], "description": "outer" })
        );
        let two = json!({ "allOf": [reference, { "type": "object", "description": "with members of its own" }] });
        assert_eq!(portable(two.clone()), two);
    }

    #[test]
    fn unsigned_integers_are_signed_ones_that_hold_them() {
        for (unsigned, signed) in FORMATS {
            assert_eq!(
                portable(json!({ "type": "integer", "format": unsigned })),
                json!({ "type": "integer", "format": signed, "minimum": 0 })
            );
        }
        let limit = json!({ "type": "integer", "format": "uint32", "minimum": 1, "maximum": 100 });
        assert_eq!(portable(limit)["minimum"], 1, "a bound of its own stays");
        assert_eq!(portable(json!({ "type": "integer" }))["format"], "int64");
        let text = json!({ "type": "string", "format": "date-time" });
        assert_eq!(portable(text.clone()), text);
    }
}
