//! The configuration's policy, read again when its file changes and on SIGHUP.

use super::{
    config::{Config, Source},
    jobs::Jobs,
    limits::LOOK,
    stamp::stamp,
};
use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Hears SIGHUP from here on, which ends a process that does not.
///
/// # Errors
/// Where it cannot be listened to.
pub(crate) fn hangup() -> Result<Signal> {
    signal(SignalKind::hangup()).context("cannot listen to SIGHUP")
}

/// Follows the file for as long as it is polled. What is not as it should be changes nothing.
pub(crate) async fn follow(source: &Source, began_with: Config, mut hangup: Signal, jobs: &Jobs) {
    let Some(file) = source.file.as_deref() else {
        // There is nothing to read again; SIGHUP is no end all the same.
        loop {
            let _ = hangup.recv().await;
        }
    };
    // Not as it is now: it was read before anything was started, and may be another since.
    let mut seen = None;
    loop {
        let asked = tokio::select! {
            _ = hangup.recv() => true,
            () = tokio::time::sleep(LOOK) => false,
        };
        let now = Some(stamp([file]));
        if now == seen && !asked {
            continue;
        }
        seen = now;
        match source.read() {
            Ok(new) => apply(new, &began_with, jobs),
            Err(error) => tracing::warn!("the policy stays as it is: {error:#}"),
        }
    }
}

fn apply(new: Config, began_with: &Config, jobs: &Jobs) {
    let policy = new.policy.clone();
    if *jobs.policy() != policy {
        jobs.set_policy(policy.clone());
        tracing::info!("a new policy from now on; traces that run are left to end");
    }
    let as_it_began = Config {
        policy,
        ..began_with.clone()
    };
    if new != as_it_began {
        tracing::warn!(
            "what the configuration says beside the policy holds from the next start on"
        );
    }
}
