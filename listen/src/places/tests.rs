//! Places during floods of connections, and the connections that stay open.

use super::*;
use std::sync::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

const LONG: Duration = Duration::from_secs(3600);
const LIMITS: Limits = Limits {
    pending: 4,
    pending_per_source: 3,
    pending_time: LONG,
    admitted: 3,
    reserved: 1,
    idle_time: LONG,
};

type Reasons = Arc<Mutex<Vec<&'static str>>>;

fn places(limits: Limits) -> (Places, Reasons) {
    let reasons = Reasons::default();
    let to = Arc::clone(&reasons);
    let report = move |reason: Reason| to.lock().unwrap().push(reason.word());
    (Places::new("test", limits, report), reasons)
}

/// A client of an address, with the server's end of the connection.
struct Client {
    _far: DuplexStream,
    connection: Connection<DuplexStream>,
    place: Place,
}

fn connect(places: &Places, address: &str) -> Client {
    let (far, near) = duplex(1 << 21);
    let peer = SocketAddr::new(address.parse().unwrap(), 1);
    let (connection, place) = places.connect(near, Some(peer));
    Client {
        _far: far,
        connection,
        place,
    }
}

impl Client {
    async fn is_open(&mut self) -> bool {
        let read = self.connection.read_u8();
        // An open connection has nothing to read.
        let read = tokio::time::timeout(Duration::from_millis(20), read);
        read.await.is_err()
    }
}

#[tokio::test]
async fn the_oldest_pending_connection_is_closed_for_a_new_one() {
    let (places, reasons) = places(LIMITS);
    let mut clients: Vec<_> = (0..6)
        .map(|n| connect(&places, &format!("192.0.2.{n}")))
        .collect();
    let mut open = Vec::new();
    for client in &mut clients {
        open.push(client.is_open().await);
    }
    assert_eq!(open, [false, false, true, true, true, true]);
    assert_eq!(*reasons.lock().unwrap(), ["pending_limit"; 2]);
}

#[tokio::test]
async fn a_full_pool_closes_the_oldest_connection_of_the_source_with_the_most() {
    let (places, _) = places(LIMITS);
    let mut other = connect(&places, "192.0.2.1");
    let mut floods: Vec<_> = (0..20)
        .map(|n| connect(&places, &format!("192.0.2.{}", 2 + n % 2)))
        .collect();
    assert!(other.is_open().await);
    let mut open = 0;
    for flood in &mut floods {
        open += usize::from(flood.is_open().await);
    }
    assert_eq!(open, LIMITS.pending - 1);
}

#[tokio::test]
async fn a_source_at_its_limit_of_pending_connections_loses_its_own_oldest() {
    let (places, reasons) = places(LIMITS);
    let mut other = connect(&places, "192.0.2.1");
    // One /64 is one source.
    let mut flood: Vec<_> = (1..=5)
        .map(|n| connect(&places, &format!("2001:db8::{n}")))
        .collect();
    assert!(other.is_open().await);
    assert!(!flood[1].is_open().await && flood[2].is_open().await);
    assert_eq!(*reasons.lock().unwrap(), ["source_limit"; 2]);
    // Closed connections free their places.
    drop(flood);
    for n in 0..3 {
        let mut next = connect(&places, &format!("2001:db8::{n}"));
        assert!(next.is_open().await && other.is_open().await);
    }
    assert_eq!(reasons.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn reserved_places_stay_free_for_their_class() {
    let (places, reasons) = places(LIMITS);
    let busy = |class| {
        let client = connect(&places, "192.0.2.1");
        let admitted = client.place.admit(class);
        let call = client.place.call();
        (client, admitted, call)
    };
    let _first = [busy(Class::Ordinary), busy(Class::Ordinary)];
    let third = busy(Class::Ordinary);
    assert_eq!(third.1, Err(Full));
    let reserved = busy(Class::Reserved);
    assert_eq!(reserved.1, Ok(()));
    // All have open calls now.
    assert_eq!(busy(Class::Reserved).1, Err(Full));
    assert_eq!(*reasons.lock().unwrap(), ["full"; 2]);
}

#[tokio::test]
async fn an_idle_connection_is_closed_for_a_new_one_and_one_with_an_open_call_is_not() {
    let (places, _) = places(LIMITS);
    let mut idle = connect(&places, "192.0.2.1");
    let mut busy = connect(&places, "192.0.2.2");
    idle.place.admit(Class::Ordinary).unwrap();
    busy.place.admit(Class::Ordinary).unwrap();
    let _call = busy.place.call();
    let mut next = connect(&places, "192.0.2.3");
    next.place.admit(Class::Ordinary).unwrap();
    assert!(!idle.is_open().await && busy.is_open().await && next.is_open().await);
    // A closed connection cannot be admitted, and its calls are not counted.
    assert_eq!(idle.place.admit(Class::Reserved), Err(Full));
    drop(idle.place.call());
}

#[tokio::test]
async fn time_limits_close_pending_and_idle_connections_but_none_with_an_open_call() {
    const SHORT: Duration = Duration::from_millis(100);
    let (places, reasons) = places(Limits {
        pending_time: SHORT,
        idle_time: SHORT,
        ..LIMITS
    });
    let mut silent = connect(&places, "192.0.2.1");
    let mut idle = connect(&places, "192.0.2.2");
    let mut busy = connect(&places, "192.0.2.3");
    idle.place.admit(Class::Ordinary).unwrap();
    busy.place.admit(Class::Ordinary).unwrap();
    let call = busy.place.call();
    // A call does not extend the time limit of a pending connection.
    let _call = silent.place.call();
    silent.connection.read_u8().await.unwrap_err();
    idle.connection.read_u8().await.unwrap_err();
    tokio::time::timeout(4 * SHORT, busy.connection.read_u8())
        .await
        .unwrap_err();
    drop(call);
    let end = tokio::time::timeout(LONG, busy.connection.read_u8()).await;
    assert_eq!(
        end.unwrap().unwrap_err().kind(),
        std::io::ErrorKind::TimedOut
    );
    assert_eq!(*reasons.lock().unwrap(), ["timeout", "idle", "idle"]);
}

#[tokio::test]
async fn a_peer_beyond_its_burst_is_read_at_the_limited_rate() {
    let (places, _) = places(LIMITS);
    let mut client = connect(&places, "192.0.2.1");
    let flood = vec![0; 2 << 20];
    client._far.write_all(&flood).await.unwrap();
    let began = std::time::Instant::now();
    let mut some = [0; 4096];
    for _ in 0..(1 << 20) / 4096 + (128 << 10) / 4096 {
        client.connection.read_exact(&mut some).await.unwrap();
    }
    // The burst arrives at once, and 128 KiB in half a second.
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(400), "{took:?}");
}
