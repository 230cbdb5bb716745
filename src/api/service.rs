//! What the calls of the D-Bus service share: the picture, which refresh was asked for, answers that are worked out
//! once for all callers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Error, Result};
use zbus::{Connection, fdo};
use zruntime::SharedRuntime;

use super::idle::{ActiveCall, Activity};
use super::shared::Shared;
use super::status::HostStatus;
use super::status_cache::StatusCache;
use super::value::{Record, Records};
use super::{inquire, operations};
use crate::host::watchers;
use crate::paths::Paths;
use crate::queue;
use crate::queue::inquiry::Inquiry;
use crate::request::{JobId, Request, Requester};
use crate::state::job::Job;
use crate::state::pending::PendingList;

/// How long the service manager may take to say how our units are.
const ASKED_WITHIN: Duration = Duration::from_secs(2);

/// What is said where it does not.
const NOT_SEEN: &str =
    "systemd does not report whether the units that start this service are active";

/// How long units are taken to be as they were: for a property, and for callers who ask for everything.
const UNITS_STAY: Duration = Duration::from_secs(5);
pub const UNITS_SHARED: Duration = Duration::from_millis(100);

/// How long the planner has to make a list before it is asked for it once more.
const LISTED_AGAIN: Duration = Duration::from_secs(60);

/// How long a caller waits at most for what is pending to be counted again.
const COUNTED_WITHIN: Duration = Duration::from_secs(10);

/// What all calls share.
pub struct Service {
    pub paths: Paths,
    pub pictures: StatusCache,
    pub activity: Activity,
    /// The list of what is pending; the updates in it and the conflicts, as answers.
    listing: Shared<Result<Arc<PendingList>, String>>,
    pub updates: Shared<fdo::Result<Records>>,
    pub conflicts: Shared<fdo::Result<Records>>,
    /// The turns of those who want a plan, and of those who want something of a job's records.
    planning: zruntime::lock::Mutex<()>,
    reading: zruntime::lock::Mutex<()>,
    /// The turns of those who want the whole picture as an answer.
    reporting: zruntime::lock::Mutex<()>,
    /// The refresh that was last asked for, and whether one is being asked for.
    asked: Mutex<Option<JobId>>,
    asking: AtomicBool,
    /// What index, package database and configuration were when the planner was last asked to list what is pending,
    /// and when that was.
    listed: Mutex<Option<(String, Instant)>>,
    /// When the units that wake us were last looked at; who looks has its turn.
    units: zruntime::lock::Mutex<Option<Instant>>,
    /// The bus that is served.
    bus: OnceLock<Connection>,
}

/// The picture that one call sees.
pub struct StatusGuard<'a> {
    _call: ActiveCall<'a>,
    picture: Arc<HostStatus>,
}

impl std::ops::Deref for StatusGuard<'_> {
    type Target = HostStatus;

    fn deref(&self) -> &HostStatus {
        &self.picture
    }
}

impl Service {
    pub fn new(paths: Paths) -> Self {
        Self {
            pictures: StatusCache::new(paths.clone()),
            paths,
            activity: Activity::new(),
            listing: Shared::new(),
            updates: Shared::new(),
            conflicts: Shared::new(),
            planning: zruntime::lock::Mutex::new(()),
            reading: zruntime::lock::Mutex::new(()),
            reporting: zruntime::lock::Mutex::new(()),
            asked: Mutex::new(None),
            asking: AtomicBool::new(false),
            listed: Mutex::default(),
            units: zruntime::lock::Mutex::new(None),
            bus: OnceLock::new(),
        }
    }

    /// The bus on which the service manager is asked.
    pub fn serves(&self, bus: Connection) {
        let _ = self.bus.set(bus);
    }

    /// Looks at the units that wake us, unless that was done less than `age` ago.
    pub async fn look_at_units(&self, age: Duration) {
        let mut looked = self.units.lock().await;
        let Some(bus) = self.bus.get() else { return };
        if looked.is_some_and(|at| at.elapsed() < age) {
            return;
        }
        let Ok(runtime) = SharedRuntime::current() else {
            return;
        };
        let look = watchers::look(bus, &self.paths);
        let wrong = match runtime.timeout(ASKED_WITHIN, look).await {
            Ok(Ok(wrong)) => wrong,
            Ok(Err(error)) => vec![format!("{NOT_SEEN}: {error:#}")],
            Err(_) => vec![format!(
                "{NOT_SEEN}: it has not answered within {} s",
                ASKED_WITHIN.as_secs()
            )],
        };
        self.pictures.set_units(wrong);
        *looked = Some(Instant::now());
    }

