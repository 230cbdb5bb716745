//! Work that many callers ask for at once and that is done once for all of them.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The results of one kind of work. A caller gets the result of work that has begun after it asked: its own, or that
/// of another caller. The work is done in a thread of its own, one piece after the other.
#[derive(Debug)]
pub struct Shared<T> {
    /// How many have asked so far.
    asked: AtomicU64,
    /// How many wait now; the last one to go takes the result along.
    waiting: AtomicUsize,
    latest: zruntime::lock::Mutex<Option<Done<T>>>,
}

#[derive(Debug)]
struct Done<T> {
    /// How many had asked when the work began.
    begun: u64,
    result: T,
}

impl<T: Clone + Send + 'static> Shared<T> {
    /// No caller has asked yet.
    pub fn new() -> Self {
        Self {
            asked: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            latest: zruntime::lock::Mutex::new(None),
        }
    }

    /// The result of the work, done for this caller or for all who have asked by the time it begins.
    pub async fn get(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let number = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
        let place = Waiter::take(&self.waiting);
        let mut latest = self.latest.lock().await;
        let result = match &*latest {
            Some(done) if done.begun >= number => done.result.clone(),
            _ => {
                let begun = self.asked.load(Ordering::Relaxed);
                let result = zruntime::unblock(work).await;
                *latest = Some(Done {
                    begun,
                    result: result.clone(),
                });
                result
            }
        };
        if place.leave() {
            *latest = None;
        }
        result
    }
}

/// One of those who wait; it is counted until it goes, however that happens.
struct Waiter<'a>(&'a AtomicUsize);

impl<'a> Waiter<'a> {
    fn take(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }

    /// Goes; whether no other caller waits.
    fn leave(self) -> bool {
        let last = self.0.load(Ordering::Relaxed) == 1;
        drop(self);
        last
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn those_who_ask_together_share_and_those_who_ask_later_do_not() {
        zbus::block_on(async {
            let runtime = zruntime::SharedRuntime::current().unwrap();
            let (shared, runs) = (Arc::new(Shared::new()), Arc::new(AtomicUsize::new(0)));
            let ask = || {
                let (shared, runs) = (Arc::clone(&shared), Arc::clone(&runs));
                let work = move || {
                    std::thread::sleep(Duration::from_millis(50));
                    runs.fetch_add(1, Ordering::Relaxed) + 1
                };
                runtime.spawn("asks", async move { shared.get(work).await })
            };
            let many: Vec<_> = (0..20).map(|_| ask()).collect();
            for task in many {
                assert!(task.await.unwrap() <= 2);
            }
            // the first begins at once; the other nineteen have asked before the second begins
            assert!(runs.load(Ordering::Relaxed) <= 2);
            assert!(shared.latest.lock().await.is_none(), "nothing is kept");
            let before = runs.load(Ordering::Relaxed);
            assert_eq!(
                ask().await.unwrap(),
                before + 1,
                "done again for one who asks later"
            );
        });
    }
}
