//! Programs that are worth tracing: this one, in modes that the demo starts.
//!
//! Modes and not shell commands: they exist on a bare machine, and their functions have names that a flame graph shows.

use std::{
    fs::{self, File},
    hint::black_box,
    io::{Read, Write},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

/// How long a workload goes on: three redraws of a live table.
const LASTS: Duration = Duration::from_secs(3);

/// What to do.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Workload {
    /// Reads and writes, a few of them in vain.
    Calls,
    /// Connections over loopback: accepted, refused, IPv6.
    Connect,
    /// Touches new memory in three functions.
    Faults,
}

impl Workload {
    /// As on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::Connect => "connect",
            Self::Faults => "faults",
        }
    }

    /// What the audience reads.
    pub(crate) fn tells(self) -> &'static str {
        match self {
            Self::Calls => {
                "(3 s of reading, writing, and opening files of which some do not exist)"
            }
            Self::Connect => "(connects to itself over IPv4 and IPv6, and once to a closed port)",
            Self::Faults => "(3 s of touching new memory in three functions)",
        }
    }

    /// Does it.
    pub(crate) fn run(self) -> Result<()> {
        match self {
            Self::Calls => calls(),
            Self::Connect => connect(),
            Self::Faults => {
                faults();
                Ok(())
            }
        }
    }
}

fn calls() -> Result<()> {
    let mut sink = File::create("/dev/null").context("opening /dev/null")?;
    let end = Instant::now() + LASTS;
    let mut rounds = 0_u32;
    while Instant::now() < end {
        let text = fs::read("/proc/self/stat").context("reading /proc/self/stat")?;
        sink.write_all(&text).context("writing to /dev/null")?;
        if rounds.is_multiple_of(64) {
            // In vain, as programs do when they look for their configuration.
            let missing = fs::read("/nonexistent/tracejob.conf");
            black_box(missing.is_err());
            thread::sleep(Duration::from_millis(1));
        }
        rounds += 1;
    }
    Ok(())
}

fn connect() -> Result<()> {
    for address in [
        SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        SocketAddr::from((Ipv6Addr::LOCALHOST, 0)),
    ] {
        let Ok(listener) = TcpListener::bind(address) else {
            // A machine without IPv6 has one half of the demo.
            continue;
        };
        let server = listener
            .local_addr()
            .context("asking for the port that was bound")?;
        for _ in 0..3 {
            let mut client =
                TcpStream::connect(server).with_context(|| format!("connecting to {server}"))?;
            let (mut accepted, _) = listener.accept().context("accepting our own connection")?;
            client.write_all(b"ping").context("sending")?;
            let mut ping = [0; 4];
            accepted.read_exact(&mut ping).context("receiving")?;
            thread::sleep(Duration::from_millis(100));
        }
        drop(listener);
        let refused = TcpStream::connect(server);
        black_box(refused.is_err());
    }
    Ok(())
}

fn faults() {
    let end = Instant::now() + LASTS;
    while Instant::now() < end {
        load_index();
        serve_requests();
        thread::sleep(Duration::from_millis(5));
    }
}

/// 16 MiB, once a round.
#[inline(never)]
fn load_index() {
    for _ in 0..16 {
        touch_pages();
    }
}

#[inline(never)]
fn serve_requests() {
    for _ in 0..4 {
        parse_request();
    }
}

/// 1 MiB for each request.
#[inline(never)]
fn parse_request() {
    touch_pages();
}

/// Memory costs nothing until it is touched: one fault for every 4 KiB of this 1 MiB.
///
/// No larger, because a 2 MiB page would come with a single fault.
#[inline(never)]
fn touch_pages() {
    let mut memory: Vec<u8> = Vec::with_capacity(1 << 20);
    memory.resize(1 << 20, 1);
    black_box(&memory);
}
