//! What the D-Bus service answers, as far as it is shown. The service may be of another version: a member that it does
//! not give has its default here, and one that is not known here is ignored.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::word::Word;
use crate::health::Health;
use crate::package::KeptBackCause;
use crate::request::Kind;
use crate::state::cache::CacheStatus;
use crate::state::job::JobStatus;
use crate::state::services::RestartState;
use crate::state::update::Phase;

/// A value of an answer.
pub trait Answer: Default {
    /// Reads it from JSON; an error names the member and what it should be.
    fn read(value: &Value) -> Result<Self>;
}

/// Declares the types of answers, and reads each member by its name. serde's derive, which also reads what no service
/// sends (lists in the place of objects, members by number), takes 48 kB more of the program (measured on amd64).
macro_rules! answers {
    ($($(#[$about:meta])* pub struct $name:ident { $(pub $member:ident: $type:ty,)* })*) => {$(
        $(#[$about])*
        #[derive(Debug, Clone, Default)]
        #[cfg_attr(test, derive(serde::Serialize))]
        pub struct $name {
            $(pub $member: $type,)*
        }

        impl Answer for $name {
            fn read(value: &Value) -> Result<Self> {
                let _members = value.as_object().context("is not an object")?;
                Ok(Self {
                    $($member: member(_members, stringify!($member))?,)*
                })
            }
        }
    )*};
}

/// A member of an object; its default where the object lacks it or says `null`.
fn member<T: Answer>(members: &Map<String, Value>, name: &'static str) -> Result<T> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(T::default()),
        Some(value) => T::read(value).context(name),
    }
}

impl Answer for String {
    fn read(value: &Value) -> Result<Self> {
        Ok(value.as_str().context("is not a text")?.to_owned())
    }
}

impl Answer for bool {
    fn read(value: &Value) -> Result<Self> {
        value.as_bool().context("is not true or false")
    }
}

impl Answer for u64 {
    fn read(value: &Value) -> Result<Self> {
        value.as_u64().context("is not a number")
    }
}

impl Answer for u32 {
    fn read(value: &Value) -> Result<Self> {
        Ok(Self::try_from(u64::read(value)?)?)
    }
}

impl Answer for Option<DateTime<Utc>> {
    fn read(value: &Value) -> Result<Self> {
        let text = value.as_str().context("is not a time")?;
        let time = DateTime::parse_from_rfc3339(text).context("is not a time")?;
        Ok(Some(time.to_utc()))
    }
}

impl<T: DeserializeOwned> Answer for Word<T> {
    fn read(value: &Value) -> Result<Self> {
        Ok(Self::of(value.as_str().context("is not a text")?))
    }
}

impl<T: Answer> Answer for Vec<T> {
    fn read(value: &Value) -> Result<Self> {
        let items = value.as_array().context("is not a list")?;
        items.iter().map(T::read).collect()
    }
}

impl Answer for BTreeMap<String, String> {
    fn read(value: &Value) -> Result<Self> {
        let members = value.as_object().context("is not an object")?;
        let member = |(name, value): (&String, &Value)| Ok((name.clone(), String::read(value)?));
        members.iter().map(member).collect()
    }
}

/// What may be missing, and is of one of these types.
macro_rules! optional {
    ($($type:ty)*) => {$(
        impl Answer for Option<$type> {
            fn read(value: &Value) -> Result<Self> {
                Ok(Some(Answer::read(value)?))
            }
        }
    )*};
}

optional!(String bool u32 u64 ShutdownAnswer RebuiltAnswer RollbackAnswer RebootAnswer);

answers! {
    /// The status of a host: `CheckHealth`, `GetHealth`.
    pub struct StatusAnswer {
        pub status: Word<Health>,
        pub reasons: Vec<String>,
        pub alerts: Vec<AlertAnswer>,
        pub version: String,
        pub backend: String,
        pub cache_status: Word<CacheStatus>,
        pub last_cache_update: Option<DateTime<Utc>>,
        pub last_cache_error: String,
        pub sources: Vec<SourceAnswer>,
        pub notes: Vec<String>,
        pub pending_updates: u64,
        pub pending_security_updates: u64,
        pub pending_new_packages: u64,
        pub kept_back_security_updates: u64,
        pub pending_since: Option<DateTime<Utc>>,
        pub kept_back: Vec<KeptBackAnswer>,
        pub phase: Word<Phase>,
        pub target: String,
        pub current_job: String,
        pub progress: u64,
        pub action: String,
        pub queue_length: u64,
        pub deferred_jobs: Vec<DeferredAnswer>,
        pub conflicts: u64,
        pub reboot_reasons: Vec<String>,
        pub scheduled_reboot: Option<DateTime<Utc>>,
        pub scheduled_shutdown: Option<ShutdownAnswer>,
        pub reboot_waits: String,
        pub outdated_services: Vec<OutdatedAnswer>,
    }

    /// An alert of the host.
    pub struct AlertAnswer {
        pub key: String,
        pub since: Option<DateTime<Utc>>,
    }

    /// A package source, and why its last refresh failed.
    pub struct SourceAnswer {
        pub uri: String,
        pub suite: String,
        pub error: String,
    }

    /// An update that is not applied.
    pub struct KeptBackAnswer {
        pub package: String,
        pub cause: Word<KeptBackCause>,
        pub security: bool,
        pub reason: String,
    }

    /// A deferred job.
    pub struct DeferredAnswer {
        pub job: String,
        pub since: Option<DateTime<Utc>>,
        pub error: String,
    }

    /// A scheduled shutdown; `ours` where linux-patch-api has scheduled it.
    pub struct ShutdownAnswer {
        pub mode: String,
        pub at: Option<DateTime<Utc>>,
        pub uid: Option<u32>,
        pub ours: Option<bool>,
    }

    /// A unit that runs replaced files.
    pub struct OutdatedAnswer {
        pub unit: String,
        pub files: Vec<String>,
        pub state: Word<RestartState>,
        pub advice: String,
    }

    /// A pending update: `ListUpdates`, `Plan`.
    pub struct UpdateAnswer {
        pub package: String,
        pub architecture: String,
        pub former_architecture: String,
        pub installed: String,
        pub candidate: String,
        pub origin: String,
        pub security: bool,
        pub size: Option<u64>,
        pub first_seen: Option<DateTime<Utc>>,
        pub advisories: Vec<String>,
    }

    /// What an apply would do: `Plan`.
    pub struct PlanAnswer {
        pub updates: Vec<UpdateAnswer>,
        pub kept_back: Vec<KeptBackAnswer>,
    }

    /// The record of a job: `GetJob`, `ListJobs`. Of a job that no worker has taken yet, it is little more than its id.
    pub struct JobAnswer {
        pub request: RequestAnswer,
        pub status: Word<JobStatus>,
        pub update: JobUpdateAnswer,
        pub progress: u64,
        pub action: String,
        pub started_at: Option<DateTime<Utc>>,
        pub finished_at: Option<DateTime<Utc>>,
        pub changes: Vec<ChangeAnswer>,
        pub kept_back: Vec<KeptBackAnswer>,
        pub notes: Vec<String>,
        pub error: String,
        pub cannot_go_back: Vec<StayedAnswer>,
        pub verification: Vec<CheckAnswer>,
        pub rollback: Option<RollbackAnswer>,
        pub reboot: Option<RebootAnswer>,
        pub outdated_services: Vec<OutdatedAnswer>,
        pub hangs: Vec<HangAnswer>,
    }

    /// The request of a job.
    pub struct RequestAnswer {
        pub id: String,
        pub kind: Word<Kind>,
        pub packages: Vec<String>,
        pub requester: RequesterAnswer,
    }

    /// Who asked for a job, and at which front end.
    pub struct RequesterAnswer {
        pub door: String,
        pub uid: Option<u32>,
        pub login_uid: Option<u32>,
        pub session: Option<String>,
    }

    /// The update of a job.
    pub struct JobUpdateAnswer {
        pub phase: Word<Phase>,
    }

    /// A change of a package; `from` is empty for a new one, `to` for one that is gone.
    pub struct ChangeAnswer {
        pub package: String,
        pub architecture: String,
        pub former_architecture: String,
        pub from: String,
        pub to: String,
        pub rebuilt: Option<RebuiltAnswer>,
    }

    /// That a change brings another build of the same version.
    pub struct RebuiltAnswer {
    }

    /// A package that a rollback leaves as it is.
    pub struct StayedAnswer {
        pub package: String,
        pub version: String,
        pub reason: String,
    }

    /// One check of the verification.
    pub struct CheckAnswer {
        pub name: String,
        pub kind: String,
        pub required: bool,
        pub passed: Option<bool>,
        pub message: String,
    }

    /// How an update was rolled back.
    pub struct RollbackAnswer {
        pub outcome: String,
        pub as_before: bool,
        pub summary: String,
        pub tool: Option<String>,
        pub files: Vec<FilesAnswer>,
        pub sources: BTreeMap<String, String>,
        pub error: Option<String>,
    }

    /// A package whose files were not as its package file has them after the rollback.
    pub struct FilesAnswer {
        pub package: String,
        pub version: String,
        pub missing: Vec<String>,
        pub differing: Vec<String>,
        pub reinstalled: bool,
        pub still_missing: Vec<String>,
        pub unknown: Option<String>,
    }

    /// The reboot that follows a job.
    pub struct RebootAnswer {
        pub reasons: Vec<String>,
    }

    /// A script or a package manager that reported nothing for too long.
    pub struct HangAnswer {
        pub script: String,
        pub command: String,
        pub since: Option<DateTime<Utc>>,
        pub until: Option<DateTime<Utc>>,
    }
}

/// An answer in its type.
pub fn read<T: Answer>(answer: &Value) -> Result<T> {
    T::read(answer).context("the answer of the service cannot be read")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::schema::Schema;
    use serde::Serialize;
    use serde_json::json;

    /// The members of a value that its schema does not declare.
    fn undeclared(value: &Value, schema: &Value, definitions: &Value, found: &mut Vec<String>) {
        let schema = match schema["$ref"].as_str() {
            Some(name) => &definitions[name.trim_start_matches("#/$defs/")],
            None => schema,
        };
        match value {
            Value::Array(items) => {
                let each = items.iter();
                each.for_each(|item| undeclared(item, &schema["items"], definitions, found));
            }
            // sources: by the name of a package
            Value::Object(map) if schema["properties"].is_object() => {
                for (key, value) in map {
                    match schema["properties"].get(key) {
                        Some(schema) => undeclared(value, schema, definitions, found),
                        None => found.push(key.clone()),
                    }
                }
            }
            _ => {}
        }
    }

    fn assert_declared(answer: &impl Serialize, schema: Schema) {
        let (schema, mut found) = (schema.parsed(), Vec::new());
        let answer = serde_json::to_value(answer).unwrap();
        undeclared(&answer, &schema, &schema["$defs"], &mut found);
        assert!(found.is_empty(), "no schema declares {found:?}");
    }

    #[test]
    fn every_member_that_is_shown_is_in_the_schemas() {
        let status = StatusAnswer {
            alerts: vec![AlertAnswer::default()],
            sources: vec![SourceAnswer::default()],
            kept_back: vec![KeptBackAnswer::default()],
            deferred_jobs: vec![DeferredAnswer::default()],
            scheduled_shutdown: Some(ShutdownAnswer::default()),
            outdated_services: vec![OutdatedAnswer::default()],
            ..StatusAnswer::default()
        };
        assert_declared(&status, Schema::Status);
        let plan = PlanAnswer {
            updates: vec![UpdateAnswer::default()],
            kept_back: vec![KeptBackAnswer::default()],
        };
        assert_declared(&plan, Schema::Plan);
        assert_declared(&[UpdateAnswer::default()], Schema::Updates);
        let rollback = RollbackAnswer {
            files: vec![FilesAnswer::default()],
            ..RollbackAnswer::default()
        };
        let change = ChangeAnswer {
            rebuilt: Some(RebuiltAnswer {}),
            ..ChangeAnswer::default()
        };
        let job = JobAnswer {
            changes: vec![change],
            kept_back: vec![KeptBackAnswer::default()],
            cannot_go_back: vec![StayedAnswer::default()],
            verification: vec![CheckAnswer::default()],
            rollback: Some(rollback),
            reboot: Some(RebootAnswer::default()),
            outdated_services: vec![OutdatedAnswer::default()],
            hangs: vec![HangAnswer::default()],
            ..JobAnswer::default()
        };
        assert_declared(&job, Schema::Job);
    }

    #[test]
    fn answers_of_other_versions_are_read() {
        let older: JobAnswer = read(&json!({"request": {"id": "x"}, "status": "queued"})).unwrap();
        assert_eq!(older.status, Word::Known(JobStatus::Queued));
        assert_eq!(older.update.phase.to_string(), "");
        let newer = json!({"status": "postponed", "moon": 1, "update": {"phase": "curing"}});
        let newer: JobAnswer = read(&newer).unwrap();
        assert_eq!(newer.status.to_string(), "postponed");
        assert_eq!(newer.update.phase.to_string(), "curing");
    }
}
