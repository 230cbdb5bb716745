//! When the service may stop: no client has called for a while, and no call is under way.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// Counts the calls under way and knows when the last one was.
#[derive(Debug)]
pub struct Activity {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    under_way: usize,
    last: Instant,
}

/// A call under way, until dropped.
#[derive(Debug)]
pub struct ActiveCall<'a>(&'a Activity);

impl Activity {
    /// Nothing has happened yet, which counts as having happened now.
    #[must_use]
    pub fn new() -> Self {
        Self {
            inner: Mutex::new(Inner {
                under_way: 0,
                last: Instant::now(),
            }),
        }
    }

    /// A call begins.
    #[must_use]
    pub fn begin(&self) -> ActiveCall<'_> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.under_way += 1;
        inner.last = Instant::now();
        ActiveCall(self)
    }

    /// How long nothing has been under way; zero while something is.
    #[must_use]
    pub fn idle(&self) -> Duration {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.under_way > 0 {
            Duration::ZERO
        } else {
            inner.last.elapsed()
        }
    }
}

impl Drop for ActiveCall<'_> {
    fn drop(&mut self) {
        let mut inner = self.0.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.under_way = inner.under_way.saturating_sub(1);
        inner.last = Instant::now();
    }
}
