//! Waiting for conditions. Nothing here sleeps for a time that somebody guessed to be enough.

use std::time::{Duration, Instant};

/// The longest that anything may take: under emulation on a busy machine too.
pub const fn deadline() -> Duration {
    Duration::from_secs(120)
}

/// Waits until `found` finds something; panics with `what` at the deadline.
pub fn until<T>(what: &str, found: impl FnMut() -> Option<T>) -> T {
    until_within(deadline(), what, found)
}

/// The same, where it may take longer, or must not take so long.
pub fn until_within<T>(patience: Duration, what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + patience;
    loop {
        if let Some(value) = found() {
            return value;
        }
        assert!(Instant::now() < end, "waited for {what} in vain");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The result of a thread, at the deadline at the latest.
pub fn join<T>(thread: std::thread::JoinHandle<T>) -> T {
    until("a thread to end", || thread.is_finished().then_some(()));
    thread.join().unwrap()
}
