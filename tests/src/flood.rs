//! Floods of connections. Each continues until it is stopped.

use crate::until;
use rustix::net::{AddressFamily, SocketType};
use std::{
    io::{self, ErrorKind, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::Duration,
};

/// Connects from an address of this machine. The whole of 127.0.0.0/8 is.
fn connect(from: IpAddr, to: SocketAddr) -> io::Result<TcpStream> {
    let family = match to {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let socket = rustix::net::socket(family, SocketType::STREAM, None)?;
    rustix::net::bind(&socket, &SocketAddr::new(from, 0))?;
    rustix::net::connect(&socket, &to)?;
    Ok(socket.into())
}

/// Holds connections that send `begin` and nothing else, and opens another for each that is closed. They come from these addresses in turn.
pub fn hold_silent_connections(
    from: &[IpAddr],
    to: SocketAddr,
    count: usize,
    begin: &[u8],
    attack: &Attack,
) {
    let mut held: Vec<TcpStream> = Vec::new();
    while attack.goes_on() {
        held.retain_mut(is_open);
        while held.len() < count && attack.goes_on() {
            let Ok(mut stream) = connect(from[attack.done() % from.len()], to) else {
                break;
            };
            attack.count(1);
            // It may be closed already.
            let _ = stream.write_all(begin);
            stream.set_nonblocking(true).unwrap();
            held.push(stream);
        }
        thread::sleep(Duration::from_millis(1));
    }
}

fn is_open(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0; 256]) {
        Ok(read) => read > 0,
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}

/// Sends the same bytes again and again, and reads what comes back. It ends where the other side closes.
pub fn send_again_and_again(stream: &mut (impl Read + Write), bytes: &[u8], attack: &Attack) {
    let mut answer = vec![0; 64 << 10];
    let is_over = |error: &io::Error| {
        !matches!(
            error.kind(),
            ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
        )
    };
    while attack.goes_on() {
        match stream.write(bytes) {
            Ok(0) => break,
            Ok(written) => attack.count(written),
            Err(error) if is_over(&error) => break,
            Err(_) => {}
        }
        match stream.read(&mut answer) {
            Ok(0) => break,
            Err(error) if is_over(&error) => break,
            _ => {}
        }
    }
}

/// An attack that goes on: its end, and what it has done so far.
#[derive(Debug, Default)]
pub struct Attack {
    stop: AtomicBool,
    done: AtomicUsize,
}

impl Attack {
    /// Whether it is to go on.
    pub fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    /// Ends it.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Counts connections that were opened, or bytes that were sent.
    pub fn count(&self, more: usize) {
        self.done.fetch_add(more, Ordering::Relaxed);
    }

    /// Waits until this number of connections or bytes is reached.
    pub fn until(&self, done: usize) {
        until("the attack to be under way", || {
            (self.done() >= done).then_some(())
        });
    }

    /// What it has done.
    pub fn done(&self) -> usize {
        self.done.load(Ordering::Relaxed)
    }
}

/// Runs an attack beside something else, and stops it afterwards.
pub fn beside<T>(attack: impl FnOnce(&Attack) + Send, other: impl FnOnce(&Attack) -> T) -> T {
    let running = Attack::default();
    thread::scope(|scope| {
        scope.spawn(|| attack(&running));
        // After a panic below, nothing else would stop the attack.
        let _stops = Stop(&running);
        other(&running)
    })
}

struct Stop<'a>(&'a Attack);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}
