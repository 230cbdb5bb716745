//! What is printed as JSON, held to the schemas that are installed.

use lab::Host;
use serde_json::Value;

/// Where they are installed.
const SCHEMAS: &str = "/usr/share/linux-patch-api/schemas";

/// Holds a value to a schema of the host: every key of it is there and no other, each of the right type.
#[track_caller]
pub fn holds(host: &Host, name: &str, value: &Value) {
    let schema: Value =
        serde_json::from_str(&host.read(&format!("{SCHEMAS}/{name}.json"))).expect("no JSON");
    let mut wrong = Vec::new();
    check(value, &schema, &schema["$defs"], name, &mut wrong);
    assert!(wrong.is_empty(), "{}\n{value:#}", wrong.join("\n"));
}

fn check(value: &Value, schema: &Value, definitions: &Value, at: &str, wrong: &mut Vec<String>) {
    let schema = match schema["$ref"].as_str() {
        Some(name) => &definitions[name.trim_start_matches("#/$defs/")],
        None => schema,
    };
    let types = match &schema["type"] {
        Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
        Value::String(only) => vec![only.as_str()],
        _ => Vec::new(),
    };
    if !types.is_empty() && !types.contains(&type_of(value)) {
        wrong.push(format!("{at} is not of the type {types:?}: {value}"));
    }
    if let Some(values) = schema["enum"].as_array()
        && !values.contains(value)
    {
        wrong.push(format!("{at} is {value}"));
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        check(
            item,
            &schema["items"],
            definitions,
            &format!("{at}[{index}]"),
            wrong,
        );
    }
    let (Some(object), Some(properties)) = (value.as_object(), schema["properties"].as_object())
    else {
        return;
    };
    for (key, schema) in properties {
        match object.get(key) {
            Some(value) => check(value, schema, definitions, &format!("{at}.{key}"), wrong),
            None => wrong.push(format!("{at}.{key} is missing")),
        }
    }
    let unknown = object.keys().filter(|key| !properties.contains_key(*key));
    wrong.extend(unknown.map(|key| format!("{at}.{key} is in no schema")));
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
