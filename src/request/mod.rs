//! A request, parsed once and strictly by every front end.

mod job_id;
mod options;
mod package;
mod policy;
mod remote;
mod target;

use std::fmt;

use anyhow::{Result, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::PACKAGE;

pub use job_id::JobId;
pub use options::{KEYS as OPTION_KEYS, Key, Options, Version, each_once};
pub use package::{PackageName, shown};
pub use policy::{RebootPolicy, RestartPolicy, time_span};
pub use remote::Remote;
pub use target::Target;

/// The most bytes a queue entry may have.
pub const MAX_ENTRY_BYTES: u64 = 64 * 1024;

/// The longest name of a front end, in letters.
const MAX_DOOR: usize = 16;

/// The longest name of a session, in letters.
const MAX_SESSION: usize = 32;

/// What a request asks the worker to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Refresh the package index.
    Refresh,
    /// Refresh, then apply updates.
    Apply,
    /// The same for the package of this program alone.
    Update,
    /// Undo what a job has changed.
    Rollback,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refresh => "refresh",
            Self::Apply => "apply",
            Self::Update => "update",
            Self::Rollback => "rollback",
        })
    }
}

/// The user and the front end that a request comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requester {
    /// `systemd`, `dbus`, `direct`, `timer`; `file` for an entry written by hand.
    pub door: String,
    /// The user who asked, if the front end knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The login user, which sudo does not change, if the front end knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login_uid: Option<u32>,
    /// The session of that login, as `loginctl` names it, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
}

impl Requester {
    /// A requester at the front end `door`.
    #[must_use]
    pub fn at(door: &str, uid: Option<u32>) -> Self {
        Self {
            door: door.to_owned(),
            uid,
            login_uid: None,
            session: None,
        }
    }

    /// The same, with the login of the calling process.
    #[must_use]
    pub fn of_login(self, login: Login) -> Self {
        Self {
            login_uid: login.uid,
            session: login.session,
            ..self
        }
    }
}

/// The login that a process belongs to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Login {
    /// The user who logged in; none for a process that no login has started.
    pub uid: Option<u32>,
    /// The session, as `loginctl` names it.
    pub session: Option<String>,
}

/// One request, as stored in the queue and in the record of its job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The version of this format.
    pub version: Format,
    /// Equal to the name of the file.
    pub id: JobId,
    /// What to do.
    pub kind: Kind,
    /// What an `apply` covers; absent for a `refresh`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packages: Option<Target>,
    /// The job that a `rollback` undoes; absent for other kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
    /// Whether a `rollback` leaves packages that cannot go back as they are, instead of being refused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
    /// The options.
    #[serde(default, skip_serializing_if = "Options::is_empty")]
    pub options: Options,
    /// Where the request comes from.
    #[serde(default = "by_file")]
    pub requester: Requester,
}

/// The only version of the entry format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Format;

impl TryFrom<u32> for Format {
    type Error = String;

    fn try_from(number: u32) -> Result<Self, String> {
        if number == 1 {
            Ok(Self)
        } else {
            Err(format!("version {number} is not known, only 1"))
        }
    }
}

impl From<Format> for u32 {
    fn from(_: Format) -> Self {
        1
    }
}

fn by_file() -> Requester {
    Requester::at("file", None)
}

impl Request {
    /// A request to refresh the index.
    pub fn refresh(requester: Requester) -> Result<Self> {
        Ok(Self {
            version: Format,
            id: JobId::new()?,
            kind: Kind::Refresh,
            packages: None,
            job: None,
            partial: false,
            options: Options::default(),
            requester,
        })
    }

    /// A request to apply the updates of `target`.
    pub fn apply(target: Target, options: Options, requester: Requester) -> Result<Self> {
        let packages = Some(target);
        Ok(Self {
            version: Format,
            id: JobId::new()?,
            kind: Kind::Apply,
            packages,
            job: None,
            partial: false,
            options,
            requester,
        })
    }

    /// A request to undo the changes of `job`: all of them, or, with `partial`, those that can be undone.
    pub fn rollback(job: JobId, partial: bool, requester: Requester) -> Result<Self> {
        Ok(Self {
            kind: Kind::Rollback,
            job: Some(job),
            partial,
            ..Self::refresh(requester)?
        })
    }

    /// Parses a queue entry named `id`. An unknown key is an error, because it was meant to change something.
    /// (Records are read with the same type, and may have keys of a newer version.)
    pub fn parse(id: &JobId, bytes: &[u8]) -> Result<Self> {
        let mut request: Self = serde_json::from_slice(bytes)?;
        only_known_keys(&serde_json::from_slice(bytes)?)?;
        ensure!(
            request.id == *id,
            "its id is {}, not its file's name",
            request.id
        );
        let door = &request.requester.door;
        ensure!(
            (1..=MAX_DOOR).contains(&door.len()) && door.bytes().all(|c| c.is_ascii_lowercase()),
            "{} is not the name of a front end",
            shown(door),
        );
        let session = request.requester.session.as_deref().unwrap_or("none");
        ensure!(
            (1..=MAX_SESSION).contains(&session.len())
                && session.bytes().all(|c| c.is_ascii_alphanumeric()),
            "{} is not the name of a session",
            shown(session),
        );
        ensure!(
            request.job.is_some() == (request.kind == Kind::Rollback),
            "only a rollback names a job, and it has to"
        );
        ensure!(
            !request.partial || request.kind == Kind::Rollback,
            "only a rollback can be partial"
        );
        match request.kind {
            Kind::Rollback => ensure!(
                request.packages.is_none() && request.options.is_empty(),
                "a rollback takes neither packages nor options",
            ),
            Kind::Apply => ensure!(request.packages.is_some(), "an apply names no packages"),
            Kind::Update => ensure!(
                request
                    .packages
                    .as_ref()
                    .is_some_and(Target::is_own_package),
                "an update names another package than {PACKAGE}",
            ),
            Kind::Refresh => ensure!(
                request.packages.is_none() && request.options.is_empty(),
                "a refresh takes neither packages nor options",
            ),
        }
        if request
            .packages
            .as_ref()
            .is_some_and(Target::is_own_package)
        {
            request.kind = Kind::Update;
        }
        Ok(request)
    }
}

