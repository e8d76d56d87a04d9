//! Metrics and health of a daemon over HTTP, on listeners of their own: three paths, and no request that changes anything.
#![forbid(unsafe_code)]

mod limits;
mod rejections;

pub use rejections::Rejections;

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::CONTENT_TYPE,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use limits::{CONNECTIONS, HEADER_TIME};
use listen::{Listener, places::Places};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text},
    metrics::{
        counter::ConstCounter,
        gauge::{ConstGauge, Gauge},
        info::Info,
    },
    registry::{Metric, Registry, Unit},
};
use rustix::time::{ClockId, clock_gettime};
use std::{convert::Infallible, fs, io, net::SocketAddr, sync::Arc};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::UnixListener,
};

/// Media type of OpenMetrics 1.0, which Prometheus requests.
const TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A daemon with metrics and health.
pub trait Source: Send + Sync + 'static {
    /// Returns the series of the daemon.
    fn registry(&self) -> &Registry;

    /// Returns whether the daemon serves.
    fn is_ready(&self) -> bool;

    /// Returns the counters of rejected connections.
    fn rejections(&self) -> &Rejections;
}

/// The paths of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// `/metrics`, `/healthz` and `/readyz`.
    Metrics,
    /// `/healthz` and `/readyz`, for probes.
    Health,
}

impl Served {
    /// Returns the name of the listener in logs and metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Health => "health",
        }
    }
}

/// Registers a series that starts at zero.
pub fn add<M: Metric + Default + Clone>(to: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    to.register(name, help, metric.clone());
    metric
}

/// A guard that counts one object in a gauge until it is dropped.
#[derive(Debug)]
pub struct OneOf(Gauge);

