//! Everything at once: all attacks by connections, callers and targets, beside one trace that must stay complete.

use super::{
    callers::{Over, capabilities, empty_targets, endless_requests, failing_updates, steal},
    from_environment,
    select::asks_for_everything,
    symbols::read_long_names,
};
use crate::{
    daemon::{Daemon, free_port, process, spec},
    events,
    garbage::frame,
    limits::{begin_over_tls, shake_hands, watching},
    metrics::get_over_tcp,
    reason, start,
    tally::{Tally, saw_all},
    tls::{CONTROLLER, Files, READER, dns, uri},
};
use proto::v1;
use std::{
    io::Write,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};
use tests::{
    Attack, Workload, hold_silent_connections, most_resident, must_be_closed, needs, resident,
    send_again_and_again,
};
use tokio::task::{JoinSet, spawn_blocking};

/// How long it goes on. TRACEJOB_SOAK_SECONDS=1800 is half an hour.
const SECONDS: u64 = 15;
/// Files that the trace's target opens each second.
const RATE: u64 = 100;
/// What the agent may take beside what is admitted, KiB: docs/security.md.
const BESIDE: i64 = 64 << 10;
/// How long a kubelet waits for an agent's health: charts/tracejob/templates/agent.yaml.
const PROBE: Duration = Duration::from_secs(10);
/// Names of callers that may start traces, and attack.
const UPDATER: &str = "spiffe://example.org/updater";
const SENDER: &str = "spiffe://example.org/sender";
const THIEF: &str = "spiffe://example.org/thief";

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// The agent that is attacked, and where.
struct Attacked {
    daemon: Daemon,
    files: Files,
    https: u16,
    metrics: u16,
    health: u16,
    over: Over,
    /// Ends the attacks on traces of others, which end before these traces are forgotten.
    traces_over: Over,
    /// Of the floods of connections.
    floods: Attack,
}

impl Attacked {
    async fn start() -> Arc<Self> {
        let (files, metrics, health) = (Files::new(), free_port(), free_port());
        let config = files.config(&format!(
            "metrics: {{listen: '127.0.0.1:{metrics}'}}\nhealth: {{listen: '127.0.0.1:{health}'}}\npolicy: {{keepSeconds: 1}}"
        ));
        let callers = format!("control: ['{UPDATER}', '{SENDER}', '{THIEF}', ");
        let config = config.replace("control: [", &callers);
        let (daemon, https) = Daemon::over_tcp(&config).await;
        Arc::new(Self {
            daemon,
            files,
            https,
            metrics,
            health,
            over: Over::default(),
            traces_over: Over::default(),
            floods: Attack::default(),
        })
    }

    async fn client(
        &self,
        name: &str,
    ) -> proto::v1::agent_client::AgentClient<tonic::transport::Channel> {
        self.files.client(self.https, uri(name)).await.unwrap()
    }

    /// Bytes that are admitted for a trace: they are in the refusal of one that may have none.
    async fn admitted(&self, spec: v1::TraceSpec) -> i64 {
        let nothing = v1::Budget {
            memory_bytes: 1,
            ..v1::Budget::default()
        };
        let spec = v1::TraceSpec {
            budget: Some(nothing),
            ..spec
        };
        let mut client = self.daemon.client().await;
        let refused = client.start_trace(start("admitted", 1, spec)).await;
        let refused = refused.unwrap_err();
        assert_eq!(reason(&refused), "ResourceExhausted");
        let mut words = refused.message().split(' ');
        words.find_map(|word| word.parse().ok()).unwrap()
    }

    /// Holds silent connections, from other addresses than those of the served clients.
    fn hold_silent(&self, port: u16, begin: &[u8]) {
        let from: Vec<IpAddr> = [2, 3, 4].map(|last| [127, 0, 0, last].into()).into();
        hold_silent_connections(&from, loopback(port), 200, begin, &self.floods);
    }

