//! The two interfaces that are offered: their names, their texts, their errors; pure.

use serde_json::{Value, json};

use super::message;
use crate::VERSION;
use crate::api::inquire::PlannerRefusal;
use crate::journal::plain;
use crate::queue::KeyUsed;
use crate::queue::inquiry::TooMany;
use crate::request::JobId;

/// Our interface. A dash, since a name of Varlink may have no underscore.
pub const INTERFACE: &str = "org.linux-patch.Agent1";

/// Its text.
pub const DESCRIPTION: &str = include_str!("../../../units/varlink/org.linux-patch.Agent1.varlink");

/// What every service has.
pub const SERVICE: &str = "org.varlink.service";

/// The text of that.
pub const SERVICE_DESCRIPTION: &str = "\
# What every Varlink service has.
interface org.varlink.service

method GetInfo() -> (
  vendor: string,
  product: string,
  version: string,
  url: string,
  interfaces: []string
)

method GetInterfaceDescription(interface: string) -> (description: string)

error InterfaceNotFound(interface: string)
error MethodNotFound(method: string)
error MethodNotImplemented(method: string)
error InvalidParameter(parameter: string)
error PermissionDenied()
error ExpectedMore()
";
/// The answer to `GetInfo`.
pub fn info() -> Value {
    json!({
        "vendor": "linux-patch-api contributors",
        "product": "linux-patch-api",
        "version": VERSION,
        "url": "man:patch-request.socket(8)",
        "interfaces": [SERVICE, INTERFACE],
    })
}

/// Why a call is not answered as it was meant.
#[derive(Debug, PartialEq, Eq)]
pub enum VarlinkError {
    InterfaceNotFound(String),
    MethodNotFound(String),
    MethodNotImplemented(String),
    InvalidParameter(String),
    InvalidRequest(String),
    NotAuthorised(String),
    NoSuchJob(JobId),
    Busy(String),
    TooManyConnections(usize),
    Failed(String),
}

impl VarlinkError {
    /// The error, ready to be sent; it is short, whatever it is about.
    pub fn message(&self) -> Vec<u8> {
        let (interface, name, parameters) = match self {
            Self::InterfaceNotFound(name) => {
                (SERVICE, "InterfaceNotFound", json!({"interface": name}))
            }
            Self::MethodNotFound(name) => (SERVICE, "MethodNotFound", json!({"method": name})),
            Self::MethodNotImplemented(name) => {
                (SERVICE, "MethodNotImplemented", json!({"method": name}))
            }
            Self::InvalidParameter(name) => {
                (SERVICE, "InvalidParameter", json!({"parameter": name}))
            }
            Self::InvalidRequest(why) => {
                (INTERFACE, "InvalidRequest", json!({"reason": plain(why)}))
            }
            Self::NotAuthorised(why) => (INTERFACE, "NotAuthorised", json!({"reason": plain(why)})),
            Self::NoSuchJob(id) => (INTERFACE, "NoSuchJob", json!({"job": id})),
            Self::Busy(why) => (INTERFACE, "Busy", json!({"reason": plain(why)})),
            Self::TooManyConnections(limit) => {
                (INTERFACE, "TooManyConnections", json!({"limit": limit}))
            }
            Self::Failed(why) => (INTERFACE, "Failed", json!({"reason": plain(why)})),
        };
        message::error(&format!("{interface}.{name}"), parameters)
    }
}

/// What was asked for cannot be asked for.
pub fn invalid(error: &anyhow::Error) -> VarlinkError {
    VarlinkError::InvalidRequest(format!("{error:#}"))
}

/// Why a request was not queued.
pub fn not_queued(error: &anyhow::Error) -> VarlinkError {
    if error.is::<KeyUsed>() {
        invalid(error)
    } else {
        failed(error)
    }
}

/// Why the planner has given no answer.
pub fn unanswered(error: &anyhow::Error) -> VarlinkError {
    if error.is::<TooMany>() {
        VarlinkError::Busy(format!("{error:#}"))
    } else if error.is::<PlannerRefusal>() {
        invalid(error)
    } else {
        failed(error)
    }
}

