//! The schemas of what is printed as JSON: every key of them is there, null or empty where nothing is known.

use serde_json::{Map, Value};

use crate::sorted::InOrder;

/// What is printed as JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schema {
    /// `status`
    Status,
    /// `health`
    Health,
    /// `updates`
    Updates,
    /// `plan`
    Plan,
    /// The record of a job: `log`, `wait`, and what waits for a job.
    Job,
    /// Lists of records: `jobs`, `queue`, `conflicts`.
    Jobs,
}

impl Schema {
    /// Adds what is missing: the bus has no null, and a record leaves out what is empty.
    pub fn complete(self, mut value: Value) -> Value {
        // Jobs is a list of what Job is
        if let (Self::Jobs, Value::Array(records)) = (self, &mut value) {
            let records = std::mem::take(records);
            return records
                .into_iter()
                .map(|record| Self::Job.complete(record))
                .collect();
        }
        let schema = self.parsed();
        fill(&mut value, &schema, &schema["$defs"]);
        value
    }

    /// The keys of this schema alone.
    pub fn only(self, value: &Value) -> Value {
        let schema = self.parsed();
        let keys = schema["properties"]
            .as_object()
            .into_iter()
            .flat_map(Map::keys);
        let of = |key: &String| value.get(key).cloned().unwrap_or(Value::Null);
        Value::Object(keys.map(|key| (key.clone(), of(key))).in_order())
    }

    pub(super) fn parsed(self) -> Value {
        let text = match self {
            Self::Status => include_str!("../../units/schemas/status.json"),
            Self::Health => include_str!("../../units/schemas/health.json"),
            Self::Updates => include_str!("../../units/schemas/updates.json"),
            Self::Plan => include_str!("../../units/schemas/plan.json"),
            Self::Job | Self::Jobs => include_str!("../../units/schemas/job.json"),
        };
        // a test reads each of them
        serde_json::from_slice(text.as_bytes()).unwrap_or_default()
    }
}

/// Puts the default of the schema in the place of each key that is missing, null where it has none.
fn fill(value: &mut Value, schema: &Value, definitions: &Value) {
    let schema = match schema["$ref"].as_str() {
        Some(name) => &definitions[name.trim_start_matches("#/$defs/")],
        None => schema,
    };
    match value {
        Value::Array(items) => {
            for item in items {
                fill(item, &schema["items"], definitions);
            }
        }
        Value::Object(map) => {
            for (key, schema) in schema["properties"].as_object().into_iter().flatten() {
                let missing = || schema.get("default").cloned().unwrap_or(Value::Null);
                fill(
                    map.entry(key.clone()).or_insert_with(missing),
                    schema,
                    definitions,
                );
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::status::HostStatus;
    use crate::package::{Change, Pending, Update};
    use crate::request::{Request, Requester};
    use crate::state::job::Job;
    use serde_json::json;

    fn keys(value: &Value) -> Vec<&String> {
        value.as_object().unwrap().keys().collect()
    }

    #[test]
    fn every_key_of_a_record_is_in_its_schema() {
        let declared = |schema: Schema, at: &str| schema.parsed().pointer(at).unwrap().clone();
        let picture = HostStatus::default().json();
        assert_eq!(
            keys(&picture),
            keys(&declared(Schema::Status, "/properties"))
        );
        let update = serde_json::to_value(Update::default()).unwrap();
        assert_eq!(
            keys(&update),
            keys(&declared(Schema::Updates, "/items/properties"))
        );
        let plan = serde_json::to_value(Pending::default()).unwrap();
        assert_eq!(keys(&plan), keys(&declared(Schema::Plan, "/properties")));
        let job = Job::new(Request::refresh(Requester::at("dbus", None)).unwrap());
        let job = serde_json::to_value(job).unwrap();
        let known = declared(Schema::Job, "/properties");
        for key in keys(&job) {
            assert!(known.get(key).is_some(), "{key}");
        }
        let change = serde_json::to_value(Change::default()).unwrap();
        for key in keys(&change) {
            let at = format!("/$defs/change/properties/{key}");
            assert!(declared(Schema::Job, &at).is_object(), "{key}");
        }
    }

    #[test]
    fn what_the_bus_leaves_out_is_there() {
        let given = json!([{"request": {"id": "x"}, "changes": [{"package": "a"}], "later": 1}]);
        let record = &Schema::Jobs.complete(given)[0];
        for (at, expected) in [
            ("/changes/0/from", Value::Null),
            ("/changes/0/package", "a".into()),
            ("/error", Value::Null),
            ("/hangs", json!([])),
            ("/later", 1.into()),
            ("/request/requester/uid", Value::Null),
            ("/rollback", Value::Null),
            ("/update/attempt_count", 0.into()),
        ] {
            assert_eq!(record.pointer(at), Some(&expected), "{at}");
        }
        let health = Schema::Health.only(&json!({"status": "healthy", "more": 1}));
        assert_eq!(health["last_cache_update"], Value::Null);
        assert_eq!(keys(&health).len(), 5);
    }
}
