//! The agent where the wall clock jumps: on the test kernels these tests run one at a time.

use crate::daemon::{Daemon, process};
use proto::v1;
use std::time::{Duration, Instant};
use tests::{JumpedClock, Workload, needs};

#[tokio::test]
async fn a_trace_keeps_its_duration_when_the_clock_jumps() {
    needs!("open");
    const SECONDS: i64 = 3;
    const DAY: i64 = 86_400;
    let daemon = Daemon::start("").await;
    let workload = Workload::behind_gate(&["getppid", "1"]);
    for jump in [DAY, -DAY] {
        let spec = v1::TraceSpec {
            targets: vec![process(workload.pid())],
            duration: Some(prost_types::Duration {
                seconds: SECONDS,
                nanos: 0,
            }),
            tracer: "open".to_owned(),
            ..v1::TraceSpec::default()
        };
        let began = Instant::now();
        let mut events = daemon.trace(spec).await.unwrap();
        let Some(clock) = JumpedClock::by(jump) else {
            println!(
                "SKIPPED attack::alone::a_trace_keeps_its_duration_when_the_clock_jumps: the clock of this machine is not a test's"
            );
            return;
        };
        events.read_all().await.unwrap();
        drop(clock);
        assert!(began.elapsed() >= Duration::from_secs(SECONDS as u64));
        let account = events.account();
        assert_eq!(account.ended, "duration");
        let elapsed = account.elapsed.unwrap().seconds;
        assert!((SECONDS..DAY / 2).contains(&elapsed), "{elapsed} s");
    }
}
