//! Answers the calls of one connection, and follows jobs for those who want more.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::connection::{Connection, Gone};
use super::interface::{VarlinkError, failed, info, invalid, not_queued, unanswered};
use super::message::{self, Call, MAX_MESSAGE, ReplyMode};
use super::method::Method;
use super::peer;
use super::standing::Standing;
use crate::api::status::HostStatus;
use crate::api::value::{self, MAX_ANSWER};
use crate::api::{inquire, operations, watch};
use crate::host::{bus, watchers};
use crate::paths::Paths;
use crate::queue;
use crate::request::{JobId, Login, MAX_ENTRY_BYTES, Options, Request, Requester, Target};

/// Who has too many connections gets that as an answer to what was sent already, not a place to wait.
const REFUSED_WAIT: Duration = Duration::from_millis(500);

/// Changes of the records that come together are looked at together.
const GATHER: Duration = Duration::from_millis(20);

/// How often the service reads a job's record when inotify reports no change, and when inotify is not available.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
const LOOK_OFTEN: Duration = Duration::from_millis(150);

/// How long what is pending may take to be counted again.
const COUNTED_WITHIN: Duration = Duration::from_secs(10);

/// Who may do everything.
const ROOT: u32 = 0;

/// Why a reboot is no option of an apply here: who may connect may ask for updates, and for no more.
const NO_REBOOT: &str = "asking for a reboot requires the polkit action org.linux-patch.agent1.reboot, which this socket cannot check: use 'patchctl apply --reboot=...', or omit the option reboot";

/// Why no job is undone here: that may take back an update that was for security.
const NO_ROLLBACK: &str = "asking for a rollback requires the polkit action org.linux-patch.agent1.rollback, which this socket cannot check: use 'patchctl rollback JOB' as an administrator";

/// Serves the connection that is our standard input, until its end.
pub fn serve(paths: Paths) -> Result<()> {
    let stream = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let (uid, login) = peer::who(&stream)?;
    let connection = Connection::new(stream).context("failed to prepare the connection")?;
    let mut session = Conversation {
        paths,
        uid,
        login,
        connection,
    };
    // however a conversation ends, that is no failure of ours
    let _: Result<(), Gone> = if peer::has_too_many() {
        session.refuse()
    } else {
        session.converse()
    };
    Ok(())
}

struct Conversation {
    paths: Paths,
    uid: u32,
    login: Login,
    connection: Connection,
}

/// What a method comes to.
enum MethodReply {
    Once(Value),
    /// Replies until the job is settled.
    Follow(JobId),
}

impl Conversation {
    fn refuse(&mut self) -> Result<(), Gone> {
        let _ = self.connection.next_within(REFUSED_WAIT)?;
        let refusal = VarlinkError::TooManyConnections(peer::MAX_PER_USER);
        self.connection.send(&refusal.message())
    }

    /// Answers one call after the other. After what is no call, nothing can be made sense of.
    fn converse(&mut self) -> Result<(), Gone> {
        loop {
            let broken = match self.connection.next()? {
                Err(message::TooLarge) => {
                    format!("a message is larger than {MAX_MESSAGE} bytes")
                }
                Ok(message) => match Call::parse(&message) {
                    Err(why) => format!("a message is not a call: {why}"),
                    Ok(call) => {
                        self.answer(&call)?;
                        continue;
                    }
                },
            };
            return self
                .connection
                .send(&VarlinkError::InvalidRequest(broken).message());
        }
    }

    fn answer(&mut self, call: &Call<'_>) -> Result<(), Gone> {
        let wanted = call.wanted();
        let answer = match wanted {
            ReplyMode::Upgrade => Err(VarlinkError::MethodNotImplemented(
                call.method.chars().take(128).collect(),
            )),
            _ => Method::of(call).and_then(|method| self.act(method, wanted)),
        };
        match answer {
            _ if wanted == ReplyMode::Nothing => Ok(()),
            Ok(MethodReply::Once(parameters)) => {
                self.connection.send(&message::reply(parameters, false))
            }
            Ok(MethodReply::Follow(id)) => self.follow(&id),
            Err(refusal) => self.connection.send(&refusal.message()),
        }
    }

