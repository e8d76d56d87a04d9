//! Waiting for conditions, up to a deadline and never for a fixed time.

use std::time::{Duration, Instant};

/// Longest time of any wait: sufficient under emulation on a busy machine.
pub const fn deadline() -> Duration {
    Duration::from_secs(120)
}

/// Waits until `found` finds something; panics with `what` at the deadline.
pub fn until<T>(what: &str, found: impl FnMut() -> Option<T>) -> T {
    until_within(deadline(), what, found)
}

/// Waits like [`until`], with another timeout.
pub fn until_within<T>(timeout: Duration, what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + timeout;
    loop {
        if let Some(value) = found() {
            return value;
        }
        assert!(
            Instant::now() < end,
            "timeout of {timeout:?} while waiting for {what}"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Returns the result of a thread; panics at the deadline.
pub fn join<T>(thread: std::thread::JoinHandle<T>) -> T {
    until("a thread to end", || thread.is_finished().then_some(()));
    thread.join().unwrap()
}
