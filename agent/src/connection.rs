//! Connections over a unix socket, or over TCP with mutual TLS, and the roles of their callers.

mod limits;

use super::{
    caller::{self, Caller},
    config::{Listen, Roles, Tls},
    counters::Counters,
    role::Role,
    socket::{self, Socket},
};
use anyhow::{Context as _, Result, bail};
use engine::fault::keepalive;
use limits::{
    IDLE_TIME, PENDING, PENDING_PER_SOURCE, PENDING_TIME, RESERVED_ONE_IN, UNTAKEN, WAITING,
};
use listen::{
    Listener,
    places::{self, Call, Class, Limits, Place, Places},
    tls::{Acceptor, Clients, Files},
};
use metrics::{OneOf, Source as _};
use std::{
    fmt, io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixListener, UnixStream},
    sync::mpsc,
};
use tonic::transport::server::Connected;

/// First bytes of every HTTP/2 connection of a client: RFC 9113, 3.4.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The client of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    who: Who,
    pub(crate) role: Role,
    /// Slot of its connection over TCP; `None` over a unix socket.
    place: Option<Place>,
}

#[derive(Clone, Debug)]
enum Who {
    /// User ID, as reported by the kernel.
    User { uid: u32, pid: Option<i32> },
    /// Name in its certificate, and its address.
    Named(String, SocketAddr),
    /// Unidentified.
    Unknown,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.who {
            Who::User {
                uid,
                pid: Some(pid),
            } => write!(f, "uid {uid} pid {pid}"),
            Who::User { uid, pid: None } => write!(f, "uid {uid}"),
            // From a certificate, which may contain any text.
            Who::Named(name, address) => write!(f, "{} from {address}", name.escape_debug()),
            Who::Unknown => f.write_str("unknown"),
        }
    }
}

impl Peer {
    /// Returns the caller of this connection.
    pub(crate) fn caller(&self) -> Caller {
        let (identity, is_admin) = match &self.who {
            // It is root's or the agent's own user's, or has no role.
            Who::User { uid, .. } => (caller::Identity::User(*uid), self.role == Role::Control),
            Who::Named(name, _) => (caller::Identity::Name(name.clone()), false),
            Who::Unknown => (caller::Identity::Unknown, false),
        };
        Caller {
            who: self.to_string(),
            identity,
            is_admin,
        }
    }

    /// Keeps the connection open although it is silent, until the returned value is dropped.
    pub(crate) fn call(&self) -> Option<Call> {
        self.place.as_ref().map(Place::call)
    }

