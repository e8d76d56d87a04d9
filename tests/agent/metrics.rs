//! Metrics and health of the agent over HTTP.

use crate::{
    daemon::{Daemon, spec},
    start,
};
use proto::v1;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};
use tests::{Workload, folder, needs, tracers, until};

/// Head and body of an answer.
fn get(socket: &Path, path: &str) -> (String, String) {
    request(UnixStream::connect(socket).unwrap(), path)
}

/// The same of a port.
pub(crate) fn get_over_tcp(address: SocketAddr, path: &str) -> (String, String) {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(tests::deadline())).unwrap();
    request(stream, path)
}

fn request(mut stream: impl Read + Write, path: &str) -> (String, String) {
    write!(stream, "GET {path} HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

/// Returns the metrics of an agent as text.
pub(crate) fn scrape(socket: &Path) -> String {
    get(socket, "/metrics").1
}

/// An agent with a second listener.
struct Measured {
    daemon: Daemon,
    folder: PathBuf,
}

impl Measured {
    async fn start() -> Self {
        let folder = folder();
        let socket = folder.join("run/metrics.sock");
        let config = format!("metrics: {{listen: \"unix://{}\"}}", socket.display());
        let daemon = Daemon::start(&config).await;
        until("metrics", || UnixStream::connect(&socket).ok());
        Self { daemon, folder }
    }

    /// Head and body of an answer.
    fn get(&self, path: &str) -> (String, String) {
        get(&self.folder.join("run/metrics.sock"), path)
    }

    fn scrape(&self) -> Samples {
        let (head, body) = self.get("/metrics");
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert!(
            head.contains("application/openmetrics-text; version=1.0.0"),
            "{head}"
        );
        Samples::read(&body)
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        // What cannot be removed is in /tmp.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Values by name and labels, as they are written.
struct Samples(BTreeMap<String, f64>);

impl Samples {
    /// Reads OpenMetrics text, and holds it to the rules that a scraper relies on.
    fn read(text: &str) -> Self {
        assert!(text.ends_with("# EOF\n"), "{text}");
        let mut kinds: BTreeMap<&str, &str> = BTreeMap::new();
        let mut families = BTreeSet::new();
        let mut samples = BTreeMap::new();
        for line in text.lines().filter(|line| *line != "# EOF") {
            let comment = |of: &str| line.strip_prefix(of).and_then(|rest| rest.split_once(' '));
            if let Some((name, kind)) = comment("# TYPE ") {
                assert_eq!(kinds.insert(name, kind), None, "{name} has two types");
            } else if let Some((name, help)) = comment("# HELP ") {
                assert!(help.len() > 5 && families.insert(name), "{line}");
            } else if comment("# UNIT ").is_none() {
                let (series, value) = line.rsplit_once(' ').unwrap();
                let name = series.split('{').next().unwrap();
                let of_kind = |kind: &str| match kind {
                    "counter" => name.strip_suffix("_total"),
                    "info" => name.strip_suffix("_info"),
                    _ => Some(name),
                };
                // The last family that was begun: samples of one stand together.
                let family = kinds
                    .iter()
                    .find(|(family, kind)| of_kind(kind) == Some(**family));
                assert!(
                    family.is_some_and(|(family, _)| families.contains(family)),
                    "{line}"
                );
                assert!(
                    name.starts_with("tracejob_") || name.starts_with("process_"),
                    "{line}"
                );
                let value: f64 = value.parse().unwrap();
                assert!(value >= 0.0, "{line}");
                assert_eq!(
                    samples.insert(series.to_owned(), value),
                    None,
                    "{series} twice"
                );
            }
        }
        Self(samples)
    }

    fn value(&self, series: &str) -> f64 {
        let found = self.0.get(series);
        *found.unwrap_or_else(|| panic!("no {series} in {:?}", self.0.keys()))
    }

    /// A counter of a tracer, in whole numbers.
    fn of(&self, name: &str, tracer: &str) -> u64 {
        self.value(&format!("{name}{{tracer=\"{tracer}\"}}")) as u64
    }
}

#[tokio::test]
async fn after_a_trace_the_counters_are_its_account_to_the_unit_and_outlive_it() {
    needs!("open");
    let agent = Measured::start().await;
    let mut expected = v1::Account::default();
    let mut lost: BTreeMap<String, u64> = BTreeMap::new();
    // The limit, or the end of the workload where that is noticed first.
    let mut ended: BTreeMap<String, f64> = BTreeMap::new();
    for round in 1..=2 {
        let mut workload =
            Workload::behind_gate(&["open-times", "3000", "openat", "/dev/null", "0", "0"]);
        let limited = v1::TraceSpec {
            max_events: 2000,
            ..spec("open", &workload)
        };
        let mut events = agent.daemon.trace(limited).await.unwrap();
        let running = agent.scrape();
        assert_eq!(running.of("tracejob_traces_running", "open"), 1);
        assert_eq!(running.of("tracejob_traces_started_total", "open"), round);
        assert_eq!(running.value("tracejob_readers"), 1.0);
        workload.go();
        events.read_all().await.unwrap();
        let account = events.account();
        expected.produced += account.produced;
        expected.delivered += account.delivered;
        expected.beyond_limit += account.beyond_limit;
        expected.missed_runs += account.missed_runs;
        let after = agent.scrape();
        for (name, wanted) in [
            ("tracejob_events_produced_total", expected.produced),
            ("tracejob_events_delivered_total", expected.delivered),
            ("tracejob_events_beyond_limit_total", expected.beyond_limit),
            ("tracejob_missed_runs_total", expected.missed_runs),
            ("tracejob_traces_running", 0),
        ] {
            assert_eq!((name, after.of(name, "open")), (name, wanted));
        }
        for stage in &account.lost {
            let v1::Stage { name, events } = stage;
            *lost.entry(name.clone()).or_default() += events;
            let series = format!("tracejob_events_lost_total{{tracer=\"open\",stage=\"{name}\"}}");
            assert_eq!((name, after.value(&series) as u64), (name, lost[name]));
        }
        *ended.entry(account.ended.clone()).or_default() += 1.0;
        for (reason, times) in &ended {
            let series =
                format!("tracejob_traces_ended_total{{tracer=\"open\",reason=\"{reason}\"}}");
            assert_eq!((reason, after.value(&series)), (reason, *times));
        }
        assert!(after.value("tracejob_reader_cpu_seconds_total{tracer=\"open\"}") > 0.0);
    }
    assert_eq!(expected.delivered, 4000);
}

#[tokio::test]
async fn every_tracer_has_its_series_before_its_first_event() {
    let agent = Measured::start().await;
    let samples = agent.scrape();
    for tracer in tracers() {
        assert_eq!(samples.of("tracejob_events_produced_total", &tracer), 0);
        let lost = format!("tracejob_events_lost_total{{tracer=\"{tracer}\",stage=\"ring_full\"}}");
        assert_eq!(samples.value(&lost), 0.0);
    }
    for name in [
        "process_resident_memory_bytes",
        "process_cpu_seconds_total",
        "process_open_fds",
    ] {
        assert!(samples.value(name) > 0.0, "{name}");
    }
}

#[tokio::test]
async fn what_is_refused_is_counted_by_its_code_and_not_by_what_was_asked() {
    needs!("open");
    let agent = Measured::start().await;
    let workload = Workload::behind_gate(&["getppid", "1"]);
    let mut client = agent.daemon.client().await;
    // The connection that tested the listener is closed, or is being closed.
    until("one connection", || {
        (agent.scrape().value("tracejob_connections") == 1.0).then_some(())
    });
    for name in ["no_such_tracer", "x\" 1\nfake{a=\""] {
        let wrong = spec(name, &workload);
        client.start_trace(start("a", 1, wrong)).await.unwrap_err();
    }
    let host = v1::TraceSpec {
        targets: vec![v1::Target {
            target: Some(v1::target::Target::Host(v1::Host {})),
            ..v1::Target::default()
        }],
        ..spec("open", &workload)
    };
    client.start_trace(start("a", 1, host)).await.unwrap_err();
    let samples = agent.scrape();
    let refused = |code| {
        samples.value(&format!(
            "tracejob_requests_refused_total{{code=\"{code}\"}}"
        ))
    };
    assert_eq!(refused("INVALID_ARGUMENT"), 2.0);
    assert_eq!(refused("PERMISSION_DENIED"), 1.0);
    assert!(
        samples
            .0
            .keys()
            .all(|series| !series.contains("fake") && !series.contains("no_such"))
    );
    drop(client);
    // Its connection is closed by this thread, too.
    let gone = async |_: &Daemon| agent.scrape().value("tracejob_connections") == 0.0;
    agent.daemon.until("the connection to be gone", gone).await;
}

#[tokio::test]
async fn only_health_is_served() {
    let agent = Measured::start().await;
    for (path, wanted) in [
        ("/healthz", "200"),
        ("/readyz", "200"),
        ("/", "404"),
        ("/metrics?a=b", "200"),
    ] {
        let (head, _) = agent.get(path);
        assert!(
            head.starts_with(&format!("HTTP/1.1 {wanted}")),
            "{path}: {head}"
        );
    }
}
