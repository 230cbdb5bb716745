//! Jobs of which a part is done: what that is, and what is left to do.

use crate::package::{Change, Database, RollbackItem};
use crate::state::job::Job;
use crate::state::life::JobProgress;

/// What a transaction that was put back has done already: it belongs to the one that does the rest, is
/// judged with it, and undone with it.
#[derive(Debug, Default)]
pub struct AppliedSoFar {
    pub changes: Vec<Change>,
    pub former: Vec<RollbackItem>,
}

/// The changes that the gate let through, and where each former version comes from.
#[derive(Debug)]
pub struct Approved {
    pub changes: Vec<Change>,
    pub former: Vec<RollbackItem>,
}

impl AppliedSoFar {
    /// What these jobs have done. Not what was judged before our own package: that is good.
    pub fn of(jobs: &[Job]) -> Self {
        let mut done = Self::default();
        for job in jobs
            .iter()
            .filter(|job| job.progress() == JobProgress::Resumed)
        {
            add(&mut done.changes, &job.changes);
            add(&mut done.former, &job.former);
        }
        done
    }

    /// The whole transaction: the rest, and what was done before; a package that is changed again goes from
    /// where it was first to where it is now.
    pub fn with(&self, approved: Approved) -> Approved {
        let Approved {
            mut changes,
            mut former,
        } = approved;
        for done in &self.changes {
            match changes.iter_mut().find(|c| c.former_key() == done.key()) {
                Some(change) => since(change, done),
                None => changes.push(done.clone()),
            }
        }
        for done in &self.former {
            let (key, mut done) = (done.change.key(), done.clone());
            let again = former.iter().position(|f| f.change.former_key() == key);
            if let Some(again) = again {
                let mut change = former.remove(again).change;
                since(&mut change, &done.change);
                done.change = change;
            }
            former.push(done);
        }
        Approved { changes, former }
    }
}

/// Makes one change of two: of the second, and of the first before it.
pub fn since(change: &mut Change, first: &Change) {
    let former = first.former_key().architecture;
    change.former_architecture = Some(former).filter(|former| *former != change.architecture);
    change.from.clone_from(&first.from);
}

/// Everything has gone back: a job that was put back has done nothing any more.
pub fn nothing_is_done(job: &mut Job) {
    if job.progress() == JobProgress::Resumed {
        job.changes.clear();
        job.former.clear();
    }
}

/// Whether changes of the job are applied that no worker has verified.
pub fn is_unverified(job: &Job) -> bool {
    job.progress() == JobProgress::Resumed && !job.changes.is_empty()
}

/// Adds to a record what a part of the job that was done before has not left there already.
pub fn add<T: Clone + PartialEq>(record: &mut Vec<T>, new: &[T]) {
    for item in new {
        if !record.contains(item) {
            record.push(item.clone());
        }
    }
}

/// What of these changes is made, by what is installed now: pure.
pub fn done(changes: &[Change], now: &Database) -> Vec<Change> {
    let made = |change: &&Change| change.is_made(now);
    changes.iter().filter(made).cloned().collect()
}
