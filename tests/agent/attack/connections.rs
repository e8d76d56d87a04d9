//! Connections that hold what others need: places, and processor time.

use crate::{
    daemon::{Daemon, free_port},
    garbage::frame,
    limits::{begun_over_tls, watching},
    metrics::get_over_tcp,
    tls::{CONTROLLER, Files, READER, calls, dns, uri},
};
use std::{
    io::Write,
    net::SocketAddr,
    time::{Duration, Instant},
};
use tests::{Attack, beside, hold_silent_connections, resident, send_again_and_again};

/// A port of loopback.
fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Runs an attack in a thread, and a future as soon as the attack has reached this number.
async fn meanwhile<T: Send>(
    attack: impl FnOnce(&Attack) + Send,
    done: usize,
    other: impl Future<Output = T> + Send,
) -> T {
    let runtime = tokio::runtime::Handle::current();
    tokio::task::block_in_place(|| {
        beside(attack, |attack| {
            attack.until(done);
            runtime.block_on(other)
        })
    })
}

/// How long a kubelet waits for an answer, at the least: charts/tracejob/templates.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_do_not_delay_health_on_its_own_port_or_on_that_of_metrics() {
    let (metrics, health) = (free_port(), free_port());
    let config = format!(
        "metrics: {{listen: '127.0.0.1:{metrics}'}}\nhealth: {{listen: '127.0.0.1:{health}'}}"
    );
    let daemon = Daemon::start(&config).await;
    let ports = [metrics, health];
    for port in ports {
        tests::until("the port to be open", || {
            std::net::TcpStream::connect(loopback(port)).ok()
        });
    }
    let before = resident(daemon.pid()).unwrap();
    // From the prober's own address, and from others more than there are places.
    let own = [[127, 0, 0, 1].into()];
    let others = [2, 3, 4].map(|last| [127, 0, 0, last].into());
    for (attacked, from, count) in [
        (metrics, &own[..], 40),
        (health, &own, 40),
        (metrics, &others, 600),
        (health, &others, 600),
    ] {
        let flood = |attack: &Attack| {
            hold_silent_connections(from, loopback(attacked), count, b"G", attack);
        };
        let slowest = meanwhile(flood, count, async {
            let probe = |port| {
                let began = Instant::now();
                let (head, _) = get_over_tcp(loopback(port), "/healthz");
                assert!(head.starts_with("HTTP/1.1 200"), "{head}");
                began.elapsed()
            };
            let probes = (0..30).flat_map(|_| ports.map(probe));
            probes.max().unwrap()
        })
        .await;
        assert!(slowest < PROBE_TIMEOUT, "{slowest:?} beside {count}");
    }
    let grown = resident(daemon.pid()).unwrap() - before;
    assert!(grown < 64 << 10, "{grown} KiB more");
    let (_, text) = get_over_tcp(loopback(metrics), "/metrics");
    let counted =
        "tracejob_connections_rejected_total{listener=\"health\",reason=\"pending_limit\"}";
    let counted = text.lines().find_map(|line| line.strip_prefix(counted));
    assert!(counted.unwrap().trim().parse::<f64>().unwrap() > 0.0);
    assert!(daemon.logged("connection rejected") > 0);
    assert!(get_over_tcp(loopback(health), "/metrics").0.contains("404"));
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_that_hold_all_their_places_leave_those_of_the_controller() {
    let files = Files::new();
    let (_daemon, port) = Daemon::over_tcp(&files.config("maxConnections: 8")).await;
    // Two of eight are reserved; each reader has a call that stays open.
    let mut readers = Vec::new();
    for _ in 0..6 {
        let mut reader = files.client(port, dns(READER)).await.unwrap();
        let watch = reader.watch_traces(proto::v1::WatchTracesRequest::default());
        let mut watched = watch.await.unwrap().into_inner();
        watched.message().await.unwrap();
        readers.push(watched);
    }
    calls(files.client(port, dns(READER)).await)
        .await
        .unwrap_err();
    for _ in 0..3 {
        calls(files.client(port, uri(CONTROLLER)).await)
            .await
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_without_a_call_ends_and_one_with_an_open_call_goes_on() {
    let files = Files::new();
    let args = ["--inject", "short-keepalive"];
    let (_daemon, port) = Daemon::over_tcp_with(&files.config(""), &args).await;
    let mut watcher = files.client(port, dns(READER)).await.unwrap();
    let watch = watcher.watch_traces(proto::v1::WatchTracesRequest::default());
    let mut watched = watch.await.unwrap().into_inner();
    watched.message().await.unwrap();
    let began = Instant::now();
    let mut idle = begun_over_tls(&files, port, CONTROLLER);
    // It is alive: it answers each PING, and sends its own.
    let flood = frame(6, 0, 0, 8, &[0; 8]);
    idle.sock
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    send_again_and_again(&mut idle, &flood, &Attack::default());
    // A tenth of the usual minute.
    assert!(began.elapsed() >= Duration::from_secs(5));
    let still = tokio::time::timeout(Duration::from_millis(100), watched.message());
    assert!(still.await.is_err(), "the watcher was cut off");
}

/// CPU time of a process, user's and system's: proc_pid_stat(5).
fn cpu_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after_name = stat.rsplit_once(')').unwrap().1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_small_frames_cost_a_fraction_of_a_cpu_beside_an_open_call() {
    let files = Files::new();
    let (daemon, port) = Daemon::over_tcp(&files.config("")).await;
    let frames = [
        ("PING", frame(6, 0, 0, 8, &[0; 8])),
        ("SETTINGS", frame(4, 0, 0, 0, &[])),
        ("WINDOW_UPDATE", frame(8, 0, 1, 4, &[0, 0, 0, 1])),
        ("PRIORITY", frame(2, 0, 1, 5, &[0; 5])),
    ];
    for (name, frame) in frames {
        let mut stream = begun_over_tls(&files, port, READER);
        stream.write_all(&watching()).unwrap();
        let short = Some(Duration::from_millis(1));
        stream.sock.set_read_timeout(short).unwrap();
        stream.sock.set_write_timeout(short).unwrap();
        let bytes = frame.repeat(16_000 / frame.len());
        let mut attack = |attack: &Attack| send_again_and_again(&mut stream, &bytes, attack);
        // The burst first.
        meanwhile(&mut attack, 1 << 20, async {}).await;
        let (before, began) = (cpu_time(daemon.pid()), Instant::now());
        meanwhile(&mut attack, 0, async {
            for _ in 0..10 {
                tokio::time::sleep(Duration::from_millis(200)).await;
                assert!(daemon.traces().await.is_empty());
            }
        })
        .await;
        let used = cpu_time(daemon.pid()) - before;
        let share = used.as_secs_f64() / began.elapsed().as_secs_f64();
        println!("{name}: {:.1} % of a CPU", 100.0 * share);
        assert!(share < 0.3, "{name}: {used:?}");
    }
}
