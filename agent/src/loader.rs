//! The threads that may ask the kernel for programs and look at targets. Everybody else asks them.
//!
//! Each caller has a queue of its own, and they take turns: whoever asks for much waits for himself. Work whose caller has gone
//! before it was begun is not done.

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

/// What was to be done panicked, which the log tells of.
#[derive(Debug, thiserror::Error)]
#[error("a bug: it panicked")]
pub(crate) struct Panicked;

/// A handle of them. They end with the last one.
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
    /// What waits, and how many threads work, by caller; none is the agent itself.
    callers: HashMap<Option<Identity>, Turns>,
    /// Those for whom something waits, the next one first.
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
        // Where there is no seccomp, the log has said so already.
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
    /// Where there is no room for a thread.
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

    /// Does it there in its caller's turn, unless nobody waits for it any more when it is begun.
    ///
    /// # Errors
    /// Where it panics.
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
                // Nobody waits any more: what was made is dropped here.
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
    async fn who_asks_for_much_holds_up_nobody_else_and_what_nobody_waits_for_is_not_done() {
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
        // One worker of the test's runtime: let them all get into the queue.
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
