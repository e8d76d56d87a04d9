//! How many events a second come through, from the kernel over the socket to a client, and from which rate on some are lost.

use super::{Figure, figure};
use crate::{
    daemon::{Daemon, spec},
    tally::Tally,
};
use proto::v1;
use serde_json::json;
use tests::Workload;

/// How long each rate is kept up.
const SECONDS: u64 = 3;
/// Who opens files, slowest first: one thread so many times a second, or so many threads as often as they can.
const LOADS: [Load; 6] = [
    Load::Paced(100_000),
    Load::Paced(200_000),
    Load::Paced(400_000),
    Load::Threads(1),
    Load::Threads(2),
    Load::Threads(3),
];

#[derive(Clone, Copy)]
enum Load {
    Paced(u64),
    Threads(u64),
}

/// What came of a rate.
struct Outcome {
    produced: u64,
    delivered: u64,
    lost: u64,
    /// Delivered, and too late for the one reader.
    gaps: u64,
}

pub(crate) async fn rates() -> Vec<Figure> {
    let mut figures = Vec::new();
    let mut best = 0;
    let mut clean = true;
    for load in LOADS {
        let Outcome {
            produced,
            delivered,
            lost,
            gaps,
        } = under(load).await;
        // To the unit: whatever is not delivered is counted.
        assert_eq!(produced, delivered + lost);
        clean &= lost == 0 && gaps == 0;
        let per_second = produced / SECONDS;
        if clean {
            best = best.max(per_second);
        }
        let what = match load {
            Load::Paced(rate) => format!("events/s, {rate} wanted"),
            Load::Threads(1) => "events/s, one thread's all".to_owned(),
            Load::Threads(threads) => format!("events/s, {threads} threads' all"),
        };
        let received = delivered - gaps;
        let shown = format!(
            "{per_second} produced, {} received, {:.2} % lost, {:.2} % in gaps",
            received / SECONDS,
            percent(lost, produced),
            percent(gaps, produced),
        );
        let json = json!({
            "produced": produced, "delivered": delivered, "received": received, "lost": lost, "gap_rows": gaps,
            "seconds": SECONDS,
        });
        figures.push(figure(&what, shown, json));
    }
    figures.push(figure(
        "events/s without a loss",
        format!("{best}: the highest of these below the first that lost any"),
        json!(best),
    ));
    figures
}

fn percent(of: u64, all: u64) -> f64 {
    of as f64 * 100.0 / all.max(1) as f64
}

async fn under(load: Load) -> Outcome {
    let daemon = Daemon::start("").await;
    let (step, much) = match load {
        Load::Paced(rate) => ("open-paced", rate),
        Load::Threads(threads) => ("open-storm", threads),
    };
    let (seconds, much) = (SECONDS.to_string(), much.to_string());
    let mut workload = Workload::behind_gate(&[step, &seconds, &much, "/dev/null"]);
    let start = v1::StartTraceRequest {
        uid: "a".to_owned(),
        generation: 1,
        spec: Some(spec("open", &workload)),
    };
    daemon.client().await.start_trace(start).await.unwrap();
    let mut reader = Tally::follow(&daemon, "a").await;
    workload.go();
    let account = reader.read_all().await.unwrap().clone();
    workload.wait();
    let stages = account.lost.iter();
    Outcome {
        produced: account.produced,
        delivered: account.delivered,
        lost: stages.map(|stage| stage.events).sum(),
        gaps: reader.gap_rows,
    }
}
