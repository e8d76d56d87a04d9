//! A program that is worth tracing; `cargo xtask demo` compiles and starts it.
//!
//! A program of its own and no shell commands: it runs on a bare machine, and its functions have names that a flame graph shows.
//! It is compiled with frame pointers, by which kernels walk user stacks.
#![forbid(unsafe_code)]

use std::{
    env, fs,
    fs::File,
    hint::black_box,
    io::{self, Read, Write},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

/// How long a workload goes on: three redraws of a live table.
const LASTS: Duration = Duration::from_secs(3);

fn main() -> ExitCode {
    let what = env::args().nth(1).unwrap_or_default();
    let done = match what.as_str() {
        "calls" => calls(),
        "connect" => connect(),
        "faults" => faults(),
        _ => Err(io::Error::other("name one of calls, connect, faults")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {what}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn calls() -> io::Result<()> {
    let mut sink = File::create("/dev/null")?;
    let end = Instant::now() + LASTS;
    let mut rounds = 0_u32;
    while Instant::now() < end {
        let text = fs::read("/proc/self/stat")?;
        sink.write_all(&text)?;
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

fn connect() -> io::Result<()> {
    for address in [
        SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        SocketAddr::from((Ipv6Addr::LOCALHOST, 0)),
    ] {
        let Ok(listener) = TcpListener::bind(address) else {
            // A machine without IPv6 has one half of the demo.
            continue;
        };
        let server = listener.local_addr()?;
        for _ in 0..3 {
            let mut client = TcpStream::connect(server)?;
            let (mut accepted, _) = listener.accept()?;
            client.write_all(b"ping")?;
            let mut ping = [0; 4];
            accepted.read_exact(&mut ping)?;
            thread::sleep(Duration::from_millis(100));
        }
        drop(listener);
        let refused = TcpStream::connect(server);
        black_box(refused.is_err());
    }
    Ok(())
}

fn faults() -> io::Result<()> {
    let end = Instant::now() + LASTS;
    while Instant::now() < end {
        load_index();
        serve_requests();
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// 16 MiB, once a round.
#[inline(never)]
fn load_index() {
    for _ in 0..16 {
        touch_pages();
    }
    black_box(());
}

#[inline(never)]
fn serve_requests() {
    for _ in 0..4 {
        parse_request();
    }
    // Else the last call is a jump, and its stack lacks this function.
    black_box(());
}

/// 1 MiB for each request.
#[inline(never)]
fn parse_request() {
    touch_pages();
    black_box(());
}

/// Memory costs nothing until it is touched: one fault for every 4 KiB of this 1 MiB.
/// No larger, because a 2 MiB page would come with a single fault; and by hand, because memset has no frame pointer.
#[inline(never)]
fn touch_pages() {
    let mut memory = vec![0_u8; 1 << 20];
    for byte in memory.iter_mut().step_by(4096) {
        *byte = 1;
    }
    black_box(&memory);
}