/// The call was in order, and could not be followed.
pub fn failed(error: &anyhow::Error) -> VarlinkError {
    VarlinkError::Failed(format!("{error:#}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use chrono::Utc;

    use super::*;
    use crate::api::status::HostStatus;
    use crate::package::{Change, KeptBack, KeptBackCause, Pending, Rebuilt, Source, Update};
    use crate::package::{RollbackItem, RollbackSource};
    use crate::request::{
        Key, Login, Options, RebootPolicy, Request, Requester, RestartPolicy, Target, Version,
    };
    use crate::state::job::Job;
    use crate::state::services::{Outdated, RestartState};
    use crate::state::shutdown::Shutdown;
    use crate::state::stall::Stall;
    use crate::state::verification::{
        Check, CheckKind, Difference, Differing, PackageFiles, Rollback, Stayed, Undone,
    };

    /// The fields of a type as the interface declares it.
    fn declared(name: &str) -> BTreeSet<String> {
        let (_, after) = DESCRIPTION
            .split_once(&format!("\ntype {name} (\n"))
            .unwrap();
        let (body, _) = after.split_once("\n)\n").unwrap();
        let field = |line: &str| Some(line.trim().split_once(':')?.0.to_owned());
        body.lines()
            .filter(|line| !line.trim().starts_with('#'))
            .filter_map(field)
            .collect()
    }

    fn keys(value: &Value) -> BTreeSet<String> {
        value.as_object().unwrap().keys().cloned().collect()
    }

    fn fill_with_what_an_undone_update_has(job: &mut Job) {
        let check = Check {
            name: String::new(),
            kind: CheckKind::Hook,
            required: true,
            passed: false,
            message: String::new(),
        };
        job.former = vec![RollbackItem {
            change: Change {
                package: String::new(),
                architecture: String::new(),
                from: None,
                to: None,
                file: None,
                ..Change::default()
            },
            source: RollbackSource::Stored {
                file: "/".into(),
                sha256: String::new(),
            },
        }];
        job.verification = vec![check.clone()];
        job.rollback = Some(Rollback {
            sources: std::collections::BTreeMap::new(),
            outcome: Undone::RolledBack,
            as_before: true,
            compared: Vec::new(),
            summary: String::new(),
            etc: vec![Differing {
                path: String::new(),
                what: Difference::New,
            }],
            stayed: vec![Stayed::default()],
            verification: vec![check],
            error: None,
            tool: None,
            files: vec![PackageFiles {
                package: String::new(),
                architecture: String::new(),
                version: String::new(),
                missing: Vec::new(),
                differing: Vec::new(),
                reinstalled: true,
                still_missing: Vec::new(),
                unknown: None,
            }],
        });
    }

    #[test]
    fn what_is_answered_is_what_is_declared() {
        let options = Options {
            wait_for_network: true,
            expect: [(
                "a".parse().unwrap(),
                Version::try_from("1".to_owned()).unwrap(),
            )]
            .into(),
            if_unmodified_since: Some(Utc::now()),
            idempotency_key: Some(Key::try_from("k".to_owned()).unwrap()),
            reboot: Some(RebootPolicy::Always),
            restart: Some(RestartPolicy::Safe),
        };
        let login = Login {
            uid: Some(1),
            session: Some("1".to_owned()),
        };
        let requester = Requester::at("varlink", Some(1)).of_login(login);
        let mut request = Request::apply(Target::All, options, requester).unwrap();
        request.job = Some(JobId::new().unwrap());
        request.partial = true;
        let mut job = Job::new(request);
        fill_with_what_an_undone_update_has(&mut job);
        job.requeued = true;
        job.stalls = vec![Stall {
            package: None,
            script: None,
            pid: Some(1),
            command: None,
            action: None,
            since: Utc::now(),
            until: None,
        }];
        let job = serde_json::to_value(job).unwrap();
        assert_eq!(keys(&job), declared("Job"));
        assert_eq!(
            keys(&job["former"][0]),
            &declared("Former") - &["why".to_owned()].into()
        );
        assert_eq!(keys(&job["verification"][0]), declared("Check"));
        assert_eq!(keys(&job["hangs"][0]), declared("Hang"));
        assert_eq!(keys(&job["rollback"]), declared("Undoing"));
        assert_eq!(keys(&job["rollback"]["stayed"][0]), declared("Stayed"));
        assert_eq!(keys(&job["rollback"]["etc"][0]), declared("Differing"));
        let files = &job["rollback"]["files"][0];
        assert_eq!(keys(files), declared("PackageFiles"));
        assert_eq!(keys(&job["update"]), declared("UpdateState"));
        assert_eq!(keys(&job["request"]), declared("Request"));
        assert_eq!(keys(&job["request"]["options"]), declared("Options"));
        assert_eq!(keys(&job["request"]["requester"]), declared("Requester"));
        assert_eq!(keys(&HostStatus::default().json()), declared("Health"));
        let mut alerts = crate::state::alert::Alerts::default();
        let id = JobId::new().unwrap();
        alerts.raise(crate::state::alert::Cause::RolledBack, "x", Some(&id));
        assert_eq!(
            keys(&serde_json::to_value(&alerts.alerts[0]).unwrap()),
            declared("Alert")
        );
        let text = String::new;
        let update = Update {
            package: text(),
            architecture: text(),
            installed: None,
            candidate: text(),
            origin: text(),
            security: false,
            ..Update::default()
        };
        let change = Change {
            file: Some("/".into()),
            ..Change::from(&update)
        };
        let change = serde_json::to_value(change).unwrap();
        assert_eq!(keys(&change), declared("Change"));
        let rebuilt = serde_json::to_value(Rebuilt::default()).unwrap();
        assert_eq!(keys(&rebuilt), declared("Rebuilt"));
        assert_eq!(
            keys(&serde_json::to_value(update).unwrap()),
            declared("Update")
        );
        let kept = KeptBack::new(text(), KeptBackCause::Held, text());
        assert_eq!(
            keys(&serde_json::to_value(kept).unwrap()),
            declared("KeptBack")
        );
        let source = Source {
            uri: text(),
            suite: text(),
            last_success: None,
            index_date: None,
            error: None,
            went_back: false,
            tolerated: false,
            file: text(),
        };
        assert_eq!(
            keys(&serde_json::to_value(source).unwrap()),
            declared("Source")
        );
        let plan = keys(&serde_json::to_value(Pending::default()).unwrap());
        assert_eq!(plan, ["kept_back", "updates"].map(str::to_owned).into());
    }

    #[test]
    fn shutdowns_and_outdated_services_are_declared() {
        let shutdown = Shutdown {
            mode: String::new(),
            at: Utc::now(),
            uid: None,
            ours: true,
        };
        assert_eq!(
            keys(&serde_json::to_value(shutdown).unwrap()),
            declared("Shutdown")
        );
        let outdated = Outdated {
            unit: String::new(),
            invocation: String::new(),
            user: false,
            processes: Vec::new(),
            files: Vec::new(),
            state: RestartState::Outdated,
            advice: String::new(),
        };
        assert_eq!(
            keys(&serde_json::to_value(outdated).unwrap()),
            declared("Outdated")
        );
    }

    #[test]
    fn every_error_of_ours_is_declared() {
        for refusal in [
            VarlinkError::InvalidRequest(String::new()),
            VarlinkError::NotAuthorised(String::new()),
            VarlinkError::NoSuchJob(JobId::new().unwrap()),
            VarlinkError::Busy(String::new()),
            VarlinkError::TooManyConnections(1),
            VarlinkError::Failed(String::new()),
        ] {
            let sent = refusal.message();
            let sent: Value = serde_json::from_slice(&sent[..sent.len() - 1]).unwrap();
            let name = sent["error"].as_str().unwrap().rsplit_once('.').unwrap().1;
            let parameter = keys(&sent["parameters"]).pop_first().unwrap();
            assert!(
                DESCRIPTION.contains(&format!("\nerror {name}({parameter}: ")),
                "{sent}"
            );
        }
    }
}