impl OneOf {
    /// Increments the gauge.
    pub fn new(gauge: Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for OneOf {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Serves on a TCP port while it is polled.
pub async fn over_tcp(listener: &Listener, served: Served, source: Arc<impl Source>) -> Infallible {
    let accept = async || {
        let (stream, peer) = listener.accept().await?;
        Ok((stream, Some(peer)))
    };
    serve(accept, served, source).await
}

/// Serves on a unix socket while it is polled.
pub async fn over_unix(
    listener: &UnixListener,
    served: Served,
    source: Arc<impl Source>,
) -> Infallible {
    serve(
        async || Ok((listener.accept().await?.0, None)),
        served,
        source,
    )
    .await
}

async fn serve<S>(
    accept: impl AsyncFn() -> io::Result<(S, Option<SocketAddr>)>,
    served: Served,
    source: Arc<impl Source>,
) -> Infallible
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let places = Places::new(
        served.word(),
        CONNECTIONS,
        source.rejections().of(served.word()),
    );
    loop {
        match accept().await {
            Ok((stream, peer)) => answer(places.connect(stream, peer).0, served, &source),
            Err(error) => listen::accept_failed(&error).await,
        }
    }
}

/// Serves one request of a connection, and closes it.
fn answer<S>(stream: S, served: Served, source: &Arc<impl Source>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let source = Arc::clone(source);
    let service = service_fn(move |request: Request<Incoming>| {
        let response = respond(request.method(), request.uri().path(), served, &*source);
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .keep_alive(false)
        .max_buf_size(16 << 10)
        .serve_connection(TokioIo::new(stream), service);
    tokio::spawn(async move {
        // An invalid request or a closed connection gets no response.
        let _ = connection.await;
    });
}

fn respond(
    method: &Method,
    path: &str,
    served: Served,
    source: &impl Source,
) -> Response<Full<Bytes>> {
    let (status, kind, text) = match (method, path) {
        (&Method::GET, "/metrics") if served == Served::Metrics => match encoded(source) {
            Ok(text) => (StatusCode::OK, TEXT, text),
            Err(error) => plain(
                StatusCode::INTERNAL_SERVER_ERROR,
                &format!("a bug: {error}"),
            ),
        },
        // A process that responds is alive.
        (&Method::GET, "/healthz") => plain(StatusCode::OK, "ok"),
        (&Method::GET, "/readyz") => match source.is_ready() {
            true => plain(StatusCode::OK, "ok"),
            false => plain(StatusCode::SERVICE_UNAVAILABLE, "it is starting, or ending"),
        },
        (&Method::GET, _) => plain(
            StatusCode::NOT_FOUND,
            match served {
                Served::Metrics => "there are /metrics, /healthz and /readyz",
                Served::Health => "there are /healthz and /readyz",
            },
        ),
        _ => plain(StatusCode::METHOD_NOT_ALLOWED, "only GET"),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let kind = kind.try_into().expect("a constant of visible ASCII");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

fn plain(status: StatusCode, text: &str) -> (StatusCode, &'static str, String) {
    (status, "text/plain; charset=utf-8", format!("{text}\n"))
}

/// Returns the response of `/metrics`.
///
/// # Errors
/// An error if a series of the source cannot be encoded.
pub fn encoded(source: &impl Source) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    text::encode_registry(&mut text, source.registry())?;
    text::encode_registry(&mut text, &of_this_process())?;
    text::encode_eof(&mut text)?;
    Ok(text)
}

/// Series of the process, which are read for each request.
fn of_this_process() -> Registry {
    let mut registry = Registry::default();
    let build = [("version", env!("CARGO_PKG_VERSION"))];
    registry.register("tracejob_build", "This program", Info::new(build));
    registry.register_collector(Box::new(ThisProcess));
    registry
}

/// The names are those of Prometheus' own client libraries.
#[derive(Debug)]
struct ThisProcess;

impl Collector for ThisProcess {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let cpu = ConstCounter::new(cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9);
        let kind = cpu.metric_type();
        cpu.encode(encoder.encode_descriptor(
            "process_cpu",
            "CPU time of this process",
            Some(&Unit::Seconds),
            kind,
        )?)?;
        let memory = ConstGauge::new(resident_bytes());
        let kind = memory.metric_type();
        memory.encode(encoder.encode_descriptor(
            "process_resident_memory",
            "Memory of this process",
            Some(&Unit::Bytes),
            kind,
        )?)?;
        let open = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        // One descriptor is the open directory itself.
        let open = ConstGauge::new(open.saturating_sub(1) as i64);
        let kind = open.metric_type();
        open.encode(encoder.encode_descriptor(
            "process_open_fds",
            "Files and sockets that this process has open",
            None,
            kind,
        )?)
    }
}

/// The second number of statm, in pages: proc_pid_statm(5).
fn resident_bytes() -> i64 {
    let text = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: Option<i64> = text.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages.unwrap_or(0) * rustix::param::page_size() as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    struct Starting(Registry, Rejections);

    impl Starting {
        fn new() -> Arc<Self> {
            let mut registry = Registry::default();
            let rejections = Rejections::register(&mut registry);
            Arc::new(Self(registry, rejections))
        }
    }

    impl Source for Starting {
        fn registry(&self) -> &Registry {
            &self.0
        }

        fn is_ready(&self) -> bool {
            false
        }

        fn rejections(&self) -> &Rejections {
            &self.1
        }
    }

    async fn response(served: Served, request: &'static str) -> String {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let read = tokio::task::spawn_blocking(move || {
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        });
        tokio::select! {
            answer = read => answer.unwrap(),
            never = over_tcp(&listener, served, Starting::new()) => match never {},
        }
    }

    #[tokio::test]
    async fn only_three_paths_are_served() {
        for (request, wanted) in [
            ("GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n", "HTTP/1.1 200"),
            ("GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n", "HTTP/1.1 200"),
            ("GET /readyz HTTP/1.1\r\nhost: a\r\n\r\n", "HTTP/1.1 503"),
            (
                "GET /metrics/../x HTTP/1.1\r\nhost: a\r\n\r\n",
                "HTTP/1.1 404",
            ),
            ("POST /metrics HTTP/1.1\r\nhost: a\r\n\r\n", "HTTP/1.1 405"),
            ("nonsense\r\n\r\n", "HTTP/1.1 400"),
        ] {
            let answer = response(Served::Metrics, request).await;
            assert!(answer.starts_with(wanted), "{request}: {answer}");
        }
    }

    #[tokio::test]
    async fn the_listener_for_health_serves_probes_and_no_metrics() {
        for (request, wanted) in [
            ("GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n", "HTTP/1.1 404"),
            ("GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n", "HTTP/1.1 200"),
            ("GET /readyz HTTP/1.1\r\nhost: a\r\n\r\n", "HTTP/1.1 503"),
        ] {
            let answer = response(Served::Health, request).await;
            assert!(answer.starts_with(wanted), "{request}: {answer}");
        }
    }
}
