//! Tests of jobs whose controller, API server and agents fail at random: each ends in time, with the account that its agents sent.
//!
//! Time is simulated, so a day takes seconds. The API server is simulated as well, with and without answers.

use super::*;
use crate::{agents::Step, queue::Quota, world::Known};
use crd::TraceJob;
use fleet::{Connector, Tls};
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use k8s_openapi::{api::core::v1 as core, jiff::SignedDuration};
use kube::{client::Body, runtime::events::Reporter};
use proto::v1;
use serde_json::Value;
use std::{cell::Cell, collections::BTreeSet, time::SystemTime};
use tracers::Class;

const STEP_MS: i64 = 250;
const DEADLINE: i64 = 60;
/// Maximum time until a job has ended, after the last failure and after the deadline with its grace period.
const SLACK: i64 = 30;
const UID: &str = "5f0e";

thread_local! {
    static NOW: Cell<i64> = const { Cell::new(0) };
}

const EPOCH: Timestamp = Timestamp::constant(1_800_000_000, 0);

fn now() -> Timestamp {
    EPOCH + SignedDuration::from_millis(NOW.get())
}

/// Pseudo-random numbers, the same in each run; xorshift64*.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }

    fn below(&mut self, most: i64) -> i64 {
        (self.next() % most.unsigned_abs()).cast_signed()
    }

    fn percent(&mut self, chance: i64) -> bool {
        self.below(100) < chance
    }
}

/// A period of a failure, in ms.
#[derive(Clone, Copy, Debug)]
struct Trouble {
    from: i64,
    until: i64,
    percent: i64,
}

impl Trouble {
    fn any(random: &mut Random) -> Self {
        let from = random.below(80_000);
        Self {
            from,
            until: from + random.below(60_000),
            percent: [0, 30, 80, 100][random.below(4) as usize],
        }
    }

    fn strikes(self, random: &mut Random) -> bool {
        (self.from..self.until).contains(&NOW.get()) && random.percent(self.percent)
    }
}

/// A simulated API server with one job.
struct Server {
    random: Random,
    trouble: Trouble,
    job: Option<Value>,
    version: u64,
    /// Future events of the watch with their times, because a watch lags behind.
    shows: Vec<(i64, Option<Value>)>,
    /// Violations that were seen.
    faults: Vec<String>,
}

impl Server {
    fn answer(&mut self, method: &Method, path: &str, body: &[u8]) -> (StatusCode, Value) {
        if path.contains("/events") {
            let event = serde_json::from_slice(body).unwrap_or_default();
            return (StatusCode::CREATED, event);
        }
        let Some(job) = &self.job else {
            return refusal(StatusCode::NOT_FOUND, "NotFound");
        };
        let mut job = job.clone();
        if *method == Method::DELETE {
            job["metadata"]["deletionTimestamp"] = json!(now().to_string());
            return self.keep(job);
        }
        let patch: Value = serde_json::from_slice(body).unwrap();
        if path.ends_with("/status") {
            let new = &patch["status"];
            if outcome(&job["status"]).is_some_and(|old| Some(old) != outcome(new)) {
                self.faults.push(format!("over, and then {new}"));
            }
            job["status"] = new.clone();
        } else {
            let known = &patch["metadata"]["resourceVersion"];
            if *known != job["metadata"]["resourceVersion"] {
                return refusal(StatusCode::CONFLICT, "Conflict");
            }
            job["metadata"]["finalizers"] = patch["metadata"]["finalizers"].clone();
        }
        self.keep(job)
    }

