//! What a caller has changed: the caller is authorised first, then the request is looked into, then it is queued.

use std::sync::Arc;
use std::time::{Duration, Instant};

use zbus::message::Header;
use zbus::{Connection, fdo};
use zruntime::SharedRuntime;

use super::agent::Agent;
use super::call_slots::CallSlot;
use super::reply::{failed, job_id, not_queued, unanswered, wrong};
use crate::api::caller::login_of_sender;
use crate::api::idle::ActiveCall;
use crate::api::operations;
use crate::api::polkit::{self, PolkitAction};
use crate::api::status::HostStatus;
use crate::api::value::Record;
use crate::queue::{self, Decision, WorkerCommand};
use crate::request::{JobId, Request};
use crate::state::installed::NotInstalled;

/// How long `CheckHealth` waits for a refresh: as long as a refresh may take.
const REFRESH_WAIT: Duration = Duration::from_secs(125);

/// A call that was let in, until dropped, and whose it is.
pub struct Entered<'a> {
    _call: ActiveCall<'a>,
    place: CallSlot<'a>,
    bus: &'a Connection,
    header: &'a Header<'a>,
}

impl Entered<'_> {
    async fn authorise(&self, action: PolkitAction) -> fdo::Result<u32> {
        let user = self.place.user();
        polkit::authorise(self.bus, self.header, user, action).await?;
        Ok(user)
    }
}

impl Agent {
    /// Lets a call in that takes more than a look at the picture.
    pub(super) async fn enter<'a>(
        &'a self,
        bus: &'a Connection,
        header: &'a Header<'a>,
    ) -> fdo::Result<Entered<'a>> {
        let call = self.door.activity.begin();
        self.door.pictures.look_again();
        Ok(Entered {
            _call: call,
            place: self.places.take(bus, header).await?,
            bus,
            header,
        })
    }

    /// Waits until the index is no longer as stale as it was in the picture `before`, or a refresh has failed.
    pub(super) async fn await_refresh(&self, before: Arc<HostStatus>) -> fdo::Result<()> {
        let runtime = SharedRuntime::current().map_err(|error| failed(&error.into()))?;
        let (door, seen) = (Arc::clone(&self.door), Arc::clone(&before));
        let asked = zruntime::unblock(move || door.ask_when_stale(&seen)).await;
        let Some(refresh) = asked else { return Ok(()) };
        let until = Instant::now() + REFRESH_WAIT;
        while self.door.awaits(&refresh, &before).await && Instant::now() < until {
            runtime.sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// The whole picture as an answer.
    pub(super) async fn report(&self, picture: Arc<HostStatus>) -> fdo::Result<Record> {
        let report = self.door.report(picture).await;
        report.map_err(|error| fdo::Error::LimitsExceeded(format!("{error:#}")))
    }

    /// Queues what the caller may ask for; the id of the job. What the caller asks for stays as it is from here on:
    /// each right that it takes is asked for by a question of its own, and what is authorised is what is queued.
    pub(super) async fn submit(&self, call: &Entered<'_>, request: Request) -> fdo::Result<String> {
        let mut request = request;
        let login = login_of_sender(call.bus, call.header).await;
        request.requester = request.requester.of_login(login);
        for action in PolkitAction::needed(&request) {
            request.requester.uid = Some(call.authorise(action).await?);
        }
        if let Some(job) = request.job.clone() {
            let look = move |paths: &_| operations::can_be_undone(paths, &job);
            let undoable = self.door.look_up(look).await;
            undoable.map_err(|error| wrong(&error))?;
        }
        if request.packages.is_some() {
            let judged = self.door.judged(request).await;
            request = judged.map_err(|error| {
                if error.is::<NotInstalled>() {
                    wrong(&error)
                } else {
                    unanswered(&error)
                }
            })?;
        }
        let write = move |paths: &_| queue::submit(paths, &request);
        let id = self.door.aside(write).await;
        Ok(id.map_err(|error| not_queued(&error))?.to_string())
    }

    /// Leaves an order of a caller who may give it.
    pub(super) async fn leave(
        &self,
        call: &Entered<'_>,
        order: WorkerCommand,
        action: PolkitAction,
    ) -> fdo::Result<()> {
        call.authorise(action).await?;
        let left = self.door.aside(move |paths| order.leave(paths)).await;
        left.map_err(|error| failed(&error))
    }

    /// Leaves the order to offer again what a job had installed, of a caller who may give it.
    pub(super) async fn forget_what(&self, call: &Entered<'_>, id: JobId) -> fdo::Result<()> {
        call.authorise(PolkitAction::Rollback).await?;
        let order = self
            .door
            .look_up(move |paths| operations::forgetting(paths, &id));
        let order = order.await.map_err(|error| wrong(&error))?;
        let left = self.door.aside(move |paths| order.leave(paths)).await;
        left.map_err(|error| failed(&error))
    }

    /// Leaves the decision on a job of a caller who may make it.
    pub(super) async fn decide(
        &self,
        call: &Entered<'_>,
        job: &str,
        mark: Decision,
        action: PolkitAction,
    ) -> fdo::Result<()> {
        let id = job_id(job)?;
        call.authorise(action).await?;
        let look = move |paths: &_| operations::decide(paths, &id, mark);
        let decided = self.door.look_up(look).await;
        decided.map_err(|error| wrong(&error))
    }
}
