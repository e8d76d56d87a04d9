//! Metrics and health on the configured listeners.

use super::{
    config::{Http, HttpListen},
    counters::Counters,
    socket,
};
use anyhow::{Context, Result};
use listen::Listener;
use metrics::Served;
use std::sync::Arc;

/// Serves one listener. The future never completes; without a listener it does nothing.
///
/// # Errors
/// If it cannot listen.
pub(crate) async fn serve(
    listener: Option<&Http>,
    served: Served,
    counters: Arc<Counters>,
) -> Result<()> {
    let Some(Http { listen }) = listener else {
        return std::future::pending().await;
    };
    let what = served.word();
    match listen {
        HttpListen::Tcp(address) => {
            let listener = Listener::bind(*address)
                .with_context(|| format!("cannot listen on {address} for {what}"))?;
            tracing::info!(address = %listener.local_addr()?, "{what}");
            if served == Served::Metrics && !address.ip().is_loopback() {
                tracing::warn!(
                    "metrics are not on loopback: every client that can reach {address} can read them"
                );
            }
            match metrics::over_tcp(&listener, served, counters).await {}
        }
        HttpListen::Unix(path) => {
            let (listener, _socket) = socket::bind(path)?;
            tracing::info!(socket = %path.display(), "{what}");
            match metrics::over_unix(&listener, served, counters).await {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_client_wrote_becomes_a_series() {
        let counters = Counters::new();
        let before = metrics::encoded(&*counters).unwrap().lines().count();
        drop(counters.started("x\"} 1\nfake_total{a=\""));
        let after = metrics::encoded(&*counters).unwrap();
        assert!(after.contains("tracer=\"unknown\""));
        assert!(!after.contains("fake"), "{after}");
        assert_eq!(after.lines().count(), before + 2);
    }
}