    fn keep(&mut self, mut job: Value) -> (StatusCode, Value) {
        self.version += 1;
        job["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let kept = job["metadata"]["finalizers"].as_array();
        let gone = job["metadata"]["deletionTimestamp"].is_string()
            && kept.is_none_or(std::vec::Vec::is_empty);
        self.job = (!gone).then(|| job.clone());
        let last = self.shows.last().map_or(0, |(at, _)| *at);
        let lag = self.random.below(3000);
        self.shows
            .push((last.max(NOW.get() + lag), self.job.clone()));
        (StatusCode::OK, job)
    }

    /// Answers a call, or fails before or after its execution.
    fn call(
        &mut self,
        method: &Method,
        path: &str,
        body: &[u8],
    ) -> Result<(StatusCode, Value), String> {
        let lost = || "the connection is gone".to_owned();
        if !self.trouble.strikes(&mut self.random) {
            return Ok(self.answer(method, path, body));
        }
        match self.random.below(5) {
            0 => Err(lost()),
            1 => {
                let _ = self.answer(method, path, body);
                Err(lost())
            }
            2 => Ok(refusal(StatusCode::FORBIDDEN, "Forbidden")),
            3 => Ok(refusal(StatusCode::CONFLICT, "Conflict")),
            _ => Ok(refusal(StatusCode::INTERNAL_SERVER_ERROR, "InternalError")),
        }
    }
}

/// Returns the result of an ended job without times, because a write whose answer is lost is repeated.
fn outcome(status: &Value) -> Option<Value> {
    let read: TraceJobStatus = serde_json::from_value(status.clone()).unwrap_or_default();
    let conditions = read.conditions.iter();
    let conditions: Vec<_> = conditions.map(|one| [&one.type_, &one.status]).collect();
    is_over(&read).then(|| json!([status["events"], status["nodes"], conditions]))
}

fn refusal(status: StatusCode, reason: &str) -> (StatusCode, Value) {
    let code = status.as_u16();
    let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": reason, "code": code});
    (status, body)
}

fn client(server: &Arc<Mutex<Server>>) -> Client {
    let server = Arc::clone(server);
    let service = tower::service_fn(move |request: Request<Body>| {
        let server = Arc::clone(&server);
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let answered = server
                .lock()
                .unwrap()
                .call(&head.method, head.uri.path(), &body);
            let (status, body) = answered.map_err(tower::BoxError::from)?;
            let body = Body::from(serde_json::to_vec(&body).unwrap());
            let answer = Response::builder().status(status).body(body);
            Ok::<_, tower::BoxError>(answer.unwrap())
        }
    });
    Client::new(service, "default")
}

/// A node's agent with its one trace.
#[derive(Debug)]
struct Agent {
    node: Arc<str>,
    trouble: Trouble,
    trace: Option<Trace>,
    starts: usize,
    /// Time of the first start request, in ms.
    asked: Option<i64>,
}

#[derive(Debug)]
struct Trace {
    generation: u64,
    deadline: SystemTime,
    produced: u64,
    ended: &'static str,
}

impl Agent {
    /// Executes the next request and reports the status, unless the agent is unreachable.
    fn step(&mut self, fleet: &Arc<Fleet>, uid: &str, most: u64, random: &mut Random) {
        if let Some(trace) = self.trace.as_mut().filter(|trace| trace.ended.is_empty()) {
            trace.produced = most.min(trace.produced + random.next() % 3);
            if trace.produced == most {
                trace.ended = "max_events";
            } else if SystemTime::from(now()) >= trace.deadline {
                trace.ended = "duration";
            }
        }
        if self.trouble.strikes(random) {
            return;
        }
        if let Some(trace) = &self.trace {
            self.tell(fleet, uid, trace);
        }
        let Some(step) = fleet.next_step(&self.node, uid) else {
            return;
        };
        if matches!(step, Step::Start(_)) {
            self.asked.get_or_insert(NOW.get());
        }
        match (&step, &mut self.trace) {
            (Step::Start(wanted), None) => {
                self.starts += 1;
                self.trace = Some(Trace {
                    generation: wanted.generation,
                    deadline: wanted.deadline,
                    produced: 0,
                    ended: "",
                });
            }
            (Step::Stop, Some(trace)) if trace.ended.is_empty() => trace.ended = "stopped",
            _ => {}
        }
        // The answer may be lost.
        if !self.trouble.strikes(random) {
            fleet.done(&self.node, uid, &step);
        }
    }

    fn tell(&self, fleet: &Arc<Fleet>, uid: &str, trace: &Trace) {
        let account = v1::Account {
            produced: trace.produced,
            delivered: trace.produced,
            complete: true,
            ended: trace.ended.to_owned(),
            ..v1::Account::default()
        };
        let mut status = v1::TraceStatus {
            uid: uid.to_owned(),
            generation: trace.generation,
            account: Some(account),
            ..v1::TraceStatus::default()
        };
        status.set_state(match trace.ended {
            "" => v1::State::Running,
            _ => v1::State::Ended,
        });
        fleet.hear(&self.node, status);
    }
}

fn object<K: serde::de::DeserializeOwned>(object: Value) -> K {
    serde_json::from_value(object).unwrap()
}

