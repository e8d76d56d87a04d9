//! The thread of a running trace: it forwards the updates of the kernel's trace into the log that clients read.

use super::{
    super::{limits::UPDATE, trace::Trace, wire},
    Traces,
};
use engine::{Account, Reason, Update};
use metrics::OneOf;
use proto::v1::stream_events_response::Item;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

/// Spawns the thread that forwards a trace's updates into its log. If the thread is slow, the engine's reader waits for it.
///
/// # Errors
/// If the thread cannot be created.
pub(super) fn spawn(
    traces: &Arc<Traces>,
    trace: Arc<Trace>,
    source: engine::Trace,
    running: OneOf,
) -> Result<(), engine::Error> {
    let traces = Arc::clone(traces);
    std::thread::Builder::new()
        .name("tracejob-trace".to_owned())
        .spawn(move || {
            let forward = AssertUnwindSafe(|| {
                let _running = running;
                forward(&traces, &trace, source)
            });
            let bug = || (Reason::Internal, "forwarding its rows panicked".to_owned());
            // The programs are detached before the end is reported.
            let failure = catch_unwind(forward).unwrap_or_else(|_| Some(bug()));
            if let Some((reason, _)) = failure {
                traces.counters.failed(&trace.schema.tracer, reason);
            }
            traces
                .audit
                .ended(&trace, failure.as_ref().map(|(reason, _)| *reason));
            trace.end(failure);
            traces.changed(&trace);
        })
        .map(|_| ())
        .map_err(|source| engine::Error::Read {
            what: "a new thread",
            source,
        })
}

/// Forwards updates until the trace ends. Returns the reason and message of a failure.
fn forward(traces: &Traces, trace: &Trace, mut source: engine::Trace) -> Option<(Reason, String)> {
    let (counters, tracer) = (&traces.counters, trace.schema.tracer.as_str());
    let mut reported = Account::default();
    loop {
        match source.next(UPDATE) {
            Ok(None) => {}
            Ok(Some(Update::Rows(rows))) => {
                for (item, bytes) in wire::batches(&rows, source.datasets(), source.clock()) {
                    trace.log.push(item, bytes);
                }
            }
            Ok(Some(Update::Table(table))) => {
                let parts = wire::batches(&table, source.datasets(), source.clock());
                trace.log.push_table(table.dataset, parts);
            }
            Ok(Some(Update::Progress(account))) => {
                counters.booked(tracer, &reported, &account);
                trace.report_losses(&reported, &account);
                reported = account.clone();
                trace.set_account(account);
                traces.changed(trace);
            }
            Ok(Some(Update::Done(account))) => {
                counters.booked(tracer, &reported, &account);
                counters.ended(tracer, &account);
                trace.report_losses(&reported, &account);
                let last = wire::account(&account);
                let bytes = 512 + last.untraced.iter().map(String::len).sum::<usize>();
                trace.log.push(Item::Account(last), bytes);
                trace.set_account(account);
                return None;
            }
            Err(error) => return Some((error.reason(), error.to_string())),
        }
    }
}
