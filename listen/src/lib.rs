//! TCP listeners of our daemons: one listener serves IPv6 and IPv4, and a bounded number of connections, with TLS or without.
//!
//! It depends neither on the protocol nor on the rights of clients.
#![forbid(unsafe_code)]

mod limits;
pub mod places;
pub mod stamp;
pub mod tls;

use limits::{ACCEPT_RETRY, BACKLOG};
use rustix::{
    fd::OwnedFd,
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt},
};
use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
};
use tokio::net::{TcpListener, TcpStream};

/// A TCP listener whose peers have canonical addresses.
#[derive(Debug)]
pub struct Listener(TcpListener);

impl Listener {
    /// Binds to an address. `[::]` accepts IPv4 as well, and becomes `0.0.0.0` where the kernel has no IPv6.
    ///
    /// Call it within a runtime of tokio.
    ///
    /// # Errors
    /// Where the address cannot be bound.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        Self::bind_by(address, socket)
    }

    fn bind_by(
        address: SocketAddr,
        socket: impl Fn(SocketAddr) -> Result<OwnedFd, Errno>,
    ) -> io::Result<Self> {
        let bound = match socket(address) {
            // `ipv6.disable=1`, or a policy that leaves AF_INET6 out: socket(2).
            Err(Errno::AFNOSUPPORT) if address.ip() == Ipv6Addr::UNSPECIFIED => {
                let instead = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
                tracing::warn!(%address, %instead, "this kernel has no IPv6: listening on IPv4 only");
                socket(instead)?
            }
            bound => bound?,
        };
        TcpListener::from_std(bound.into()).map(Self)
    }

    /// Accepts the next connection. An IPv4 client of `[::]` has its IPv4 address, and not `::ffff:…`.
    ///
    /// # Errors
    /// As accept(2).
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, mut peer) = self.0.accept().await?;
        peer.set_ip(peer.ip().to_canonical());
        Ok((stream, peer))
    }

    /// Returns the address that the listener is bound to.
    ///
    /// # Errors
    /// As getsockname(2).
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// Logs a failed accept(2), and waits before the next one: the process may be out of descriptors, and gets some back when connections
/// close. An immediate retry would only use a CPU.
pub async fn accept_failed(error: &io::Error) {
    tracing::warn!("cannot accept a connection: {error}");
    tokio::time::sleep(ACCEPT_RETRY).await;
}

/// Returns a socket that listens on an address.
fn socket(address: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    // A restarted daemon does not wait for the connections of its predecessor.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        // The result does not depend on `net.ipv6.bindv6only`.
        sockopt::set_ipv6_v6only(&socket, false)?;
    }
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Connects to this address, and returns the client's address as the listener reports it.
    async fn peer(listener: &Listener, client: &str) -> SocketAddr {
        let port = listener.local_addr().unwrap().port();
        let client = SocketAddr::new(client.parse().unwrap(), port);
        let (connected, accepted) = tokio::join!(TcpStream::connect(client), listener.accept());
        let (connected, (_, peer)) = (connected.unwrap(), accepted.unwrap());
        assert_eq!(connected.local_addr().unwrap(), peer);
        peer
    }

    #[tokio::test]
    async fn the_unspecified_address_serves_both_families_and_ipv4_peers_look_like_ipv4() {
        let listener = Listener::bind("[::]:0".parse().unwrap()).unwrap();
        assert_eq!(peer(&listener, "127.0.0.1").await.ip(), Ipv4Addr::LOCALHOST);
        assert_eq!(peer(&listener, "::1").await.ip(), Ipv6Addr::LOCALHOST);
    }

    /// Fails like a kernel that was started with `ipv6.disable=1`.
    fn without_ipv6(address: SocketAddr) -> Result<OwnedFd, Errno> {
        match address {
            SocketAddr::V4(_) => socket(address),
            SocketAddr::V6(_) => Err(Errno::AFNOSUPPORT),
        }
    }

    #[tokio::test]
    async fn without_ipv6_the_unspecified_address_is_the_ipv4_one_and_another_address_is_an_error()
    {
        let any = "[::]:0".parse().unwrap();
        let listener = Listener::bind_by(any, without_ipv6).unwrap();
        assert_eq!(peer(&listener, "127.0.0.1").await.ip(), Ipv4Addr::LOCALHOST);
        let loopback = "[::1]:0".parse().unwrap();
        let error = Listener::bind_by(loopback, without_ipv6).unwrap_err();
        assert_eq!(
            error.raw_os_error(),
            Some(Errno::AFNOSUPPORT.raw_os_error())
        );
    }
}