/// Returns a new leader, in a cluster of these nodes with a pod on each.
fn controller(server: &Arc<Mutex<Server>>, agents: &[Agent]) -> Context {
    let world = World::new(mpsc::unbounded_channel().0);
    for Agent { node, .. } in agents {
        let node = &**node;
        let name = json!({"name": node, "namespace": "shop", "uid": node});
        core::Node::apply(&world, &object(json!({"metadata": {"name": node}})));
        let pod = json!({"metadata": name, "spec": {"nodeName": node, "containers": []}});
        core::Pod::apply(&world, &object(pod));
    }
    let (heard, counters) = (mpsc::unbounded_channel().0, Counters::new());
    let connector = Connector {
        tls: Tls::Folder("/nonexistent".into()),
        name: "agent".to_owned(),
    };
    let fleet = Fleet::new(connector, heard.clone(), now, Arc::clone(&counters));
    agents.iter().for_each(|agent| fleet.play(&agent.node));
    let client = client(server);
    let quota = Quota { each: 1, all: 1 };
    let reporter = Reporter {
        controller: MANAGER.to_owned(),
        instance: None,
    };
    let job = server.lock().unwrap().job.clone();
    let context = Context {
        present: Present::default(),
        client: client.clone(),
        world: Arc::new(world),
        fleet,
        queue: Queue::new(quota),
        wake: heard,
        rules: Rules {
            denied: BTreeSet::new(),
            host: false,
            classes: Class::ALL.into(),
            unchecked: Class::ALL.into(),
        },
        recorder: Recorder::new(client, reporter),
        written: Mutex::default(),
        closing: Mutex::default(),
        clock: now,
        began: now(),
        inherited: Mutex::default(),
        counters,
    };
    if let Some(job) = job {
        context.occupy(&object::<TraceJob>(job));
    }
    context
}

/// A job, from its creation until nothing changes any more.
struct Run {
    server: Arc<Mutex<Server>>,
    agents: Vec<Agent>,
    random: Random,
    /// Number of events at the end of each agent's trace.
    most: u64,
    uid: String,
    /// State that the watch shows.
    watched: Option<Value>,
    /// Time of the next reconciliation.
    again: Option<i64>,
}

impl Run {
    fn new(seed: u64) -> Self {
        NOW.set(0);
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        // Jobs of version 0.1 have a finalizer.
        let finalizers = match random.percent(20) {
            true => json!([OLD_FINALIZER]),
            false => json!([]),
        };
        let job = json!({
            "apiVersion": "tracejob.dev/v1alpha1", "kind": "TraceJob",
            "metadata": {
                "name": "job", "namespace": "shop", "uid": UID, "generation": 1, "finalizers": finalizers,
                "resourceVersion": "1", "creationTimestamp": now().to_string(),
            },
            "spec": {"tracer": {tracers::camel(tracers::of_events().name()): {}}, "activeDeadlineSeconds": DEADLINE},
        });
        let agents = (0..1 + random.below(3)).map(|n| Agent {
            node: format!("node-{n}").into(),
            trouble: Trouble::any(&mut random),
            trace: None,
            starts: 0,
            asked: None,
        });
        let agents = agents.collect();
        let server = Server {
            trouble: Trouble::any(&mut random),
            random: Random(random.next() | 1),
            job: Some(job.clone()),
            version: 1,
            shows: vec![(0, Some(job))],
            faults: Vec::new(),
        };
        Self {
            server: Arc::new(Mutex::new(server)),
            agents,
            most: if random.percent(50) { 40 } else { u64::MAX },
            random,
            uid: fleet::trace_uid(UID),
            watched: None,
            again: None,
        }
    }

    /// Returns the time by which the job must have ended, in ms: its deadline, the grace of late nodes, and the failures.
    fn end(&self) -> i64 {
        let agents = self.agents.iter().map(|agent| agent.trouble.until);
        let trouble = agents.chain([self.server.lock().unwrap().trouble.until]);
        let own = DEADLINE * 1000 + GRACE.as_millis() as i64;
        own.max(trouble.max().unwrap_or_default()) + SLACK * 1000
    }

    /// Advances everything by one step.
    async fn step(&mut self, context: &Context) {
        NOW.set(NOW.get() + STEP_MS);
        let mut woken = false;
        {
            let mut server = self.server.lock().unwrap();
            while server.shows.first().is_some_and(|(at, _)| *at <= NOW.get()) {
                self.watched = server.shows.remove(0).1;
                woken = true;
                if self.watched.is_none() {
                    context.forget(&self.uid);
                }
            }
        }
        for agent in &mut self.agents {
            agent.step(&context.fleet, &self.uid, self.most, &mut self.random);
            woken |= self.random.percent(20);
        }
        let due = self.again.is_some_and(|at| at <= NOW.get());
        let Some(job) = self.watched.clone().filter(|_| woken || due) else {
            return;
        };
        let looked = reconcile_job::<TraceJob>(Arc::new(object(job)), context).await;
        // As `run` does after an error.
        let again = looked.unwrap_or(Some(Duration::from_secs(2)));
        self.again = again.map(|after| NOW.get() + after.as_millis() as i64);
    }

