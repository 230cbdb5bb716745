//! What the calls of a door share: the picture, who is calling, which refresh was asked for.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::Value;
use zbus::Connection;
use zruntime::SharedRuntime;

use super::idle::{Activity, Call};
use super::picture::{Picture, Pictures};
use super::{ask, inquire};
use crate::host::watchers;
use crate::paths::Paths;
use crate::queue::inquiry::Inquiry;
use crate::queue::{self, inquiry};
use crate::request::{JobId, Request, Requester};
use crate::state::job::Job;
use crate::state::pending::PendingList;

/// How long the service manager may take to say how our units are.
const ASKED_WITHIN: Duration = Duration::from_secs(2);

/// What is said where it does not.
const NOT_SEEN: &str = "systemd does not say whether the units that wake this service are at work";

/// How long units are taken to be as they were: for a property, and for callers who ask for everything.
const UNITS_STAY: Duration = Duration::from_secs(5);
pub const UNITS_SHARED: Duration = Duration::from_millis(100);

/// How long a caller waits at most for what is pending to be counted again.
const COUNTED_WITHIN: Duration = Duration::from_secs(10);

/// What all calls share.
pub struct Door {
    pub paths: Paths,
    pub pictures: Pictures,
    pub activity: Activity,
    /// The turns of those who want the list of pending updates, and of those who want a plan.
    listing: zruntime::lock::Mutex<()>,
    planning: zruntime::lock::Mutex<()>,
    /// How many want a plan.
    waiting: AtomicUsize,
    /// The refresh that was last asked for.
    asked: Mutex<Option<JobId>>,
    /// What index, package database and configuration were when the planner was last asked to list what is pending.
    listed: Mutex<String>,
    /// When the units that wake us were last looked at; who looks has its turn.
    units: zruntime::lock::Mutex<Option<Instant>>,
    /// The bus that is served.
    bus: OnceLock<Connection>,
}

impl Door {
    pub fn new(paths: Paths) -> Self {
        Self {
            pictures: Pictures::new(paths.clone()),
            paths,
            activity: Activity::new(),
            listing: zruntime::lock::Mutex::new(()),
            planning: zruntime::lock::Mutex::new(()),
            waiting: AtomicUsize::new(0),
            asked: Mutex::new(None),
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
    pub async fn read_health(&self) -> (Call<'_>, Arc<Picture>) {
        let call = self.activity.begin();
        self.look_at_units(UNITS_STAY).await;
        let picture = self.pictures.current();
        self.ask_when_stale(&picture);
        (call, picture)
    }

    /// The picture for a property that counts what is pending: where that has changed, the planner is asked to
    /// count again, and listeners are told what comes of it.
    pub fn read_count(&self) -> (Call<'_>, Arc<Picture>) {
        let (call, picture) = self.read();
        self.ask_when_uncounted(&picture);
        (call, picture)
    }

    /// Asks the planner for the list of what is pending, once for each state of the host.
    pub fn ask_when_uncounted(&self, picture: &Picture) {
        if picture.is_counted || !picture.running.is_empty() {
            return;
        }
        let mut listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        if *listed != picture.fingerprint {
            match Inquiry::Pending.submit(&self.paths) {
                Ok(()) => listed.clone_from(&picture.fingerprint),
                Err(error) => tracing::warn!("what is pending is not counted again: {error:#}"),
            }
        }
    }

    /// The picture as it is now, of which nothing is waited for but the service manager.
    pub async fn cached(&self) -> Arc<Picture> {
        self.look_at_units(UNITS_SHARED).await;
        let picture = self.pictures.looked_at();
        self.ask_when_stale(&picture);
        self.ask_when_uncounted(&picture);
        picture
    }

    /// The picture with what is pending counted again where that has changed, which the planner does in seconds at
    /// most; where it does not, with what was counted last.
    pub async fn counted(&self) -> Arc<Picture> {
        let picture = self.pictures.looked_at();
        let Ok(runtime) = SharedRuntime::current() else {
            return picture;
        };
        if picture.is_counted || !picture.running.is_empty() {
            return picture;
        }
        match runtime.timeout(COUNTED_WITHIN, self.pending()).await {
            Ok(Ok(list)) => Arc::new(Picture {
                pending: list.pending,
                ..Picture::clone(&self.pictures.looked_at())
            }),
            Ok(Err(error)) => {
                let why = format!("what is pending cannot be counted: {error:#}");
                let mut picture = Picture::clone(&self.pictures.looked_at());
                picture.blind.push(why);
                Arc::new(picture)
            }
            Err(_) => self.pictures.current(),
        }
    }

    /// How long nobody has called, and no job has run.
    pub fn idle(&self) -> Duration {
        let running = !self.pictures.current().running.is_empty();
        if running {
            Duration::ZERO
        } else {
            self.activity.idle()
        }
    }

    /// The picture for one read property.
    pub fn read(&self) -> (Call<'_>, Arc<Picture>) {
        (self.activity.begin(), self.pictures.current())
    }

    /// Asks for a refresh when the index is stale, none is on its way, and the last one that failed
    /// is not of just now; whoever reads twice asks once. The refresh that is under way then.
    pub fn ask_when_stale(&self, picture: &Picture) -> Option<JobId> {
        if !picture.wants_refresh() {
            return None;
        }
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if !asked.as_ref().is_some_and(|id| self.is_under_way(id)) {
            let request = Request::refresh(Requester::at("dbus", None));
            match request.and_then(|r| queue::submit(&self.paths, &r)) {
                Ok(id) => *asked = Some(id),
                Err(error) => {
                    tracing::warn!("no refresh could be asked for: {error:#}");
                    return None;
                }
            }
        }
        asked.clone()
    }

    /// Whether the refresh `id`, asked for when the picture was `before`, has still to bring a newer
    /// one: the index, and the list made from it. Another job that has just refreshed is as good, and
    /// nobody waits for the update that it goes on to.
    pub fn awaits(&self, id: &JobId, before: &Picture) -> bool {
        let picture = self.pictures.current();
        if picture.running.iter().any(|job| job == id.as_str()) {
            return true;
        }
        let attempted = picture.cache.attempted != before.cache.attempted;
        let by_another = attempted && !picture.running.is_empty();
        self.is_under_way(id) && !by_another
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

    /// The list of pending updates. However many ask at once, the planner is asked once.
    pub async fn pending(&self) -> Result<PendingList> {
        let _turn = self.listing.lock().await;
        let paths = self.paths.clone();
        zruntime::unblock(move || inquire::pending(&paths)).await
    }

    /// What an apply of these names would do. One question after the other is put to the planner, which answers
    /// one after the other; those who ask the same have one answer.
    pub async fn plan(&self, names: Vec<String>) -> Result<Value> {
        let _place = Place::take(&self.waiting)?;
        let _turn = self.planning.lock().await;
        let paths = self.paths.clone();
        zruntime::unblock(move || ask::plan(&paths, &names)).await
    }
}

/// One of the places of those who wait for a plan.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize) -> Result<Self> {
        let place = Self(waiting);
        if waiting.fetch_add(1, Ordering::Relaxed) >= inquiry::MAX_WAITING {
            bail!(inquiry::TooMany);
        }
        Ok(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
