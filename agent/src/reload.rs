//! The configuration's policy, read again when its file changes and on SIGHUP.

use super::{
    config::{self, Config, Source},
    limits::CONFIG_INTERVAL,
    traces::Traces,
};
use anyhow::{Context, Result, bail};
use listen::stamp::stamp;
use std::collections::BTreeSet;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{MissedTickBehavior, interval},
};

/// Installs a handler of SIGHUP, which would end the process otherwise.
///
/// # Errors
/// If the handler cannot be installed.
pub(crate) fn hangup() -> Result<Signal> {
    signal(SignalKind::hangup()).context("cannot handle SIGHUP")
}

/// Follows the file for as long as it is polled. What is not as it should be changes nothing.
pub(crate) async fn follow(
    source: &Source,
    began_with: Config,
    mut hangup: Signal,
    traces: &Traces,
) {
    let Some(file) = source.file.as_deref() else {
        // There is nothing to read again; SIGHUP is no end all the same.
        loop {
            let _ = hangup.recv().await;
        }
    };
    // Not as it is now: it was read before anything was started, and may be another since.
    let (mut seen, mut waiting) = (None, None);
    let mut stated = began_with.stated.clone();
    let mut looks = interval(CONFIG_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = hangup.recv() => {
                // The next check reads the file, even if it is unchanged.
                seen = None;
                continue;
            }
            _ = looks.tick() => {}
        }
        let now = Some(stamp([file]));
        if now == seen && waiting.is_none() {
            continue;
        }
        seen = now;
        let before = waiting.take();
        let read = config::text(file).and_then(|text| match before.as_ref() == Some(&text) {
            true => take(&text, source, &began_with, &stated, traces).map(|taken| stated = taken),
            false => {
                waiting = Some(text);
                Ok(())
            }
        });
        if let Err(error) = read {
            tracing::warn!("the policy stays as it is: {error:#}");
        }
    }
}

/// Takes the policy of a text, and returns the lines that it states.
///
/// # Errors
/// If the configuration is invalid or truncated, or differs outside the policy.
fn take(
    text: &str,
    source: &Source,
    began_with: &Config,
    stated: &BTreeSet<String>,
    traces: &Traces,
) -> Result<BTreeSet<String>> {
    let new = source.of(text)?;
    check(&new, began_with, stated)?;
    let Config { policy, stated, .. } = new;
    if *traces.policy() != policy {
        let kept = began_with.policy.capabilities();
        let lacking = policy.capabilities().into_iter();
        let lacking: Vec<_> = lacking.filter(|one| !kept.contains(one)).collect();
        if !lacking.is_empty() {
            tracing::warn!(
                "policy.classes has a new class that requires {}, which this agent dropped at its start; restart the agent for tracers that require it",
                tracers::Capability::list(&lacking)
            );
        }
        traces.set_policy(policy);
        tracing::info!("policy reloaded; running traces are not affected");
    }
    Ok(stated)
}

/// Rejects a truncated file: its missing fields would widen the policy.
fn check(new: &Config, began_with: &Config, stated: &BTreeSet<String>) -> Result<()> {
    if let Some(gone) = stated.difference(&new.stated).next() {
        bail!(
            "{gone} is no longer in the file, which may be truncated; write the field with its default value, or restart the agent"
        );
    }
    let as_it_began = Config {
        policy: new.policy.clone(),
        stated: new.stated.clone(),
        ..began_with.clone()
    };
    if *new != as_it_began {
        bail!(
            "fields other than policy have changed, which requires a restart; the policy is not reloaded either"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(before: &str, now: &str) -> Option<String> {
        let parsed = |text: &str| config::parse(text).map_err(|error| error.to_string());
        let began = parsed(before).unwrap();
        let outcome = parsed(now)
            .and_then(|now| check(&now, &began, &began.stated).map_err(|error| error.to_string()));
        outcome.err()
    }

    #[test]
    fn a_policy_is_taken_from_no_file_that_is_cut_at_any_line() {
        let lines = [
            "listen: unix:///run/a/agent.sock",
            "audit: /var/log/audit.log",
            "policy:",
            "  tracers: [oom_kill]",
            "  deniedNamespaces: [payments]",
            "  maxDurationSeconds: 10",
            "",
        ];
        let whole = lines.join("\n");
        for kept in 0..lines.len() - 1 {
            let cut = lines[..kept].join("\n");
            assert!(refusal(&whole, &cut).is_some(), "{cut:?} is taken");
        }
        assert_eq!(refusal(&whole, &whole), None);
        let other = whole.replace("oom_kill", "open").replace("10", "20");
        assert_eq!(refusal(&whole, &other), None);
        // A further line is no loss.
        assert_eq!(refusal(&whole, &format!("{whole}  maxTraces: 3\n")), None);
        let socket = whole.replace("/run/a/", "/run/b/");
        let refused = refusal(&whole, &socket).unwrap();
        assert!(refused.contains("fields other than policy"), "{refused}");
    }

    #[test]
    fn a_line_that_is_gone_is_named() {
        let before = "policy: {deniedNamespaces: [payments], maxTraces: 3}";
        let refused = refusal(before, "policy: {maxTraces: 3}").unwrap();
        assert!(refused.contains("policy.deniedNamespaces"), "{refused}");
        for empty in ["", "\n", "# a comment\n", "---\n", "null"] {
            assert!(refusal(before, empty).is_some(), "{empty:?}");
        }
    }
}
