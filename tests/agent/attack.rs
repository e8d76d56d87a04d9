//! The daemon under attack by its readers, its clients, its targets, and its machine.

mod alone;
mod callers;
mod calls;
mod clients;
mod connections;
mod faults;
mod life;
mod readers;
mod select;
mod soak;
mod symbols;
mod targets;
mod trickle;

use crate::{daemon::Daemon, start};
use proto::v1;

/// Returns a number from the environment: the length of an attack, if it is to be longer than in an ordinary run.
fn from_environment(name: &str, otherwise: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name}={text} is no number")),
        Err(_) => otherwise,
    }
}

/// Starts a trace that any number of readers may follow.
async fn started(daemon: &Daemon, uid: &str, spec: v1::TraceSpec) {
    let mut client = daemon.client().await;
    client.start_trace(start(uid, 1, spec)).await.unwrap();
}

/// Asks a trace to end.
async fn stop(daemon: &Daemon, uid: &str) {
    let request = v1::StopTraceRequest {
        uid: uid.to_owned(),
    };
    daemon.client().await.stop_trace(request).await.unwrap();
}
