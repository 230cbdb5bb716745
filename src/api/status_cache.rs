//! The latest picture, kept for as long as the files behind it stay as they are.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::inquire;
use super::stamps::Stamps;
use super::status::{HostStatus, progress_of};
use crate::package::all_database_files;
use crate::paths::Paths;

/// How long a look at the files behind a picture holds for the properties that are read one after the other, as
/// `GetAll` does with all of them.
const LOOK_HOLDS: Duration = Duration::from_millis(2);

/// How long what the stamps cannot show of the index and the configuration, such as a list that was edited in
/// place, is taken to be as it was.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The latest picture, taken again when one of the files behind it has changed.
pub struct StatusCache {
    paths: Paths,
    latest: Mutex<Option<Latest>>,
    /// What is wrong with the units that wake us, as it was last seen.
    units: Mutex<Vec<String>>,
    /// The turns of those who find that something has changed: the first has the new picture taken for all.
    turn: zruntime::lock::Mutex<()>,
}

#[derive(Clone)]
struct Latest {
    stamps: Arc<Stamps>,
    picture: Arc<HostStatus>,
    /// When the files were last found to be as they were.
    looked: Option<Instant>,
    /// When index, package database and configuration were last looked at as a whole.
    looked_whole: Option<Instant>,
}

impl StatusCache {
    /// No picture is taken yet.
    #[must_use]
    pub fn new(paths: Paths) -> Self {
        Self {
            paths,
            latest: Mutex::new(None),
            units: Mutex::default(),
            turn: zruntime::lock::Mutex::new(()),
        }
    }

    /// What was seen of the units that wake us: a sentence for each that is not as it has to be.
    pub fn set_units(&self, wrong: Vec<String>) {
        *self.units.lock().unwrap_or_else(PoisonError::into_inner) = wrong;
        self.look_again();
    }

    /// As [`current`](Self::current), with everything looked at again.
    pub async fn looked_at(&self) -> Arc<HostStatus> {
        if let Some(latest) = &mut *self.latest() {
            latest.looked_whole = None;
        }
        self.current().await
    }

    /// The picture as of now. It is taken in another thread, once for all who wait for it.
    pub async fn current(&self) -> Arc<HostStatus> {
        if let Some(known) = self.known(true) {
            return known;
        }
        let _turn = self.turn.lock().await;
        if let Some(known) = self.known(false) {
            return known;
        }
        let (paths, units, before) = (self.paths.clone(), self.units(), self.latest().clone());
        let latest = zruntime::unblock(move || Latest::after(&paths, units, before)).await;
        let picture = Arc::clone(&latest.picture);
        *self.latest() = Some(latest);
        picture
    }

    /// Has the next caller look at the files, however short a time ago that was done.
    pub fn look_again(&self) {
        if let Some(latest) = &mut *self.latest() {
            latest.looked = None;
        }
    }

    /// The latest picture, if it still holds; `just_now` is enough where that was looked at a moment ago.
    fn known(&self, just_now: bool) -> Option<Arc<HostStatus>> {
        let units = self.units();
        let mut latest = self.latest();
        let known = latest.as_mut()?;
        if !is_within(known.looked_whole, LOOK_AGAIN) {
            return None;
        }
        if !(just_now && is_within(known.looked, LOOK_HOLDS)) {
            let fingerprint = known.stamps.fingerprint.clone();
            let files = known.stamps.database_files.clone();
            if *known.stamps != Stamps::of(&self.paths, units, fingerprint, files) {
                return None;
            }
            known.looked = Some(Instant::now());
        }
        Some(Arc::clone(&known.picture))
    }

    fn units(&self) -> Vec<String> {
        let units = self.units.lock();
        units.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn latest(&self) -> MutexGuard<'_, Option<Latest>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_within(since: Option<Instant>, limit: Duration) -> bool {
    since.is_some_and(|since| since.elapsed() < limit)
}

impl Latest {
    /// The picture after `before`. While a job runs, its progress comes often: that is no reason to read
    /// everything again, and as long as it comes, what the package manager is changing says nothing yet.
    fn after(paths: &Paths, units: Vec<String>, before: Option<Self>) -> Self {
        let known = before
            .as_ref()
            .filter(|b| is_within(b.looked_whole, LOOK_AGAIN));
        let ((fingerprint, files), looked_whole) = match known {
            Some(known) => {
                let stamps = &known.stamps;
                let whole = (stamps.fingerprint.clone(), stamps.database_files.clone());
                (whole, known.looked_whole)
            }
            None => (
                inquire::fingerprint_and_files(paths)
                    .unwrap_or_else(|_| (String::new(), all_database_files())),
                Some(Instant::now()),
            ),
        };
        let mut stamps = Stamps::of(paths, units, fingerprint, files);
        let picture = match before {
            Some(before) if *before.stamps == stamps => before.picture,
            Some(before) if before.is_further(&stamps) => {
                // a job whose progress has stopped is looked at closely
                stamps.database.clone_from(&before.stamps.database);
                stamps.fingerprint.clone_from(&before.stamps.fingerprint);
                Arc::new(HostStatus {
                    progress: progress_of(paths, &before.picture.running),
                    ..HostStatus::clone(&before.picture)
                })
            }
            _ => {
                let mut picture = HostStatus::take(paths);
                picture.blind.extend_from_slice(&stamps.units);
                Arc::new(picture)
            }
        };
        Self {
            stamps: Arc::new(stamps),
            picture,
            looked: None,
            looked_whole,
        }
    }

    /// Whether nothing but the progress of a running job and what it changes is another than here.
    fn is_further(&self, now: &Stamps) -> bool {
        self.stamps.records == now.records
            && self.stamps.directories == now.directories
            && self.stamps.units == now.units
            && self.stamps.progress != now.progress
            && !self.picture.running.is_empty()
    }
}