    fn act(&self, method: Method, wanted: ReplyMode) -> Result<MethodReply, VarlinkError> {
        let answer = match method {
            Method::Info => info(),
            Method::Description(text) => json!({"description": text}),
            Method::Health => json!({"health": self.health()}),
            Method::Plan { packages } => self.plan(&packages)?,
            Method::Apply { packages, options } => {
                let id = self.apply(&packages, options)?;
                if wanted == ReplyMode::More {
                    return Ok(MethodReply::Follow(id));
                }
                json!({"job": id})
            }
            Method::Rollback(id) => {
                let id = self.rollback(&id)?;
                if wanted == ReplyMode::More {
                    return Ok(MethodReply::Follow(id));
                }
                json!({"job": id})
            }
            Method::Job(id) if wanted == ReplyMode::More => return Ok(MethodReply::Follow(id)),
            Method::Job(id) => Standing::of(&self.paths, &id)?.json(&id, true)?,
        };
        let length = value::length(&answer);
        if length > MAX_ANSWER {
            let why = format!("the answer would have {length} bytes, more than {MAX_ANSWER}");
            return Err(VarlinkError::Failed(why));
        }
        Ok(MethodReply::Once(answer))
    }

    /// Queues a request, made whole before: it is the connection that was authorised.
    fn apply(&self, packages: &[String], options: Options) -> Result<JobId, VarlinkError> {
        if options.asks_for_reboot() && self.uid != ROOT {
            return Err(VarlinkError::NotAuthorised(NO_REBOOT.to_owned()));
        }
        Target::from_names(packages).map_err(|error| invalid(&error))?;
        let request = || -> Result<Request> {
            let options = serde_json::to_value(options)?;
            let request = operations::apply(packages, options, "varlink")?;
            let mut request = operations::bound(&self.paths, request)?;
            request.requester = self.requester();
            Ok(request)
        };
        let request = request().map_err(|error| unanswered(&error))?;
        let bytes = serde_json::to_vec(&request).map_err(|error| failed(&error.into()))?;
        if bytes.len() as u64 > MAX_ENTRY_BYTES {
            return Err(VarlinkError::InvalidRequest(format!(
                "the request has more than {MAX_ENTRY_BYTES} bytes; name fewer packages, or 'all'"
            )));
        }
        if queue::length(&self.paths) >= queue::MAX_WAITING {
            let why = format!("{} requests wait already", queue::MAX_WAITING);
            return Err(VarlinkError::Busy(why));
        }
        inquire::judge(&self.paths, &request).map_err(|error| invalid(&error.into()))?;
        queue::submit(&self.paths, &request).map_err(|error| not_queued(&error))
    }

    /// Queues the rollback of a job, which root alone may ask for here.
    fn rollback(&self, id: &JobId) -> Result<JobId, VarlinkError> {
        if self.uid != ROOT {
            return Err(VarlinkError::NotAuthorised(NO_ROLLBACK.to_owned()));
        }
        operations::can_be_undone(&self.paths, id).map_err(|error| invalid(&error))?;
        let request = operations::rollback(id, false, "varlink");
        let mut request = request.map_err(|error| invalid(&error))?;
        request.requester = self.requester();
        queue::submit(&self.paths, &request).map_err(|error| not_queued(&error))
    }

    /// Who asks.
    fn requester(&self) -> Requester {
        Requester::at("varlink", Some(self.uid)).of_login(self.login.clone())
    }

    fn plan(&self, packages: &[String]) -> Result<Value, VarlinkError> {
        Target::from_names(packages).map_err(|error| invalid(&error))?;
        operations::plan(&self.paths, packages).map_err(|error| unanswered(&error))
    }

    /// The picture as it is. When it is old and no other caller has asked for a new one, that is asked for; what is pending
    /// is counted again where it has changed.
    fn health(&self) -> Value {
        let mut picture = HostStatus::take(&self.paths);
        picture.blind.extend(unit_problems(&self.paths));
        if !picture.is_counted && picture.running.is_empty() {
            match inquire::pending_within(&self.paths, COUNTED_WITHIN) {
                Ok(list) => picture.pending = list.pending,
                Err(error) => {
                    let why = format!("pending updates cannot be counted: {error:#}");
                    picture.blind.push(why);
                }
            }
        }
        if picture.wants_refresh() && picture.running.is_empty() && picture.queue_length == 0 {
            let refresh = Request::refresh(self.requester());
            if let Err(error) = refresh.and_then(|refresh| queue::submit(&self.paths, &refresh)) {
                tracing::warn!("a refresh could not be requested: {error:#}");
            }
        }
        picture.json()
    }

