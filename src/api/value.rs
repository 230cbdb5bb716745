//! Records as D-Bus values and back: one schema for the bus and for `--json`.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Result, bail, ensure};
use serde::ser::{Error, Serialize, SerializeMap, SerializeStruct, Serializer};
use serde_json::Value;
use zbus::wire::Signature;
use zbus::{OwnedVariant, Type, Variant};

use crate::sorted::InOrder;

/// A dictionary of the bus, `a{sv}`.
pub type Dictionary = HashMap<String, OwnedVariant>;

/// The most bytes of JSON in one answer of a front end: somewhat more than the largest record that it reads.
pub const MAX_ANSWER: usize = 3 * 1024 * 1024;

/// A JSON object as an answer of the bus, `a{sv}`: text is `s`, truth `b`, a whole number `t`, a list of texts `as`, a
/// list of objects `aa{sv}`, an object `a{sv}`. `null` has no counterpart on the bus and is left out. It is written
/// without a copy of it in the bus's own types, which would take several times its memory.
#[derive(Debug, Clone)]
pub struct Record(Arc<Value>);

/// A list of such objects, `aa{sv}`.
#[derive(Debug, Clone)]
pub struct Records(Arc<Value>);

impl Record {
    /// The answer; an error when it is no object, or larger than [`MAX_ANSWER`].
    pub fn new(value: Value) -> Result<Self> {
        ensure!(value.is_object(), "not an object");
        ensure_fits(&value)?;
        Ok(Self(Arc::new(value)))
    }
}

impl Records {
    /// The answer; an error when it is larger than [`MAX_ANSWER`].
    pub fn new(records: Vec<Value>) -> Result<Self> {
        ensure!(
            records.iter().all(Value::is_object),
            "not a list of objects"
        );
        let value = Value::Array(records);
        ensure_fits(&value)?;
        Ok(Self(Arc::new(value)))
    }
}

/// How many bytes a value has as JSON.
pub fn length(value: &Value) -> usize {
    struct Counted(usize);
    impl std::io::Write for Counted {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut counted = Counted(0);
    let _ = serde_json::to_writer(&mut counted, value);
    counted.0
}

fn ensure_fits(value: &Value) -> Result<()> {
    let length = length(value);
    ensure!(
        length <= MAX_ANSWER,
        "the answer would have {length} bytes, but the service sends at most {MAX_ANSWER}; as root, read the files \
         in /var/lib/linux_patch_api"
    );
    Ok(())
}

impl Type for Record {
    const SIGNATURE: &'static Signature = <Dictionary as Type>::SIGNATURE;
}

impl Type for Records {
    const SIGNATURE: &'static Signature = <Vec<Dictionary> as Type>::SIGNATURE;
}

impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Bare(&self.0).serialize(serializer)
    }
}

impl Serialize for Records {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Value::Array(records) = &*self.0 else {
            return Err(S::Error::custom("not a list"));
        };
        serializer.collect_seq(records.iter().map(Bare))
    }
}

/// A value by itself, whose type the message says elsewhere.
struct Bare<'a>(&'a Value);

impl Serialize for Bare<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Null => Err(S::Error::custom("null has no type on the bus")),
            Value::Bool(truth) => serializer.serialize_bool(*truth),
            Value::Number(number) => match number.as_u64() {
                Some(number) => serializer.serialize_u64(number),
                None => Err(S::Error::custom(format!("{number} is not a whole number"))),
            },
            Value::String(text) => serializer.serialize_str(text),
            Value::Array(items) => serializer.collect_seq(items.iter().map(Bare)),
            Value::Object(fields) => {
                let shown = || fields.iter().filter(|(_, value)| !value.is_null());
                let mut map = serializer.serialize_map(Some(shown().count()))?;
                for (key, value) in shown() {
                    map.serialize_entry(key, &Typed(value))?;
                }
                map.end()
            }
        }
    }
}

/// A value with its type, `v`, in the form in which zbus writes its own variants.
struct Typed<'a>(&'a Value);

impl Serialize for Typed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let signature = match self.0 {
            Value::Bool(_) => bool::SIGNATURE,
            Value::Number(_) => u64::SIGNATURE,
            Value::Null | Value::String(_) => String::SIGNATURE,
            Value::Array(items) if items.iter().all(Value::is_string) => <Vec<String>>::SIGNATURE,
            Value::Array(items) if items.iter().all(Value::is_object) => Records::SIGNATURE,
            Value::Array(_) => return Err(S::Error::custom("a list of texts and objects")),
            Value::Object(_) => Record::SIGNATURE,
        };
        let mut variant = serializer.serialize_struct("Variant", 2)?;
        variant.serialize_field("signature", signature)?;
        variant.serialize_field("value", &Bare(self.0))?;
        variant.end()
    }
}

/// A JSON object as a dictionary, for the options of a call; in the same types as a [`Record`].
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

    /// What a caller gets of an answer.
    fn received(answer: &(impl Serialize + zbus::DynamicType)) -> zbus::Message {
        let call = zbus::Message::method_call("/a", "B").build(&()).unwrap();
        zbus::Message::method_return(&call.header())
            .build(answer)
            .unwrap()
    }

    #[test]
    fn an_answer_arrives_as_the_record_is() {
        let record = json!({
            "id": "x", "count": 3, "done": true, "names": ["a", "b"], "none": [],
            "changes": [{"package": "a", "to": "2"}, {"package": "b"}],
            "inner": {"k": "v", "deep": {"list": [{"n": 1}]}, "empty": {}},
        });
        let answer = Record::new(record.clone()).unwrap();
        let message = received(&answer);
        let arrived: Dictionary = message.body().deserialize().unwrap();
        assert_eq!(object(&arrived), record);
        let list = Records::new(vec![record.clone(), json!({"a": null, "b": 1}), json!({})]);
        let message = received(&list.unwrap());
        let arrived: Vec<Dictionary> = message.body().deserialize().unwrap();
        let arrived: Vec<Value> = arrived.iter().map(object).collect();
        assert_eq!(arrived, [record, json!({"b": 1}), json!({})]);
        let none = received(&Records::new(Vec::new()).unwrap());
        let none: Vec<Dictionary> = none.body().deserialize().unwrap();
        assert!(none.is_empty());
    }

    #[test]
    fn an_answer_has_a_limit() {
        assert_eq!(length(&json!({"a": [1, "x"]})), 13);
        let large = json!({"a": "x".repeat(MAX_ANSWER)});
        let error = Record::new(large.clone()).unwrap_err().to_string();
        assert!(error.contains("3145736 bytes"), "{error}");
        assert!(Records::new(vec![large]).is_err());
        assert!(Record::new(json!([])).is_err());
    }

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
