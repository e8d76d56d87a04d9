//! The threads that may ask the kernel for programs and look at targets. Everybody else asks them.

use super::confine;
use anyhow::{Context, Result};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
};
use tokio::sync::oneshot;

/// Starts of traces that are under way at once: one takes tens of milliseconds, most of them the kernel's own checks.
const THREADS: usize = 4;

type Work = Box<dyn FnOnce() + Send>;

/// What was to be done panicked, which the log tells of.
#[derive(Debug, thiserror::Error)]
#[error("a bug: it panicked")]
pub(crate) struct Panicked;

/// A handle of them. They end with the last one.
#[derive(Clone)]
pub(crate) struct Loader(mpsc::Sender<Work>);

impl Loader {
    /// Starts them with what this thread has.
    ///
    /// # Errors
    /// Where there is no room for a thread.
    pub(crate) fn start() -> Result<Self> {
        let (sender, work) = mpsc::channel::<Work>();
        let work = Arc::new(Mutex::new(work));
        for _ in 0..THREADS {
            let work = Arc::clone(&work);
            thread::Builder::new()
                .name("tracejob-load".to_owned())
                .spawn(move || serve(&work))
                .context("cannot start a thread that loads")?;
        }
        Ok(Self(sender))
    }

    /// Does it there, whether or not the caller waits for it.
    ///
    /// # Errors
    /// Where it panics.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Panicked> {
        let (sender, done) = oneshot::channel();
        let work = move || {
            if let Ok(result) = catch_unwind(AssertUnwindSafe(work)) {
                // Nobody waits any more: what was made is dropped here.
                let _ = sender.send(result);
            }
        };
        // Its threads live as long as a handle does.
        let _ = self.0.send(Box::new(work));
        done.await.map_err(|_| Panicked)
    }
}

fn serve(work: &Mutex<mpsc::Receiver<Work>>) {
    // Where there is no seccomp, the log has said so already.
    let _ = confine::load();
    loop {
        let next = work.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match next {
            Ok(work) => work(),
            Err(mpsc::RecvError) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_that_panics_is_an_error_and_the_next_is_done() {
        let loader = Loader::start().unwrap();
        for _ in 0..2 * THREADS {
            assert!(loader.run(|| panic!("as intended")).await.is_err());
        }
        assert_eq!(loader.run(|| 7).await.unwrap(), 7);
    }
}