    /// Returns the violations of an ended job.
    fn judge(&self, context: &Context) -> Vec<String> {
        let server = self.server.lock().unwrap();
        let mut faults = server.faults.clone();
        let mut expect = |right: bool, what: &str| {
            if !right {
                faults.push(what.to_owned());
            }
        };
        let job: TraceJob = object(server.job.clone().unwrap());
        let status = job.status.clone().unwrap_or_default();
        expect(is_over(&status), "it is not over");
        expect(job.finalizers().is_empty(), "it has a finalizer still");
        let known = context.fleet.nodes_of(&self.uid);
        expect(known.is_empty(), "agents are asked for something still");
        expect(
            context.queue.place(&self.uid).is_none(),
            "it has its place still",
        );
        let anew = self.agents.iter().any(|agent| agent.starts > 1);
        expect(!anew, "a trace was started twice");
        // Agents that were reachable between their end and the job's have sent their accounts.
        let limit = DEADLINE * 1000;
        let silent = |agent: &Agent| agent.trouble.percent == 100 && agent.trouble.until > limit;
        if !self.agents.iter().any(silent) {
            let traces = self.agents.iter().filter_map(|agent| agent.trace.as_ref());
            let produced: u64 = traces.map(|trace| trace.produced).sum();
            let told = status.events.delivered.unsigned_abs();
            expect(told == produced, &format!("{told} events of {produced}"));
            expect(is_true(&status, condition::COMPLETE), "it is not complete");
            let started = status.start_time.as_ref().map_or(now(), |time| time.0);
            let started = started.duration_since(EPOCH).as_millis() as i64;
            // 15 s, and a step.
            let late = |agent: &Agent| agent.asked.is_none_or(|asked| asked > started + 15_000);
            let is_partial = is_true(&status, condition::PARTIAL);
            let late = self.agents.iter().any(late);
            expect(
                is_partial == late,
                &format!("partial is {is_partial}, and late {late}"),
            );
        }
        faults
    }
}

#[tokio::test]
async fn a_job_ends_in_time_with_its_account_whatever_fails_meanwhile() {
    for seed in 0..400 {
        let mut run = Run::new(seed);
        let mut context = controller(&run.server, &run.agents);
        let end = run.end();
        while NOW.get() < end {
            // The leader changes now and then. The new one knows the state of the API server and the agents only.
            if run.random.percent(1) && run.random.percent(30) {
                context = controller(&run.server, &run.agents);
                // It starts with a list, which does not lag behind.
                let mut server = run.server.lock().unwrap();
                run.watched = server.job.clone();
                server.shows.clear();
                run.again = Some(NOW.get());
            }
            run.step(&context).await;
        }
        let faults = run.judge(&context);
        let server = run.server.lock().unwrap();
        assert!(
            faults.is_empty(),
            "seed {seed}: {faults:#?}\n{:?}\n{:#?}\n{:#}",
            server.trouble,
            run.agents,
            server.job.as_ref().unwrap()["status"]
        );
    }
}

#[tokio::test]
async fn a_job_that_is_deleted_goes_with_its_traces_whatever_fails_meanwhile() {
    for seed in 1000..1400 {
        let mut run = Run::new(seed);
        let context = controller(&run.server, &run.agents);
        let (deleted, end) = (run.random.below(70_000), run.end());
        while NOW.get() < end {
            if (deleted..deleted + STEP_MS).contains(&NOW.get()) {
                let mut server = run.server.lock().unwrap();
                server.answer(&Method::DELETE, "", b"");
            }
            run.step(&context).await;
        }
        let server = run.server.lock().unwrap();
        assert!(server.job.is_none(), "seed {seed}: {:#?}", server.job);
        assert!(context.fleet.nodes_of(&run.uid).is_empty(), "seed {seed}");
        let runs = |agent: &Agent| {
            let trace = agent.trace.as_ref();
            trace.is_some_and(|trace| trace.ended.is_empty())
        };
        assert!(
            !run.agents.iter().any(runs),
            "seed {seed}: {:#?}",
            run.agents
        );
    }
}
