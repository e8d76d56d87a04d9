//! Runs what may hang, on a thread that can be left behind.
//!
//! A target decides what its files are: opening one on a FUSE mount waits until the target's own server answers, if it ever does.
//! Nothing can end such a wait from outside but the death of the whole process, so the thread that waits is given up, and counted.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

/// How many threads may hang at once. With all of them lost, nothing of a target is opened until one comes back.
const LOST_MAX: usize = 16;

/// Why there is no result.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum OutOfPatience {
    /// The work did not end in time.
    #[error("it took too long")]
    TookTooLong,
    /// It was not begun: too much hangs already, or no thread can be had.
    #[error("too much hangs already")]
    NotBegun,
}

type Work = Box<dyn FnOnce() + Send>;

/// A thread that works while somebody waits for it, up to a time.
#[derive(Debug, Default)]
pub(super) struct Patience {
    work: Option<mpsc::Sender<Work>>,
    running: Arc<AtomicUsize>,
}

impl Patience {
    /// Runs it, at most that long.
    pub(super) fn run<T: Send + 'static>(
        &mut self,
        limit: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, OutOfPatience> {
        let (sender, result) = mpsc::sync_channel(1);
        let worker = self.worker()?;
        let work = move || {
            // Nobody waits any more if this fails, and the result is dropped here, where dropping may hang.
            let _ = sender.send(work());
        };
        worker
            .send(Box::new(work))
            .map_err(|mpsc::SendError(_)| OutOfPatience::NotBegun)?;
        result.recv_timeout(limit).map_err(|_| {
            // The thread ends when it gets free, because nobody can give it work any more.
            self.work = None;
            OutOfPatience::TookTooLong
        })
    }

    /// Drops it, without waiting: closing a file may hang as well.
    pub(super) fn discard(&mut self, thing: impl Send + 'static) {
        if let Some(worker) = &self.work {
            // If the thread is gone, the channel hands the thing back and it is dropped here: nothing of it was slow so far.
            let _ = worker.send(Box::new(move || drop(thing)));
        }
    }

    fn worker(&mut self) -> Result<&mpsc::Sender<Work>, OutOfPatience> {
        if self.work.is_none() {
            if self.running.load(Ordering::Relaxed) > LOST_MAX {
                return Err(OutOfPatience::NotBegun);
            }
            let (sender, work) = mpsc::channel::<Work>();
            let running = Running::new(&self.running);
            thread::Builder::new()
                .name("symbol-files".into())
                .spawn(move || {
                    let _running = running;
                    work.into_iter().for_each(|work| work());
                })
                .map_err(|_| OutOfPatience::NotBegun)?;
            self.work = Some(sender);
        }
        self.work.as_ref().ok_or(OutOfPatience::NotBegun)
    }
}

/// Counts a thread as long as it is there, however it ends.
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
        let mut patience = Patience::default();
        assert_eq!(patience.run(LONG, || 7), Ok(7));
        assert_eq!(patience.run(LONG, || 8), Ok(8));
    }

    #[test]
    fn work_that_hangs_is_left_behind_and_the_next_one_runs() {
        let mut patience = Patience::default();
        let (release, hang) = mpsc::channel::<()>();
        assert_eq!(
            patience.run(SOON, move || hang.recv().is_ok()),
            Err(OutOfPatience::TookTooLong)
        );
        assert_eq!(patience.run(LONG, || 7), Ok(7));
        drop(release);
    }

    #[test]
    fn work_that_panics_is_an_error_and_the_next_one_runs() {
        let mut patience = Patience::default();
        assert_eq!(
            patience.run(LONG, || panic!("as intended")),
            Err::<(), _>(OutOfPatience::TookTooLong)
        );
        assert_eq!(patience.run(LONG, || 7), Ok(7));
    }

    #[test]
    fn no_more_than_a_few_threads_hang_and_they_come_back() {
        let mut patience = Patience::default();
        let mut held = Vec::new();
        while held.len() <= LOST_MAX {
            let (release, hang) = mpsc::channel::<()>();
            assert!(patience.run(SOON, move || hang.recv().is_ok()).is_err());
            held.push(release);
        }
        assert_eq!(patience.run(LONG, || 7), Err(OutOfPatience::NotBegun));
        drop(held);
        let deadline = Instant::now() + LONG;
        while patience.run(LONG, || 7).is_err() {
            assert!(Instant::now() < deadline, "the threads come back");
            thread::yield_now();
        }
    }
}
