//! What the calls of a door share: the picture, who is calling, which refresh was asked for.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::Value;

use super::idle::{Activity, Call};
use super::picture::{Picture, Pictures};
use super::{ask, inquire};
use crate::paths::Paths;
use crate::queue::{self, inquiry};
use crate::request::{JobId, Request, Requester};
use crate::state::job::Job;
use crate::state::pending::PendingList;

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
