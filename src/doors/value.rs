//! Records as D-Bus values and back: one schema for the bus and for `--json`.

use std::collections::HashMap;

use crate::sorted::InOrder;
use anyhow::{Result, bail};
use serde_json::Value;
use zbus::{OwnedVariant, Variant};

/// A dictionary of the bus, `a{sv}`.
pub type Dictionary = HashMap<String, OwnedVariant>;

/// A JSON object as a dictionary: text `s`, truth `b`, whole numbers `t`, lists of text `as`, lists of
/// objects `aa{sv}`, objects `a{sv}`. `null` has no counterpart on the bus and is left out.
pub fn dictionary(value: Value) -> Result<Dictionary> {
    let Value::Object(map) = value else {
        bail!("not an object")
    };
    let mut dictionary = HashMap::with_capacity(map.len());
    for (key, value) in map {
        if let Some(variant) = variant(value)? {
            dictionary.insert(key, variant.try_into()?);
        }
    }
    Ok(dictionary)
}

fn variant(value: Value) -> Result<Option<Variant<'static>>> {
    Ok(Some(match value {
        Value::Null => return Ok(None),
        Value::Bool(truth) => truth.into(),
        Value::Number(number) => match number.as_u64() {
            Some(number) => number.into(),
            None => bail!("{number} is not a whole number"),
        },
        Value::String(text) => text.into(),
        Value::Array(items) if items.iter().all(Value::is_string) => {
            let texts = items.into_iter().filter_map(|item| match item {
                Value::String(text) => Some(text),
                _ => None,
            });
            texts.collect::<Vec<String>>().into()
        }
        Value::Array(items) => items
            .into_iter()
            .map(dictionary)
            .collect::<Result<Vec<Dictionary>>>()?
            .into(),
        object @ Value::Object(_) => dictionary(object)?.into(),
    }))
}

/// A value of the bus as JSON.
pub fn json(variant: &Variant<'_>) -> Value {
    match variant {
        Variant::Bool(truth) => Value::from(*truth),
        Variant::U32(number) => Value::from(*number),
        Variant::U64(number) => Value::from(*number),
        Variant::Str(text) => Value::from(text.as_str()),
        Variant::Variant(inner) => json(inner),
        Variant::Array(items) => items.inner().iter().map(json).collect(),
        Variant::Dict(entries) => {
            let entry = |(key, value): (&Variant<'_>, &Variant<'_>)| match key {
                Variant::Str(key) => Some((key.as_str().to_owned(), json(value))),
                _ => None,
            };
            Value::Object(entries.iter().filter_map(entry).in_order())
        }
        other => Value::from(other.to_string()),
    }
}

/// A dictionary of the bus as JSON, its keys in order.
pub fn object(dictionary: &Dictionary) -> Value {
    let entries = dictionary.iter();
    Value::Object(
        entries
            .map(|(key, value)| (key.clone(), json(value)))
            .in_order(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_record_comes_back_as_it_went() {
        let record = json!({
            "id": "x", "count": 3, "done": true, "names": ["a", "b"], "none": [],
            "changes": [{"package": "a", "to": "2"}, {"package": "b"}], "inner": {"k": "v"},
        });
        assert_eq!(object(&dictionary(record.clone()).unwrap()), record);
        let holes = dictionary(json!({"a": null, "b": "c"})).unwrap();
        assert_eq!(object(&holes), json!({"b": "c"}));
        assert!(dictionary(json!([1])).is_err());
        assert!(dictionary(json!({"a": -1})).is_err());
    }
}
