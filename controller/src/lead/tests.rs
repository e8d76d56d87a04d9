//! Tests of contenders whose wall clocks are hours apart, and of a leader without an answering API server.

use super::*;
use k8s_openapi::jiff::SignedDuration;
use kube::client::Body;
use std::sync::{Arc, Mutex};

/// The API server's lease.
#[derive(Debug, Default)]
struct Server {
    lease: Option<Lease>,
    version: u64,
}

impl Server {
    /// Writes a lease, unless another version exists.
    fn write(&mut self, mut lease: Lease) -> Option<Lease> {
        let there = self
            .lease
            .as_ref()
            .map(|lease| &lease.metadata.resource_version);
        let named = &lease.metadata.resource_version;
        if there.map_or(named.is_some(), |there| there != named) {
            return None;
        }
        self.version += 1;
        lease.metadata.resource_version = Some(self.version.to_string());
        self.lease = Some(lease.clone());
        Some(lease)
    }
}

/// Returns a contender whose wall clock is ahead by this number of hours.
struct Clocked {
    view: View,
    ahead: SignedDuration,
}

fn contender(identity: &str, hours_ahead: i64) -> Clocked {
    Clocked {
        view: View {
            name: "controller".to_owned(),
            identity: identity.to_owned(),
            timing: TIMING,
            seen: None,
        },
        ahead: SignedDuration::from_hours(hours_ahead),
    }
}

impl Clocked {
    /// Makes one attempt at this number of seconds after the start. Returns whether the contender leads.
    fn attempt(&mut self, server: &mut Server, start: Instant, seconds: u64) -> bool {
        let now = start + Duration::from_secs(seconds);
        let wall = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds as i64) + self.ahead;
        let found = server.lease.clone();
        let claim = self.view.claim(found, now, wall);
        let written = claim.and_then(|claim| server.write(claim));
        let leads = written.is_some();
        if let Some(written) = written {
            self.view.observe(written, now);
        }
        leads
    }
}

#[test]
fn a_follower_whose_clock_is_hours_off_waits_while_the_leader_renews_and_takes_over_when_it_is_gone()
 {
    for (ahead_of_leader, ahead_of_follower) in [(0, 5), (5, 0), (-9, 9), (0, 0)] {
        let (mut server, start) = (Server::default(), Instant::now());
        let mut leader = contender("a", ahead_of_leader);
        let mut follower = contender("b", ahead_of_follower);
        for seconds in (0..600).step_by(2) {
            assert!(leader.attempt(&mut server, start, seconds));
            assert!(
                !follower.attempt(&mut server, start, seconds + 1),
                "{seconds}"
            );
        }
        // Renewed last at 598, and seen at 599.
        for seconds in [601, 605, 613] {
            assert!(!follower.attempt(&mut server, start, seconds), "{seconds}");
        }
        assert!(follower.attempt(&mut server, start, 614));
        assert!(!leader.attempt(&mut server, start, 615));
        assert_eq!(leader.view.other(), Some("b"));
        let spec = server.lease.unwrap().spec.unwrap();
        assert_eq!(
            (spec.lease_transitions, spec.lease_duration_seconds),
            (Some(1), Some(15))
        );
    }
}

#[test]
fn a_new_lease_counts_from_its_first_observation_regardless_of_its_times() {
    let (mut server, start) = (Server::default(), Instant::now());
    assert!(contender("a", -1000).attempt(&mut server, start, 0));
    let mut follower = contender("b", 0);
    for seconds in [1000, 1014] {
        assert!(!follower.attempt(&mut server, start, seconds));
    }
    // A changed label does not show that the holder is alive.
    let mut labelled = server.lease.clone().unwrap();
    labelled.metadata.labels = Some([("a".to_owned(), "b".to_owned())].into());
    server.write(labelled).unwrap();
    assert!(follower.attempt(&mut server, start, 1015));
}

#[test]
fn of_two_who_take_an_expired_lease_at_once_one_leads() {
    let (mut server, start) = (Server::default(), Instant::now());
    assert!(contender("a", 0).attempt(&mut server, start, 0));
    let now = |seconds| start + Duration::from_secs(seconds);
    let wall = Timestamp::UNIX_EPOCH;
    let (mut b, mut c) = (contender("b", 0).view, contender("c", 0).view);
    let mut claims = [1, 20].map(|seconds| {
        let claim = |view: &mut View| view.claim(server.lease.clone(), now(seconds), wall);
        [claim(&mut b), claim(&mut c)]
    });
    assert_eq!(claims[0], [None, None]);
    let written = claims[1]
        .each_mut()
        .map(|claim| server.write(claim.take().unwrap()));
    assert!(written[0].is_some() && written[1].is_none());
}