    /// Small frames beside an open call, of one kind after the other, each for two seconds.
    fn flood_by_frames(&self) {
        let kinds = [
            frame(6, 0, 0, 8, &[0; 8]),
            frame(4, 0, 0, 0, &[]),
            frame(8, 0, 1, 4, &[0, 0, 0, 1]),
            frame(2, 0, 1, 5, &[0; 5]),
        ];
        for kind in kinds.iter().cycle() {
            if !self.floods.goes_on() {
                return;
            }
            // An agent that is busy may cut off an attacker before it begins.
            let begun = begin_over_tls(&self.files, self.https, READER);
            let begun = begun.and_then(|mut stream| {
                stream.write_all(&watching())?;
                Ok(stream)
            });
            let Ok(mut stream) = begun else { continue };
            let short = Some(Duration::from_millis(1));
            stream.sock.set_read_timeout(short).unwrap();
            stream.sock.set_write_timeout(short).unwrap();
            let (flood, began) = (Attack::default(), Instant::now());
            let bytes = kind.repeat(16_000 / kind.len());
            std::thread::scope(|scope| {
                scope.spawn(|| send_again_and_again(&mut stream, &bytes, &flood));
                while self.floods.goes_on() && began.elapsed() < Duration::from_secs(2) {
                    std::thread::sleep(Duration::from_millis(20));
                }
                flood.stop();
            });
        }
    }

    /// Requests that do not end, by one connection after the other.
    fn send_endless_requests(&self) {
        while !self.over.is() {
            let Ok(stream) = shake_hands(&self.files, self.https, SENDER) else {
                continue;
            };
            let short = Some(Duration::from_millis(100));
            stream.sock.set_read_timeout(short).unwrap();
            let began = Instant::now();
            let is_over = || self.over.is() || began.elapsed() > Duration::from_secs(30);
            endless_requests(stream, 20, is_over);
        }
    }

    /// Asks for health as a kubelet does, and gives the longest time that an answer took.
    fn probe(&self) -> Duration {
        let mut slowest = Duration::ZERO;
        while !self.over.is() {
            let began = Instant::now();
            let (head, _) = get_over_tcp(loopback(self.health), "/healthz");
            assert!(head.starts_with("HTTP/1.1 200"), "{head}");
            slowest = slowest.max(began.elapsed());
            std::thread::sleep(Duration::from_millis(100));
        }
        slowest
    }
}

/// Ends all attacks, also where a check has failed.
struct Ends(Arc<Attacked>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.over.set();
        self.0.traces_over.set();
        self.0.floods.stop();
    }
}

/// Starts all attacks; each panics where one of its attempts has an outcome that it must not have.
async fn attack(attacked: &Arc<Attacked>) -> JoinSet<()> {
    let mut attacks = JoinSet::new();
    let blocking: [fn(&Attacked); 6] = [
        |attacked| attacked.hold_silent(attacked.https, b""),
        |attacked| attacked.hold_silent(attacked.metrics, b"G"),
        |attacked| attacked.hold_silent(attacked.health, b"G"),
        Attacked::flood_by_frames,
        Attacked::send_endless_requests,
        |attacked| {
            while !attacked.over.is() {
                must_be_closed(attacked.daemon.pid());
                std::thread::sleep(Duration::from_millis(500));
            }
        },
    ];
    for one in blocking {
        let attacked = Arc::clone(attacked);
        attacks.spawn(async move { spawn_blocking(move || one(&attacked)).await.unwrap() });
    }
    let over = || attacked.over.clone();
    let reader = attacked.files.client(attacked.https, dns(READER)).await;
    attacks.spawn(capabilities(reader.unwrap(), 50, over()));
    let many = attacked.files.channel(attacked.https, uri(SENDER)).await;
    attacks.spawn(empty_targets(many.unwrap(), 20_000, 20, over()));
    let of = Arc::clone(attacked);
    attacks.spawn(async move {
        assert!(asks_for_everything(&of.daemon, || of.over.is()).await > 0);
    });
    let of = Arc::clone(attacked);
    attacks.spawn(async move {
        let mut produced = 0;
        for number in 0_u64.. {
            let uid = format!("names-{number}");
            let steps = ["jit", "300", "50", "4000", "one"];
            let (_, account, _) = read_long_names(&of.daemon, &uid, steps).await;
            // Where this machine is busy, a program may not have run before its trace is over.
            produced += account.produced;
            if of.over.is() {
                assert!(produced > 0, "{number}");
                return;
            }
        }
    });
    attacks
}

