//! What the calls of a door share: the picture, who is calling, which refresh was asked for.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;

use super::ask;
use super::idle::{Activity, Call};
use super::picture::{Picture, Pictures};
use crate::host::clock;
use crate::paths::Paths;
use crate::queue;
use crate::request::{JobId, Request, Requester};
use crate::state::blocked::Blocked;
use crate::state::cache::Cache;
use crate::state::job::Job;
use crate::state::pending::PendingList;

/// What all calls share.
pub struct Door {
    pub paths: Paths,
    pub pictures: Pictures,
    pub activity: Activity,
    /// The list worked out here, because the worker's was no longer valid.
    list: zruntime::lock::Mutex<Option<PendingList>>,
    /// The refresh that was last asked for.
    asked: Mutex<Option<JobId>>,
}

impl Door {
    pub fn new(paths: Paths) -> Self {
        Self {
            pictures: Pictures::new(paths.clone()),
            paths,
            activity: Activity::new(),
            list: zruntime::lock::Mutex::new(None),
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

    /// The list of pending updates; worked out here, unprivileged, when the worker's is not valid.
    pub async fn pending(&self) -> Result<PendingList> {
        // whoever comes while it is worked out waits here and finds it
        let mut own = self.list.lock().await;
        let stored = PendingList::load(&self.paths);
        let paths = self.paths.clone();
        let known = [stored, own.clone()];
        let list = zruntime::unblock(move || list(&paths, known)).await?;
        *own = Some(list.clone());
        Ok(list)
    }
}

/// The first of the known lists that is valid, or one that is worked out now.
pub fn list(
    paths: &Paths,
    known: impl IntoIterator<Item = Option<PendingList>>,
) -> Result<PendingList> {
    let packages = ask::packages(paths)?;
    let cache = Cache::load(paths);
    let failed = cache.failed_sources();
    let fingerprint = packages.fingerprint(&failed);
    let now = clock::now();
    if let Some(list) = known
        .into_iter()
        .flatten()
        .find(|l| l.is_valid(&fingerprint, now))
    {
        return Ok(list);
    }
    let pending = packages.pending(&failed)?;
    let mut blocked = Blocked::load(paths);
    // the worker writes down what has lapsed
    blocked.lapse(&pending);
    let pending = blocked.offered(pending);
    Ok(PendingList {
        computed_at: Some(now),
        fingerprint: Some(fingerprint),
        pending,
    })
}