#[test]
fn a_lease_that_is_given_back_is_taken_at_once() {
    let (mut server, start) = (Server::default(), Instant::now());
    let (mut leader, mut follower) = (contender("a", 0), contender("b", 0));
    assert!(leader.attempt(&mut server, start, 0));
    assert!(!follower.attempt(&mut server, start, 1));
    assert_eq!(follower.view.released(Timestamp::UNIX_EPOCH), None);
    let released = leader.view.released(Timestamp::UNIX_EPOCH).unwrap();
    assert!(server.write(released).is_some());
    assert!(follower.attempt(&mut server, start, 2));
}

/// Simulated time that passes while a test waits.
const SHORT: Timing = Timing {
    duration: Duration::from_secs(3),
    deadline: Duration::from_millis(300),
    retry: Duration::from_millis(10),
};

/// Behaviour of the simulated API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answers {
    Rightly,
    WithErrors,
    Never,
}

type Shared = Arc<Mutex<(Server, Answers)>>;

fn over_http(shared: &Shared, identity: &str) -> Contender {
    let shared = Arc::clone(shared);
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let shared = Arc::clone(&shared);
        async move {
            let answers = shared.lock().unwrap().1;
            if answers == Answers::Never {
                std::future::pending::<()>().await;
            }
            let is_read = request.method() == http::Method::GET;
            let sent = request.into_body().collect_bytes().await?;
            let server = &mut shared.lock().unwrap().0;
            let (code, body) = match answers {
                Answers::WithErrors => (503, None),
                _ if is_read => server
                    .lease
                    .clone()
                    .map_or((404, None), |lease| (200, Some(lease))),
                _ => match server.write(serde_json::from_slice(&sent).unwrap()) {
                    Some(lease) => (200, Some(lease)),
                    None => (409, None),
                },
            };
            let reason = match code {
                404 => "NotFound",
                409 => "Conflict",
                _ => "ServiceUnavailable",
            };
            let failure = serde_json::json!({"kind": "Status", "status": "Failure", "message": "no", "reason": reason, "code": code});
            let body = body.map_or_else(
                || failure.to_string(),
                |lease| serde_json::to_string(&lease).unwrap(),
            );
            let response = http::Response::builder().status(code);
            Ok::<_, kube::Error>(response.body(Body::from(body.into_bytes())).unwrap())
        }
    });
    let client = Client::new(service, "default");
    Contender::new(client, "system", "controller", identity.to_owned(), SHORT)
}

fn server() -> Shared {
    Arc::new(Mutex::new((Server::default(), Answers::Rightly)))
}

/// Waits until a contender leads, with a limit.
async fn leads(contender: &mut Contender) {
    let acquired = timeout(Duration::from_secs(60), contender.acquire(|| {})).await;
    acquired.expect("the lease is free");
}

#[tokio::test]
async fn a_leader_stops_when_it_cannot_renew_in_time() {
    for answers in [Answers::WithErrors, Answers::Never] {
        let server = server();
        let mut leader = over_http(&server, "a");
        leads(&mut leader).await;
        server.lock().unwrap().1 = answers;
        assert_eq!(leader.keep().await, Lost::Deadline, "{answers:?}");
    }
}

#[tokio::test]
async fn a_leader_stops_when_another_one_holds_the_lease() {
    let server = server();
    let mut leader = over_http(&server, "a");
    leads(&mut leader).await;
    {
        let server = &mut server.lock().unwrap().0;
        let mut taken = server.lease.clone().unwrap();
        taken.spec.as_mut().unwrap().holder_identity = Some("b".to_owned());
        server.write(taken).unwrap();
    }
    assert_eq!(leader.keep().await, Lost::Other("b".to_owned()));
    // Another contender's lease is not released.
    leader.release().await;
    let lease = server.lock().unwrap().0.lease.clone().unwrap();
    assert_eq!(holder(&lease).map(String::as_str), Some("b"));
}

#[tokio::test]
async fn a_contender_waits_until_the_lease_is_given_back() {
    let server = server();
    let (mut leader, mut next) = (over_http(&server, "a"), over_http(&server, "b"));
    leads(&mut leader).await;
    let answered = tokio::sync::Notify::new();
    let waits = async {
        next.acquire(|| answered.notify_one()).await;
    };
    let ends = async {
        answered.notified().await;
        leader.release().await;
    };
    tokio::join!(waits, ends);
    assert_eq!(next.view.other(), None);
    assert!(next.view.seen.is_some());
}
