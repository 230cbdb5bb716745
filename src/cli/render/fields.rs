//! The fields of a record: read where they are there, and worded.

use serde_json::Value;

/// A text of a record; empty when it is not there.
pub fn text<'a>(record: &'a Value, key: &str) -> &'a str {
    record[key].as_str().unwrap_or("")
}

/// A list of texts.
pub fn texts<'a>(record: &'a Value, key: &str) -> Vec<&'a str> {
    let items = list(record, key);
    items.filter_map(Value::as_str).collect()
}

/// The items of a list; none when it is not there.
pub fn list<'a>(record: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    record[key].as_array().into_iter().flatten()
}

/// A number; zero when it is not there.
pub fn number(record: &Value, key: &str) -> u64 {
    record[key].as_u64().unwrap_or(0)
}

/// So many of something, in English.
pub fn count(number: u64, one: &str) -> String {
    if number == 1 {
        format!("1 {one}")
    } else {
        format!("{number} {one}s")
    }
}

/// A package with its architecture, and that which it had before, where that was another one.
pub fn name(of: &Value) -> String {
    let (package, architecture) = (text(of, "package"), text(of, "architecture"));
    match text(of, "former_architecture") {
        "" => format!("{package}:{architecture}"),
        former => format!("{package}:{architecture} (was {former})"),
    }
}