/// An entry has to be an object: serde would also accept a list of the values in the right order.
fn only_known_keys(entry: &Value) -> Result<()> {
    let known: [(&Value, &[&str]); 3] = [
        (entry, &KEYS),
        (
            &entry["requester"],
            &["door", "uid", "login_uid", "session"],
        ),
        (&entry["options"], &OPTION_KEYS),
    ];
    for (value, known) in known {
        ensure!(!value.is_array(), "it has a list where keys belong");
        let mut keys = value.as_object().into_iter().flat_map(Map::keys);
        if let Some(key) = keys.find(|key| !known.contains(&key.as_str())) {
            bail!("the key {} is not known", shown(key));
        }
    }
    Ok(())
}

const KEYS: [&str; 8] = [
    "partial",
    "version",
    "id",
    "kind",
    "packages",
    "job",
    "options",
    "requester",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_parsed_strictly() {
        let request = Request::apply(
            Target::All,
            Options::default(),
            Requester::at("dbus", Some(1000)),
        )
        .unwrap();
        let text = serde_json::to_string(&request).unwrap();
        assert_eq!(
            Request::parse(&request.id, text.as_bytes()).unwrap(),
            request
        );
        let other = JobId::new().unwrap();
        assert!(Request::parse(&other, text.as_bytes()).is_err());
        for (from, to) in [
            (r#""version":1"#, r#""version":2"#),
            (r#""kind":"apply""#, r#""kind":"apply","root":true"#),
            (r#""kind":"apply""#, r#""kind":"refresh""#),
            (r#""kind":"apply""#, r#""kind":"rollback""#),
            (
                r#""kind":"apply""#,
                r#""kind":"apply","job":"0123456789abcdef-abcdef""#,
            ),
            (r#"["all"]"#, r#"["foo-"]"#),
            (r#"["all"]"#, "[]"),
            (r#""door":"dbus""#, r#""door":"dbus","root":1"#),
            (r#""door":"dbus""#, r#""door":"dbus","session":"../x""#),
            (r#""door":"dbus""#, r#""door":"dbus","login_uid":-1"#),
            (r#""door":"dbus""#, r#""door":"dbus","door":"x""#),
            (r#""door":"dbus""#, r#""door":"dbus","options":"x""#),
            (r#""door":"dbus""#, r#""door":"""#),
            (r#""door":"dbus""#, r#""door":"a b""#),
            (r#""door":"dbus""#, r#""door":"aaaaaaaaaaaaaaaaa""#),
            (
                r#""kind":"apply""#,
                r#""kind":"apply","options":{"force":true}"#,
            ),
        ] {
            assert!(text.contains(from));
            let bad = text.replace(from, to);
            assert!(
                Request::parse(&request.id, bad.as_bytes()).is_err(),
                "{bad}"
            );
        }
        let id = &request.id;
        let list = format!(r#"[1,"{id}","apply",["all"],{{}},["file",0]]"#);
        assert!(Request::parse(id, list.as_bytes()).is_err());
    }

    #[test]
    fn our_own_package_alone_is_an_update() {
        let kind = |kind: &str, packages: &str| {
            let id = JobId::new().unwrap();
            let text =
                format!(r#"{{"version":1,"id":"{id}","kind":"{kind}","packages":{packages}}}"#);
            Request::parse(&id, text.as_bytes()).map(|request| request.kind)
        };
        for own in [
            r#"["linux-patch-api"]"#,
            r#"["linux-patch-api","linux-patch-api:amd64"]"#,
        ] {
            assert_eq!(kind("apply", own).unwrap(), Kind::Update);
            assert_eq!(kind("update", own).unwrap(), Kind::Update);
        }
        for others in [r#"["all"]"#, r#"["a","linux-patch-api"]"#] {
            assert_eq!(kind("apply", others).unwrap(), Kind::Apply);
            assert!(kind("update", others).is_err());
        }
    }

    #[test]
    fn a_default_may_be_written_out() {
        let id = JobId::new().unwrap();
        let text = format!(
            r#"{{"version":1,"id":"{id}","kind":"apply","packages":["all"],"options":{{"wait_for_network":false,
            "expect":{{}},"if_unmodified_since":null,"idempotency_key":"a"}},"requester":{{"door":"file","uid":null}}}}"#
        );
        let request = Request::parse(&id, text.as_bytes()).unwrap();
        assert!(request.options.idempotency_key.is_some() && !request.options.wait_for_network);
    }
}
