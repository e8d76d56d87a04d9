//! Metrics and health on the listener that the configuration names.

use super::{config::MetricsListen, counters::Counters, socket};
use anyhow::{Context, Result};
use listen::Listener;
use std::sync::Arc;

/// Serves for as long as it is polled.
///
/// # Errors
/// Where it cannot listen.
pub(crate) async fn serve(listen: &MetricsListen, counters: Arc<Counters>) -> Result<()> {
    match listen {
        MetricsListen::Tcp(address) => {
            let listener = Listener::bind(*address)
                .with_context(|| format!("cannot listen on {address} for metrics"))?;
            tracing::info!(address = %listener.local_addr()?, "metrics");
            if !address.ip().is_loopback() {
                tracing::warn!("metrics are not on loopback: whoever reaches {address} reads them");
            }
            match metrics::over_tcp(&listener, counters).await {}
        }
        MetricsListen::Unix(path) => {
            let (listener, _socket) = socket::bind(path)?;
            tracing::info!(socket = %path.display(), "metrics");
            match metrics::over_unix(&listener, counters).await {}
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
