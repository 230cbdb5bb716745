//! The life of a job, read from its record: pure.
//!
//! ```text
//! request ─► open ──succeed, fail, cancel──► judged ──record──► ended
//!            │  ▲ ▲                            │
//!     defer, │  │ └────self package follows────┘
//!   conflict │  │ requeue
//!            ▼  │
//!           parked ──────────fail, cancel──────► judged
//! ```
//!
//! Until it has ended, a job also has a progress:
//!
//! ```text
//!         fresh ──requeue in part──► resumed
//!           │                           │
//!  self package follows       self package follows
//!           ▼                           ▼
//!      self update ──requeue in part──► self update, resumed
//! ```
//!
//! A job is requeued in part once. If it is interrupted again, the worker judges it by the state of the host.

use crate::host::clock;
use crate::state::job::{Job, JobStatus};

/// How far a job has come that has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobProgress {
    /// It begins with its request.
    Fresh,
    /// It was requeued with a part applied that is not verified: that part is verified together with the rest.
    Resumed,
    /// Everything else is applied and verified, and our own package is still to be updated.
    SelfUpdate,
    /// The same, of a job that was requeued in part.
    SelfUpdateResumed,
}

impl JobProgress {
    /// Whether only our own package is left.
    #[must_use]
    pub fn is_self_update(self) -> bool {
        matches!(self, Self::SelfUpdate | Self::SelfUpdateResumed)
    }

    /// Whether the job was requeued in part.
    #[must_use]
    pub fn is_requeued(self) -> bool {
        matches!(self, Self::Resumed | Self::SelfUpdateResumed)
    }
}

/// Where a job is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobLife {
    /// It waits in the queue, or a worker has it.
    Open(JobProgress),
    /// It is deferred or in conflict.
    Parked(JobProgress),
    /// Its result is known, and not recorded yet.
    Judged(JobProgress),
    /// Its record is complete.
    Ended,
}

/// What happens to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobEvent {
    /// A worker begins to serve it.
    Begin,
    /// It waits for the network or for a shutdown.
    Defer,
    /// Its preconditions do not hold.
    Conflict,
    /// It returns to the queue with no more applied than before.
    Requeue,
    /// It returns to the queue because it was interrupted with a part applied.
    RequeueInPart,
    /// All that it asks for is done, or was to be done by its present part.
    Succeed,
    /// It failed.
    Fail,
    /// It was cancelled.
    Cancel,
    /// It has succeeded, and our own package is updated next.
    SelfPackageFollows,
    /// Its result is written to its record.
    Record,
}

impl JobEvent {
    /// Every event.
    pub const ALL: [Self; 10] = [
        Self::Begin,
        Self::Defer,
        Self::Conflict,
        Self::Requeue,
        Self::RequeueInPart,
        Self::Succeed,
        Self::Fail,
        Self::Cancel,
        Self::SelfPackageFollows,
        Self::Record,
    ];
}

/// An event that cannot happen to a job at this point of its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IllegalEvent {
    /// Where the job is.
    pub life: JobLife,
    /// The event.
    pub event: JobEvent,
}

impl std::fmt::Display for IllegalEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { life, event } = self;
        write!(f, "{event:?} cannot happen to a job that is {life:?}")
    }
}

impl std::error::Error for IllegalEvent {}

/// Where an event leads.
pub fn next(life: JobLife, event: JobEvent) -> Result<JobLife, IllegalEvent> {
    use JobEvent as E;
    use JobLife as L;
    use JobProgress as P;
    Ok(match (life, event) {
        // one of which a part is verified goes on, which leaves the host in a better state
        (L::Open(progress @ (P::Fresh | P::Resumed)), E::Defer)
        | (L::Open(progress), E::Conflict) => L::Parked(progress),
        (L::Open(progress), E::Begin) | (L::Open(progress) | L::Parked(progress), E::Requeue) => {
            L::Open(progress)
        }
        (L::Open(P::Fresh) | L::Parked(P::Fresh), E::RequeueInPart) => L::Open(P::Resumed),
        (L::Open(P::SelfUpdate) | L::Parked(P::SelfUpdate), E::RequeueInPart) => {
            L::Open(P::SelfUpdateResumed)
        }
        // a worker that died while it parked the job leaves it parked and in its hands
        (L::Open(progress) | L::Parked(progress), E::Succeed | E::Fail | E::Cancel)
        | (L::Judged(progress), E::Fail) => L::Judged(progress),
        (L::Judged(P::Fresh), E::SelfPackageFollows) => L::Open(P::SelfUpdate),
        (L::Judged(P::Resumed), E::SelfPackageFollows) => L::Open(P::SelfUpdateResumed),
        (L::Judged(_), E::Record) => L::Ended,
        _ => return Err(IllegalEvent { life, event }),
    })
}

impl Job {
    /// How far it has come.
    #[must_use]
    pub fn progress(&self) -> JobProgress {
        match (self.earlier.is_empty(), self.requeued) {
            (true, false) => JobProgress::Fresh,
            (true, true) => JobProgress::Resumed,
            (false, false) => JobProgress::SelfUpdate,
            (false, true) => JobProgress::SelfUpdateResumed,
        }
    }

    /// Where it is in its life.
    #[must_use]
    pub fn life(&self) -> JobLife {
        let progress = self.progress();
        match self.status {
            JobStatus::Queued | JobStatus::Running => JobLife::Open(progress),
            JobStatus::Deferred | JobStatus::Conflict => JobLife::Parked(progress),
            _ if self.finished_at.is_none() => JobLife::Judged(progress),
            JobStatus::Succeeded | JobStatus::Failed | JobStatus::Cancelled => JobLife::Ended,
        }
    }