/// Starts the attacks on the traces of others.
async fn attack_traces(attacked: &Attacked) -> JoinSet<()> {
    let mut attacks = JoinSet::new();
    let over = || attacked.traces_over.clone();
    let updater = attacked.client(UPDATER).await;
    let updates = failing_updates(updater, "updated".to_owned(), over());
    attacks.spawn(async move { assert!(updates.await > 0) });
    let thief = attacked.client(THIEF).await;
    let uids = ["needed", "updated"].map(str::to_owned).to_vec();
    attacks.spawn(steal(thief, uids, over()));
    attacks
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_ends_complete_while_every_attack_goes_on_at_once() {
    needs!("open");
    needs!("page_fault");
    let seconds = from_environment("TRACEJOB_SOAK_SECONDS", SECONDS);
    let attacked = Attacked::start().await;
    let steps = [
        "open-paced",
        &seconds.to_string(),
        &RATE.to_string(),
        "/dev/null",
    ];
    let mut workload = Workload::behind_gate(&steps);
    let needed = spec("open", &workload);
    let long_names = v1::TraceSpec {
        tracer: "page_fault".to_owned(),
        targets: vec![process(workload.pid())],
        ..v1::TraceSpec::default()
    };
    // The needed one, the one whose updates fail, the one that is to be widened; and the one of long names, beside the one before it,
    // which is still kept.
    let of_files = attacked.admitted(needed.clone()).await;
    let of_names = attacked.admitted(long_names).await;
    let admitted = (3 * of_files + 2 * of_names) / 1024;
    let before = resident(attacked.daemon.pid()).unwrap();
    let mut owner = attacked.client(CONTROLLER).await;
    owner
        .start_trace(start("needed", 1, needed.clone()))
        .await
        .unwrap();
    let mut reader = Tally::of(
        owner
            .stream_events(events("needed", 0))
            .await
            .unwrap()
            .into_inner(),
    )
    .await;
    let mut updater = attacked.client(UPDATER).await;
    updater
        .start_trace(start("updated", 1, needed))
        .await
        .unwrap();
    let ends = Ends(Arc::clone(&attacked));
    let mut attacks = attack(&attacked).await;
    let mut on_traces = attack_traces(&attacked).await;
    let probed = Arc::clone(&attacked);
    let probe = spawn_blocking(move || probed.probe());
    workload.go();
    // The workload goes on for a while: the attacks on traces must end before the traces do, also on a busy machine.
    let end = Instant::now() + Duration::from_secs(seconds.saturating_sub(3).max(1));
    while Instant::now() < end {
        tokio::select! {
            more = reader.next() => assert!(more.unwrap(), "the trace has ended"),
            // No attack ends before it is stopped.
            ended = attacks.join_next() => panic!("an attack has ended: {ended:?}"),
            ended = on_traces.join_next() => panic!("an attack on a trace has ended: {ended:?}"),
            () = tokio::time::sleep(Duration::from_millis(100)) => {}
        }
    }
    // A second after their end the traces are forgotten, and any caller may use their uids.
    attacked.traces_over.set();
    while let Some(ended) = on_traces.join_next().await {
        ended.unwrap();
    }
    let report = tokio::task::block_in_place(|| workload.end());
    reader.until_rows(report.number("rounds")).await;
    drop(ends);
    while let Some(ended) = attacks.join_next().await {
        ended.unwrap();
    }
    let slowest = probe.await.unwrap();
    let account = reader.read_all().await.unwrap();
    saw_all(account, report.number("rounds"));
    assert!(account.complete, "{account:?}");
    let most = most_resident(attacked.daemon.pid()).unwrap();
    println!(
        "{seconds} s: {} rows, complete; {} connections and bytes of floods; health in {slowest:?} at most; {most} KiB at most, {before} before, {admitted} admitted",
        account.delivered,
        attacked.floods.done(),
    );
    assert!(slowest < PROBE, "{slowest:?}");
    assert!(
        most <= before + admitted + BESIDE,
        "{most} KiB, {admitted} admitted"
    );
}