    /// The picture for a property that says whether the host is well, of which the units that wake us are a part.
    pub async fn read_health(self: &Arc<Self>) -> StatusGuard<'_> {
        self.look_at_units(UNITS_STAY).await;
        self.read_and_refresh().await
    }

    /// The picture for a property that counts what is pending: where that has changed, the planner is asked to
    /// count again, and the service signals the result.
    pub async fn read_count(self: &Arc<Self>) -> StatusGuard<'_> {
        let seen = self.read().await;
        if self.is_uncounted(&seen) {
            self.ask_meanwhile(&seen.picture);
        }
        seen
    }

    fn is_uncounted(&self, picture: &HostStatus) -> bool {
        let listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        let is_asked = listed
            .as_ref()
            .is_some_and(|(of, at)| *of == picture.fingerprint && at.elapsed() < LISTED_AGAIN);
        !picture.is_counted && picture.running.is_empty() && !is_asked
    }

    /// Asks the planner for the list of what is pending, once for each state of the host, and again where no list came
    /// of it: the package manager may have been busy.
    fn ask_when_uncounted(&self, picture: &HostStatus) {
        if !self.is_uncounted(picture) {
            return;
        }
        match Inquiry::Pending.submit(&self.paths) {
            Ok(()) => {
                let mut listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
                *listed = Some((picture.fingerprint.clone(), Instant::now()));
            }
            Err(error) => tracing::warn!("pending updates could not be counted again: {error:#}"),
        }
    }

    /// Has what is old in the picture asked for in another thread; no caller waits for its end.
    fn ask_meanwhile(self: &Arc<Self>, picture: &Arc<HostStatus>) {
        if self.asking.swap(true, Ordering::Relaxed) {
            return;
        }
        let (door, picture) = (Arc::clone(self), Arc::clone(picture));
        // the work goes on though no caller waits for it
        drop(zruntime::unblock(move || {
            door.ask_when_stale(&picture);
            door.ask_when_uncounted(&picture);
            door.asking.store(false, Ordering::Relaxed);
        }));
    }

    /// The picture as it is now, of which nothing is waited for but the service manager.
    pub async fn cached(self: &Arc<Self>) -> Arc<HostStatus> {
        self.look_at_units(UNITS_SHARED).await;
        let picture = self.pictures.looked_at().await;
        self.ask_meanwhile(&picture);
        picture
    }

    /// The picture with what is pending counted again where that has changed, which the planner does in seconds at
    /// most; where it does not, with what was counted last.
    pub async fn counted(&self) -> Arc<HostStatus> {
        let picture = self.pictures.looked_at().await;
        let Ok(runtime) = SharedRuntime::current() else {
            return picture;
        };
        if picture.is_counted || !picture.running.is_empty() {
            return picture;
        }
        let paths = self.paths.clone();
        let list = move || match inquire::pending(&paths) {
            Ok(list) => Ok(Arc::new(list)),
            Err(error) => Err(format!("{error:#}")),
        };
        let listed = runtime
            .timeout(COUNTED_WITHIN, self.listing.get(list))
            .await;
        let mut picture = HostStatus::clone(&*self.pictures.looked_at().await);
        match listed {
            Ok(Ok(list)) => picture.pending = list.pending.clone(),
            Ok(Err(error)) => {
                let why = format!("pending updates cannot be counted: {error}");
                picture.blind.push(why);
            }
            Err(_) => {}
        }
        Arc::new(picture)
    }

    /// The whole picture as an answer.
    pub async fn report(&self, picture: Arc<HostStatus>) -> Result<Record> {
        let _turn = self.reporting.lock().await;
        zruntime::unblock(move || Record::new(picture.json())).await
    }

    /// How long no call has come, no signal was sent, and no job was seen running.
    pub async fn idle(&self) -> Duration {
        let idle = self.activity.idle();
        if idle.is_zero() || self.pictures.current().await.running.is_empty() {
            idle
        } else {
            // counted from here on: the end of the job is not signalled yet
            drop(self.activity.begin());
            Duration::ZERO
        }
    }

    /// The picture for one read property.
    pub async fn read(&self) -> StatusGuard<'_> {
        StatusGuard {
            _call: self.activity.begin(),
            picture: self.pictures.current().await,
        }
    }

    /// The picture for a property that shows a stale index: the service asks for a refresh meanwhile, and the
    /// reader does not wait for it.
    pub async fn read_and_refresh(self: &Arc<Self>) -> StatusGuard<'_> {
        let seen = self.read().await;
        if seen.wants_refresh() {
            self.ask_meanwhile(&seen.picture);
        }
        seen
    }

    /// Asks for a refresh when the index is stale, none is on its way, and the last one that failed
    /// is not of just now; a client that reads twice asks once. The refresh that is under way then.
    pub fn ask_when_stale(&self, picture: &HostStatus) -> Option<JobId> {
        if !picture.wants_refresh() {
            return None;
        }
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if !asked.as_ref().is_some_and(|id| self.is_under_way(id)) {
            let request = Request::refresh(Requester::at("dbus", None));
            match request.and_then(|r| queue::submit(&self.paths, &r)) {
                Ok(id) => *asked = Some(id),
                Err(error) => {
                    tracing::warn!("a refresh could not be requested: {error:#}");
                    return None;
                }
            }
        }
        asked.clone()
    }

    /// Whether the refresh `id`, asked for when the picture was `before`, has still to bring a newer
    /// one: the index, and the list made from it. Another job that has just refreshed is as good, and
    /// no caller waits for the update that it goes on to.
    pub async fn awaits(self: &Arc<Self>, id: &JobId, before: &HostStatus) -> bool {
        let picture = self.pictures.current().await;
        if picture.running.iter().any(|job| job == id.as_str()) {
            return true;
        }
        let attempted = picture.cache.attempted != before.cache.attempted;
        if attempted && !picture.running.is_empty() {
            return false;
        }
        let (door, id) = (Arc::clone(self), id.clone());
        zruntime::unblock(move || door.is_under_way(&id)).await
    }

    /// The entry is looked for first: it goes when the record is there.
    fn is_under_way(&self, id: &JobId) -> bool {
        let waits = self.paths.queue().join(format!("{id}.json")).exists();
        let runs = || {
            Job::load(&self.paths, id)
                .is_ok_and(|job| job.is_some_and(|job| !job.status.is_final()))
        };
        waits || runs()
    }

    /// The pending updates. However many ask at once, the planner is asked once.
    pub async fn pending(&self, error: fn(&Error) -> fdo::Error) -> fdo::Result<Records> {
        let paths = self.paths.clone();
        let list = move || -> Result<Records> {
            let updates = inquire::pending(&paths)?.pending.updates;
            let values = updates.iter().map(serde_json::to_value);
            Records::new(values.collect::<Result<_, _>>()?)
        };
        let work = move || list().map_err(|failure| error(&failure));
        self.updates.get(work).await
    }

    /// What an apply of these names would do. One question after the other is put to the planner, which answers
    /// one after the other; those who ask the same have one answer.
    pub async fn plan(&self, names: Vec<String>) -> Result<Record> {
        let _turn = self.planning.lock().await;
        let paths = self.paths.clone();
        zruntime::unblock(move || Record::new(operations::plan(&paths, &names)?)).await
    }

    /// The request of a caller who was authorised for it: judged by what is installed, and bound to that where it may
    /// wait.
    pub async fn judged(&self, request: Request) -> Result<Request> {
        let _turn = self.planning.lock().await;
        let judge = move |paths: &Paths| {
            inquire::judge(paths, &request)?;
            operations::bound(paths, request)
        };
        let paths = self.paths.clone();
        zruntime::unblock(move || judge(&paths)).await
    }

    /// Reads something of the records, in a thread of its own, when those who have asked before are done: so that only
    /// one of them takes memory at a time.
    pub async fn look_up<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Paths) -> T + Send + 'static,
    ) -> T {
        let _turn = self.reading.lock().await;
        self.aside(look).await
    }

    /// Writes or reads something in a thread of its own.
    pub async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Paths) -> T + Send + 'static,
    ) -> T {
        let paths = self.paths.clone();
        zruntime::unblock(move || work(&paths)).await
    }
}
