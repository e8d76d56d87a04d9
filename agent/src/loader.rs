//! The threads that load programs and inspect targets. No other thread has the capabilities for it.
//!
//! Each caller has its own queue, and the queues take turns, so that a caller with many requests delays only its own. Work whose caller
//! has disconnected before its start is skipped.

use super::{
    caller::Identity,
    confine,
    limits::{LOADERS, LOADERS_OF_ONE},
};
use anyhow::{Context, Result};
use std::{
    collections::{HashMap, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};
use tokio::sync::oneshot;

type Work = Box<dyn FnOnce() + Send>;

/// The work panicked; the log has the message.
#[derive(Debug, thiserror::Error)]
#[error("a bug: it panicked")]
pub(crate) struct Panicked;

/// A handle to the loading threads, which end with the last handle.
#[derive(Clone)]
pub(crate) struct Loader(Arc<Open>);

/// Closes the queue when it is dropped.
struct Open(Arc<Queue>);

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    /// Waiting work and number of busy threads by caller; `None` is the agent itself.
    callers: HashMap<Option<Identity>, Turns>,
    /// Callers with waiting work, the next one first.
    order: VecDeque<Option<Identity>>,
    closed: bool,
}

#[derive(Default)]
struct Turns {
    work: VecDeque<Work>,
    running: usize,
}

impl Waiting {
    fn push(&mut self, caller: Option<Identity>, work: Work) {
        let turns = self.callers.entry(caller.clone()).or_default();
        if turns.work.is_empty() {
            self.order.push_back(caller);
        }
        turns.work.push_back(work);
    }

    /// The next work of the first caller that has a thread left.
    fn next(&mut self) -> Option<(Option<Identity>, Work)> {
        let free = |caller: &Option<Identity>| {
            let turns = self.callers.get(caller);
            turns.is_some_and(|turns| turns.running < LOADERS_OF_ONE)
        };
        let at = self.order.iter().position(free)?;
        let caller = self.order.remove(at)?;
        let turns = self.callers.get_mut(&caller)?;
        let work = turns.work.pop_front()?;
        turns.running += 1;
        if !turns.work.is_empty() {
            self.order.push_back(caller.clone());
        }
        Some((caller, work))
    }

    fn done(&mut self, caller: &Option<Identity>) {
        if let Some(turns) = self.callers.get_mut(caller) {
            turns.running -= 1;
            if turns.running == 0 && turns.work.is_empty() {
                self.callers.remove(caller);
            }
        }
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self) {
        // The log reports a missing seccomp already.
        let _ = confine::load();
        let mut waiting = self.lock();
        loop {
            if let Some((caller, work)) = waiting.next() {
                drop(waiting);
                work();
                waiting = self.lock();
                waiting.done(&caller);
                // Another thread may have waited for this caller's turn.
                self.changed.notify_all();
                continue;
            }
            if waiting.closed {
                return;
            }
            waiting = self
                .changed
                .wait(waiting)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.changed.notify_all();
    }
}

impl Loader {
    /// Starts them with what this thread has.
    ///
    /// # Errors
    /// If a thread cannot be created.
    pub(crate) fn start() -> Result<Self> {
        let queue = Arc::new(Queue::default());
        let open = Open(Arc::clone(&queue));
        for _ in 0..LOADERS {
            let queue = Arc::clone(&queue);
            thread::Builder::new()
                .name("tracejob-load".to_owned())
                .spawn(move || queue.serve())
                .context("cannot start a loading thread")?;
        }
        Ok(Self(Arc::new(open)))
    }

    /// Runs work on a loading thread when it is its caller's turn. Work is skipped if the caller is gone by then.
    ///
    /// # Errors
    /// If the work panics.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        caller: Option<Identity>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Panicked> {
        let (sender, done) = oneshot::channel();
        let work = move || {
            if sender.is_closed() {
                return;
            }
            if let Ok(result) = catch_unwind(AssertUnwindSafe(work)) {
                // The caller is gone: the result is dropped here.
                let _ = sender.send(result);
            }
        };
        let Open(queue) = &*self.0;
        queue.lock().push(caller, Box::new(work));
        queue.changed.notify_one();
        done.await.map_err(|_| Panicked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn user(uid: u32) -> Option<Identity> {
        Some(Identity::User(uid))
    }

    #[tokio::test]
    async fn work_that_panics_is_an_error_and_the_next_is_done() {
        let loader = Loader::start().unwrap();
        for _ in 0..2 * LOADERS {
            let panics = loader.run(user(1), || panic!("as intended"));
            assert!(panics.await.is_err());
        }
        assert_eq!(loader.run(user(1), || 7).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn a_busy_caller_delays_no_other_and_abandoned_work_is_skipped() {
        let loader = Loader::start().unwrap();
        let (open, gate) = mpsc::channel::<()>();
        let gate = Arc::new(Mutex::new(gate));
        let (began, begins) = mpsc::channel();
        // A hundred works that end when the gate opens.
        let greedy: Vec<_> = (0..100)
            .map(|_| {
                let (loader, gate, began) = (loader.clone(), Arc::clone(&gate), began.clone());
                tokio::spawn(async move {
                    let work = move || {
                        began.send(()).unwrap();
                        let _ = gate.lock().unwrap().recv();
                    };
                    loader.run(user(1), work).await
                })
            })
            .collect();
        drop(began);
        // The test's runtime has one worker: yield until all are in the queue.
        while loader
            .0
            .0
            .lock()
            .callers
            .get(&user(1))
            .is_none_or(|turns| turns.running + turns.work.len() < 100)
        {
            tokio::task::yield_now().await;
        }
        assert_eq!(loader.run(user(2), || 7).await.unwrap(), 7);
        for task in &greedy {
            task.abort();
        }
        for task in greedy {
            let _ = task.await;
        }
        drop(open);
        assert_eq!(loader.run(user(1), || 8).await.unwrap(), 8);
        let begun = begins.iter().count();
        assert!((1..=LOADERS_OF_ONE).contains(&begun), "{begun}");
    }

    #[test]
    fn threads_end_with_the_last_handle() {
        let loader = Loader::start().unwrap();
        let queue = Arc::downgrade(&loader.0.0);
        drop(loader);
        let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while queue.upgrade().is_some() {
            assert!(std::time::Instant::now() < end, "they go on");
            thread::yield_now();
        }
    }
}