    /// Replies each time the job gets further, and once more when it is settled.
    fn follow(&mut self, id: &JobId) -> Result<(), Gone> {
        let changes = watch::changes(&self.paths).ok();
        let mut told: Option<Standing> = None;
        loop {
            let reply = Standing::of(&self.paths, id).and_then(|now| {
                let now = now.after(told.as_ref());
                let settled = now.is_settled();
                Ok((now.json(id, settled)?, settled, now))
            });
            let (reply, settled, now) = match reply {
                Ok(reply) => reply,
                Err(refusal) => return self.connection.send(&refusal.message()),
            };
            if settled || told.as_ref().is_none_or(|told| !told.is_as(&now)) {
                self.connection.send(&message::reply(reply, !settled))?;
            }
            if settled {
                return Ok(());
            }
            told = Some(now);
            self.wait(changes.as_ref())?;
        }
    }

    fn wait(&self, changes: Option<&OwnedFd>) -> Result<(), Gone> {
        let Some(changes) = changes else {
            return self.connection.watch(None, LOOK_OFTEN);
        };
        self.connection.watch(Some(changes.as_fd()), LOOK_AGAIN)?;
        self.connection.watch(None, GATHER)?;
        watch::forget(changes);
        Ok(())
    }
}

/// What is wrong with the units that wake us.
fn unit_problems(paths: &Paths) -> Vec<String> {
    let look = async { watchers::look(&bus::system_bus()?, paths).await };
    zbus::block_on(look).unwrap_or_else(|error| {
        vec![format!(
            "systemd does not report whether the units that start this service are active: {error:#}"
        )]
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::job::JobStatus;
    use std::io::{Read, Write};

    /// A session for tests, and the other end of its connection.
    fn door() -> (tempfile::TempDir, Conversation, UnixStream) {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::below(root.path());
        queue::prepare(&paths).unwrap();
        let (client, server) = UnixStream::pair().unwrap();
        let connection = Connection::new(server).unwrap();
        let uid = 1000;
        let door = Conversation {
            paths,
            uid,
            login: Login::default(),
            connection,
        };
        (root, door, client)
    }

    /// Everything that is answered to these bytes.
    fn conversation(door: Conversation, mut client: UnixStream, said: &[u8]) -> Vec<Value> {
        client.write_all(said).unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let mut door = door;
        let _ = door.converse();
        drop(door);
        let mut answers = Vec::new();
        let _ = client.read_to_end(&mut answers);
        answers
            .split_inclusive(|byte| *byte == 0)
            .map(|message| serde_json::from_slice(message.strip_suffix(&[0]).unwrap()).unwrap())
            .collect()
    }

    #[test]
    fn calls_are_answered_in_order_until_one_is_none() {
        let (_root, door, client) = door();
        let said = b"{\"method\":\"org.varlink.service.GetInfo\"}\0\
            {\"method\":\"org.linux-patch.Agent1.Nothing\"}\0\
            {\"method\":\"org.linux-patch.Agent1.Nothing\",\"oneway\":true}\0\
            {\"method\":\"org.varlink.service.GetInfo\",\"upgrade\":true}\0\
            {\"method\":\"org.linux-patch.Agent1.GetJob\",\"parameters\":{\"job\":\"0123456789abcdef-abcdef\"}}\0\
            nonsense\0{\"method\":\"org.varlink.service.GetInfo\"}\0";
        let answers = conversation(door, client, said);
        let errors: Vec<&str> = answers.iter().filter_map(|a| a["error"].as_str()).collect();
        assert_eq!(
            answers[0]["parameters"]["interfaces"][1],
            "org.linux-patch.Agent1"
        );
        assert_eq!(
            errors,
            [
                "org.varlink.service.MethodNotFound",
                "org.varlink.service.MethodNotImplemented",
                "org.linux-patch.Agent1.NoSuchJob",
                "org.linux-patch.Agent1.InvalidRequest",
            ]
        );
        assert_eq!(answers.len(), 5);
    }

    #[test]
    fn an_apply_becomes_a_request_of_the_user_who_is_connected() {
        let (_root, door, client) = door();
        let paths = door.paths.clone();
        let said = b"{\"method\":\"org.linux-patch.Agent1.Apply\",\"parameters\":{\"packages\":[\"all\"]}}\0\
            {\"method\":\"org.linux-patch.Agent1.Apply\",\"parameters\":{\"packages\":[\"security\"]},\"oneway\":true}\0\
            {\"method\":\"org.linux-patch.Agent1.Apply\",\"parameters\":{\"packages\":[\"demo-\"]}}\0";
        let answers = conversation(door, client, said);
        let waiting = queue::claim(&paths, |_| Ok(())).unwrap().jobs;
        let waiting: Vec<Request> = waiting.into_iter().map(|job| job.request).collect();
        assert_eq!(waiting.len(), 2);
        assert_eq!(waiting[0].requester, Requester::at("varlink", Some(1000)));
        assert_eq!(answers[0]["parameters"]["job"], waiting[0].id.as_str());
        assert_eq!(answers[1]["error"], "org.linux-patch.Agent1.InvalidRequest");
        assert_eq!(answers.len(), 2);
    }

    #[test]
    fn a_reboot_is_not_for_those_who_may_only_apply() {
        let (_root, door, client) = door();
        let paths = door.paths.clone();
        let apply = |reboot: &str| {
            let options = json!({"reboot": reboot});
            let parameters = json!({"packages": ["all"], "options": options});
            json!({"method": "org.linux-patch.Agent1.Apply", "parameters": parameters})
        };
        let said = ["always", "when-needed", "never"].map(|reboot| format!("{}\0", apply(reboot)));
        let answers = conversation(door, client, said.concat().as_bytes());
        for answer in &answers[..2] {
            assert_eq!(answer["error"], "org.linux-patch.Agent1.NotAuthorised");
            let reason = answer["parameters"]["reason"].as_str().unwrap();
            assert!(reason.contains("agent1.reboot"), "{reason}");
        }
        assert!(answers[2]["parameters"]["job"].is_string(), "{answers:?}");
        assert_eq!(queue::length(&paths), 1);
    }

    #[test]
    fn a_rollback_is_not_for_those_who_may_only_apply() {
        let (_root, door, client) = door();
        let paths = door.paths.clone();
        let parameters = json!({"job": JobId::new().unwrap()});
        let call = json!({"method": "org.linux-patch.Agent1.Rollback", "parameters": parameters});
        let answers = conversation(door, client, format!("{call}\0").as_bytes());
        assert_eq!(answers[0]["error"], "org.linux-patch.Agent1.NotAuthorised");
        let reason = answers[0]["parameters"]["reason"].as_str().unwrap();
        assert!(reason.contains("agent1.rollback"), "{reason}");
        assert_eq!(queue::length(&paths), 0);
    }

    #[test]
    fn what_could_not_be_queued_is_refused() {
        let (_root, door, client) = door();
        let paths = door.paths.clone();
        let names: Vec<String> = (0..999).map(|n| format!("{n:064}")).collect();
        let call =
            json!({"method": "org.linux-patch.Agent1.Apply", "parameters": {"packages": names}});
        let answers = conversation(door, client, format!("{call}\0").as_bytes());
        assert_eq!(answers[0]["error"], "org.linux-patch.Agent1.InvalidRequest");
        assert_eq!(queue::length(&paths), 0);
    }

    #[test]
    fn a_job_is_followed_until_it_is_settled() {
        let (_root, door, client) = door();
        let paths = door.paths.clone();
        let requester = Requester::at("test", None);
        let request = Request::apply(Target::All, Options::default(), requester).unwrap();
        let id = queue::submit(&paths, &request).unwrap();
        let worker = std::thread::spawn(move || {
            let pause = || std::thread::sleep(Duration::from_millis(200));
            pause();
            let mut job = queue::claim(&paths, |_| Ok(())).unwrap().jobs.remove(0);
            job.status = JobStatus::Running;
            job.save(&paths).unwrap();
            pause();
            let progress =
                r#"{"job":"18ea03ea376e8b21-fe27df","percent":40,"action":"downloading"}"#;
            std::fs::write(paths.progress().with_extension("new"), progress).unwrap();
            std::fs::rename(paths.progress().with_extension("new"), paths.progress()).unwrap();
            pause();
            std::fs::remove_file(paths.progress()).unwrap();
            pause();
            job.status = JobStatus::Succeeded;
            job.save(&paths).unwrap();
        });
        let said = json!({"method": "org.linux-patch.Agent1.GetJob", "parameters": {"job": id}, "more": true});
        let answers = conversation(door, client, format!("{said}\0").as_bytes());
        worker.join().unwrap();
        let told: Vec<(&str, Option<u64>, bool)> = answers
            .iter()
            .map(|answer| {
                let parameters = &answer["parameters"];
                let status = parameters["status"].as_str().unwrap();
                (
                    status,
                    parameters["percent"].as_u64(),
                    answer["continues"] == true,
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                ("queued", None, true),
                ("running", Some(0), true),
                ("running", Some(40), true),
                ("running", Some(40), true),
                ("succeeded", None, false),
            ]
        );
        let last = &answers[4]["parameters"];
        assert_eq!(last["summary"], "nothing to do");
        assert_eq!(last["record"]["request"]["id"], id.as_str());
    }
}