    /// Takes an event into the record, which the caller writes; an error, and nothing is changed, if it cannot
    /// happen now.
    pub fn take(&mut self, event: JobEvent) -> Result<(), IllegalEvent> {
        next(self.life(), event)?;
        match event {
            JobEvent::Begin => self.status = JobStatus::Running,
            JobEvent::Defer => self.status = JobStatus::Deferred,
            JobEvent::Conflict => self.status = JobStatus::Conflict,
            // the worker that takes it out of the queue makes a new record of this one
            JobEvent::Requeue => {}
            JobEvent::RequeueInPart => self.requeued = true,
            JobEvent::Succeed => self.status = JobStatus::Succeeded,
            JobEvent::Fail => self.status = JobStatus::Failed,
            JobEvent::Cancel => self.status = JobStatus::Cancelled,
            JobEvent::SelfPackageFollows => {
                self.status = JobStatus::Running;
                self.earlier.push(self.update.clone());
            }
            JobEvent::Record => self.finished_at = Some(clock::now()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Options, Request, Requester, Target};
    use expect_test::expect;

    const PROGRESS: [JobProgress; 4] = [
        JobProgress::Fresh,
        JobProgress::Resumed,
        JobProgress::SelfUpdate,
        JobProgress::SelfUpdateResumed,
    ];

    #[test]
    fn the_full_matrix() {
        use std::fmt::Write;
        let open = PROGRESS.map(JobLife::Open);
        let parked = PROGRESS.map(JobLife::Parked);
        let judged = PROGRESS.map(JobLife::Judged);
        let lives = open.into_iter().chain(parked).chain(judged);
        let mut matrix = String::new();
        for life in lives.chain([JobLife::Ended]) {
            let mut steps = String::new();
            for event in JobEvent::ALL {
                match next(life, event) {
                    Ok(to) if to == life => {
                        let _ = write!(steps, " {event:?}");
                    }
                    Ok(to) => {
                        let _ = write!(steps, " {event:?}->{to:?}");
                    }
                    Err(IllegalEvent { .. }) => {}
                }
            }
            let _ = writeln!(matrix, "{life:?}:{steps}");
        }
        expect![[r"
            Open(Fresh): Begin Defer->Parked(Fresh) Conflict->Parked(Fresh) Requeue RequeueInPart->Open(Resumed) Succeed->Judged(Fresh) Fail->Judged(Fresh) Cancel->Judged(Fresh)
            Open(Resumed): Begin Defer->Parked(Resumed) Conflict->Parked(Resumed) Requeue Succeed->Judged(Resumed) Fail->Judged(Resumed) Cancel->Judged(Resumed)
            Open(SelfUpdate): Begin Conflict->Parked(SelfUpdate) Requeue RequeueInPart->Open(SelfUpdateResumed) Succeed->Judged(SelfUpdate) Fail->Judged(SelfUpdate) Cancel->Judged(SelfUpdate)
            Open(SelfUpdateResumed): Begin Conflict->Parked(SelfUpdateResumed) Requeue Succeed->Judged(SelfUpdateResumed) Fail->Judged(SelfUpdateResumed) Cancel->Judged(SelfUpdateResumed)
            Parked(Fresh): Requeue->Open(Fresh) RequeueInPart->Open(Resumed) Succeed->Judged(Fresh) Fail->Judged(Fresh) Cancel->Judged(Fresh)
            Parked(Resumed): Requeue->Open(Resumed) Succeed->Judged(Resumed) Fail->Judged(Resumed) Cancel->Judged(Resumed)
            Parked(SelfUpdate): Requeue->Open(SelfUpdate) RequeueInPart->Open(SelfUpdateResumed) Succeed->Judged(SelfUpdate) Fail->Judged(SelfUpdate) Cancel->Judged(SelfUpdate)
            Parked(SelfUpdateResumed): Requeue->Open(SelfUpdateResumed) Succeed->Judged(SelfUpdateResumed) Fail->Judged(SelfUpdateResumed) Cancel->Judged(SelfUpdateResumed)
            Judged(Fresh): Fail SelfPackageFollows->Open(SelfUpdate) Record->Ended
            Judged(Resumed): Fail SelfPackageFollows->Open(SelfUpdateResumed) Record->Ended
            Judged(SelfUpdate): Fail Record->Ended
            Judged(SelfUpdateResumed): Fail Record->Ended
            Ended:
        "]]
        .assert_eq(&matrix);
    }

    #[test]
    fn the_record_is_where_the_machine_says() {
        let request = Request::apply(Target::All, Options::default(), Requester::at("test", None));
        let fresh = Job::new(request.unwrap());
        let mut seen = vec![fresh];
        let mut place = 0;
        while place < seen.len() {
            for event in JobEvent::ALL {
                let mut job = seen[place].clone();
                let expected = next(job.life(), event);
                let taken = job.take(event);
                assert_eq!(taken.err(), expected.err(), "{event:?}");
                let is_requeue = matches!(event, JobEvent::Requeue | JobEvent::RequeueInPart);
                if is_requeue && matches!(expected, Ok(JobLife::Open(_))) {
                    // only when the next worker takes it out of the queue
                    job = job.requeued_record();
                }
                assert_eq!(
                    job.life(),
                    expected.unwrap_or(seen[place].life()),
                    "{event:?}"
                );
                if seen.iter().all(|other| other.life() != job.life()) {
                    seen.push(job);
                }
            }
            place += 1;
        }
        // a job with only its own package left is never deferred, and can be in conflict
        assert_eq!(seen.len(), 13);
    }
}
