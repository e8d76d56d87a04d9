//! The configuration's policy, read again when its file changes and on SIGHUP.

use super::{
    config::{self, Config},
    jobs::Jobs,
    stamp::stamp,
};
use anyhow::{Context, Result};
use std::{path::Path, time::Duration};
use tokio::signal::unix::{SignalKind, signal};

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Follows the file for as long as it is polled. What is not as it should be changes nothing.
///
/// # Errors
/// Where SIGHUP cannot be listened to.
pub(crate) async fn follow(file: Option<&Path>, began_with: Config, jobs: &Jobs) -> Result<()> {
    let mut hangup = signal(SignalKind::hangup()).context("cannot listen to SIGHUP")?;
    let Some(file) = file else {
        // There is nothing to read again; SIGHUP is no end all the same.
        loop {
            let _ = hangup.recv().await;
        }
    };
    let mut seen = stamp([file]);
    loop {
        let asked = tokio::select! {
            _ = hangup.recv() => true,
            () = tokio::time::sleep(LOOK) => false,
        };
        let now = stamp([file]);
        if now == seen && !asked {
            continue;
        }
        seen = now;
        match config::read(file) {
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
        // The command line may have said otherwise.
        listen: new.listen.clone(),
        ..began_with.clone()
    };
    if new != as_it_began {
        tracing::warn!(
            "what the configuration says beside the policy holds from the next start on"
        );
    }
}