    /// Only root and the agent's own user may call over its socket.
    fn of_unix(stream: &UnixStream) -> Self {
        let me = rustix::process::geteuid().as_raw();
        match stream.peer_cred() {
            Ok(cred) => Self {
                who: Who::User {
                    uid: cred.uid(),
                    pid: cred.pid(),
                },
                role: match cred.uid() == 0 || cred.uid() == me {
                    true => Role::Control,
                    false => Role::None,
                },
                place: None,
            },
            Err(_) => Self {
                who: Who::Unknown,
                role: Role::None,
                place: None,
            },
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Stream for T {}

/// A connection that is let in.
pub(crate) struct Connection {
    stream: Pin<Box<dyn Stream>>,
    /// Bytes that were read from it already.
    begun: &'static [u8],
    peer: Peer,
    _counted: OneOf,
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

/// Reads the certificates of the agent.
///
/// # Errors
/// Where the files do not contain a certificate with its key, and a CA of clients.
pub(crate) fn acceptor(tls: Tls) -> Result<Acceptor> {
    let Tls {
        certificate,
        key,
        client_ca,
    } = tls;
    let files = Files { certificate, key };
    let acceptor = Acceptor::read(files, Clients::Required(client_ca), &[b"h2"]);
    acceptor.context("cannot use the files of tls.certificate, tls.key and tls.clientCa")
}

/// Listens everywhere, and gives what is let in. Listening ends with the receiver.
pub(crate) struct Listeners {
    unix: Vec<(UnixListener, Socket)>,
    tcp: Vec<Listener>,
}

impl Listeners {
    /// Begins to listen.
    ///
    /// # Errors
    /// If it cannot.
    pub(crate) fn bind(listen: &[Listen]) -> Result<Self> {
        let mut listeners = Self {
            unix: Vec::new(),
            tcp: Vec::new(),
        };
        for one in listen {
            match one {
                Listen::Unix(path) => {
                    listeners.unix.push(socket::bind(path)?);
                    tracing::info!(socket = %path.display(), "listening");
                }
                Listen::Https(address) => {
                    let listener = Listener::bind(*address)
                        .with_context(|| format!("cannot listen on https://{address}"))?;
                    tracing::info!(address = %listener.local_addr()?, "listening");
                    listeners.tcp.push(listener);
                }
            }
        }
        Ok(listeners)
    }

    /// Lets clients in. `most` is how many there may be over TCP; a unix socket's are our own.
    pub(crate) fn accept(
        self,
        acceptor: Option<Arc<Acceptor>>,
        roles: Roles,
        most: usize,
        counters: &Arc<Counters>,
    ) -> mpsc::Receiver<io::Result<Connection>> {
        let (sender, receiver) = mpsc::channel(WAITING);
        for listener in self.unix {
            tokio::spawn(over_unix(listener, sender.clone(), Arc::clone(counters)));
        }
        let limits = Limits {
            pending: PENDING,
            pending_per_source: PENDING_PER_SOURCE,
            pending_time: PENDING_TIME,
            admitted: most,
            reserved: most.div_ceil(RESERVED_ONE_IN),
            idle_time: keepalive(IDLE_TIME),
        };
        let door = Arc::new(Door {
            places: Places::new("https", limits, counters.rejections().of("https")),
            roles,
            counters: Arc::clone(counters),
            sender,
        });
        for listener in self.tcp {
            if let Some(acceptor) = &acceptor {
                tokio::spawn(over_tcp(listener, Arc::clone(acceptor), Arc::clone(&door)));
            }
        }
        receiver
    }
}

async fn over_unix(
    (listener, _socket): (UnixListener, Socket),
    sender: mpsc::Sender<io::Result<Connection>>,
    counters: Arc<Counters>,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = sender.closed() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                let connection = Connection {
                    peer: Peer::of_unix(&stream),
                    stream: Box::pin(stream),
                    begun: &[],
                    _counted: counters.connection(),
                };
                if sender.send(Ok(connection)).await.is_err() {
                    return;
                }
            }
            Err(error) => listen::accept_failed(&error).await,
        }
    }
}

/// Limits and counters of all TCP connections.
struct Door {
    places: Places,
    roles: Roles,
    counters: Arc<Counters>,
    sender: mpsc::Sender<io::Result<Connection>>,
}

async fn over_tcp(listener: Listener, acceptor: Arc<Acceptor>, door: Arc<Door>) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = door.sender.closed() => return,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                listen::accept_failed(&error).await;
                continue;
            }
        };
        let (acceptor, door) = (Arc::clone(&acceptor), Arc::clone(&door));
        // Before anything else waits: the oldest connection makes room for this one.
        if let Err(error) = configure(&stream) {
            tracing::debug!(%address, %error, "a connection is over already");
            continue;
        }
        let (stream, place) = door.places.connect(stream, Some(address));
        tokio::spawn(async move {
            let shaken = door.shake_hands(&acceptor, stream, address, &place).await;
            let (stream, peer) = match shaken {
                Ok(shaken) => shaken,
                Err(error) => return place.handshake_failed(&format!("{error:#}")),
            };
            let admitted = match peer.role {
                Role::Control => place.admit(Class::Reserved),
                Role::Read => place.admit(Class::Ordinary),
                // It stays pending, until it has its answer or its time is over.
                Role::None => Ok(()),
            };
            // The rejection is counted and logged already.
            if admitted.is_err() {
                return;
            }
            let connection = Connection {
                stream,
                peer,
                begun: PREFACE,
                _counted: door.counters.connection(),
            };
            // The server is gone: the agent is ending.
            let _ = door.sender.send(Ok(connection)).await;
        });
    }
}

fn configure(stream: &TcpStream) -> io::Result<()> {
    // Answers are small, and wait for nothing.
    stream.set_nodelay(true)?;
    // A client that reads nothing receives no keepalive either, and unsent keepalives have no timeout.
    rustix::net::sockopt::set_tcp_user_timeout(stream, keepalive(UNTAKEN).as_millis() as u32)?;
    Ok(())
}

impl Door {
    async fn shake_hands(
        &self,
        acceptor: &Acceptor,
        stream: places::Connection<TcpStream>,
        address: SocketAddr,
        place: &Place,
    ) -> Result<(Pin<Box<dyn Stream>>, Peer)> {
        let (mut stream, certificate) = acceptor.accept(stream).await?;
        let certificate = certificate.context("the client has no certificate")?;
        let (role, name) = self.roles.of(&certificate)?;
        let mut begun = [0; PREFACE.len()];
        stream.read_exact(&mut begun).await?;
        if begun != *PREFACE {
            bail!("the client does not use HTTP/2");
        }
        let peer = Peer {
            who: Who::Named(name, address),
            role,
            place: Some(place.clone()),
        };
        Ok((Box::pin(stream), peer))
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.begun.is_empty() {
            let (now, later) = self
                .begun
                .split_at(self.begun.len().min(buffer.remaining()));
            buffer.put_slice(now);
            self.begun = later;
            return Poll::Ready(Ok(()));
        }
        self.stream.as_mut().poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream.as_mut().poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream.as_mut().poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
