//! Time limit for calls that may hang, on a thread that can be abandoned.
//!
//! A target controls its file systems: an open(2) on a FUSE mount waits for the target's own server, possibly forever. Only the end of the
//! whole process ends such a wait, so the waiting thread is abandoned and counted.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

/// Maximum threads that hang at once. With this many, no file of a target is opened until one of them returns.
const LOST_MAX: usize = 16;

/// Reason of a missing result.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TimedOut {
    /// The call did not return in time.
    #[error("it took too long")]
    TookTooLong,
    /// The call was not started: too many threads hang already, or no thread can be created.
    #[error("too much hangs already")]
    NotBegun,
}

type Work = Box<dyn FnOnce() + Send>;

/// A thread that runs calls with a time limit.
#[derive(Debug, Default)]
pub(super) struct TimeLimit {
    work: Option<mpsc::Sender<Work>>,
    running: Arc<AtomicUsize>,
}

impl TimeLimit {
    /// Runs a call, and waits for its result until the time limit.
    pub(super) fn run<T: Send + 'static>(
        &mut self,
        limit: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, TimedOut> {
        let (sender, result) = mpsc::sync_channel(1);
        let worker = self.worker()?;
        let work = move || {
            // An error means that the caller no longer waits. The result is dropped here, where dropping may hang.
            let _ = sender.send(work());
        };
        worker
            .send(Box::new(work))
            .map_err(|mpsc::SendError(_)| TimedOut::NotBegun)?;
        result.recv_timeout(limit).map_err(|_| {
            // The thread ends when its call returns, because its channel is closed.
            self.work = None;
            TimedOut::TookTooLong
        })
    }

    /// Drops a value without waiting: closing a file may hang as well.
    pub(super) fn discard(&mut self, thing: impl Send + 'static) {
        if let Some(worker) = &self.work {
            // If the thread has ended, the channel returns the value, and it is dropped here: its calls were not slow so far.
            let _ = worker.send(Box::new(move || drop(thing)));
        }
    }

    fn worker(&mut self) -> Result<&mpsc::Sender<Work>, TimedOut> {
        if self.work.is_none() {
            if self.running.load(Ordering::Relaxed) > LOST_MAX {
                return Err(TimedOut::NotBegun);
            }
            let (sender, work) = mpsc::channel::<Work>();
            let running = Running::new(&self.running);
            thread::Builder::new()
                .name("symbol-files".into())
                .spawn(move || {
                    let _running = running;
                    work.into_iter().for_each(|work| work());
                })
                .map_err(|_| TimedOut::NotBegun)?;
            self.work = Some(sender);
        }
        self.work.as_ref().ok_or(TimedOut::NotBegun)
    }
}

/// Count of a running thread, until its end of any kind.
struct Running(Arc<AtomicUsize>);

impl Running {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    const SOON: Duration = Duration::from_millis(1);
    const LONG: Duration = Duration::from_secs(10);

    #[test]
    fn work_that_ends_gives_its_result() {
        let mut time_limit = TimeLimit::default();
        assert_eq!(time_limit.run(LONG, || 7), Ok(7));
        assert_eq!(time_limit.run(LONG, || 8), Ok(8));
    }

    #[test]
    fn work_that_hangs_is_left_behind_and_the_next_one_runs() {
        let mut time_limit = TimeLimit::default();
        let (release, hang) = mpsc::channel::<()>();
        assert_eq!(
            time_limit.run(SOON, move || hang.recv().is_ok()),
            Err(TimedOut::TookTooLong)
        );
        assert_eq!(time_limit.run(LONG, || 7), Ok(7));
        drop(release);
    }

    #[test]
    fn work_that_panics_is_an_error_and_the_next_one_runs() {
        let mut time_limit = TimeLimit::default();
        assert_eq!(
            time_limit.run(LONG, || panic!("as intended")),
            Err::<(), _>(TimedOut::TookTooLong)
        );
        assert_eq!(time_limit.run(LONG, || 7), Ok(7));
    }

    #[test]
    fn no_more_than_a_few_threads_hang_and_they_come_back() {
        let mut time_limit = TimeLimit::default();
        let mut held = Vec::new();
        while held.len() <= LOST_MAX {
            let (release, hang) = mpsc::channel::<()>();
            assert!(time_limit.run(SOON, move || hang.recv().is_ok()).is_err());
            held.push(release);
        }
        assert_eq!(time_limit.run(LONG, || 7), Err(TimedOut::NotBegun));
        drop(held);
        let deadline = Instant::now() + LONG;
        while time_limit.run(LONG, || 7).is_err() {
            assert!(Instant::now() < deadline, "the threads come back");
            thread::yield_now();
        }
    }
}
