//! The controller's tasks: watches, leader election, reconciliation, certificates and metrics.

use crate::{
    Args,
    agents::Fleet,
    certificates, check,
    counters::Counters,
    lead::{self, Contender},
    plan::Rules,
    present::{Present, Watched},
    queue::{Queue, Quota},
    reconcile::{Context, Error, MANAGER, reconcile},
    view::Job,
    world::{Change, Known, World},
};
use anyhow::{Context as _, Result, anyhow};
use crd::{ClusterTraceJob, TraceJob};
use fleet::{Agents, Connector, Identity, Tls};
use futures::{Stream, StreamExt, stream};
use k8s_openapi::{
    api::core::v1::{Namespace, Node, Pod},
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    runtime::{
        WatchStreamExt,
        controller::{Action, Controller},
        events::{Recorder, Reporter},
        reflector::{self, ObjectRef},
        watcher,
    },
};
use listen::Listener;
use metrics::Served;
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fs,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};

/// Delay in which changes of an object are collected into one reconciliation.
const TOGETHER: Duration = Duration::from_millis(20);
/// Interval at which certificates are checked.
const RENEWAL: Duration = Duration::from_secs(3600);

pub(crate) async fn run(args: Args) -> Result<()> {
    fleet::allow_descriptors();
    // A missing file of the folder is reported before other errors.
    for name in ["ca.crt", "tls.crt", "tls.key"] {
        let Some(folder) = &args.tls else { break };
        let path = folder.join(name);
        fs::metadata(&path).with_context(|| format!("--tls: {}", path.display()))?;
    }
    install_cryptography()?;
    let client = fleet::api_client().await?;
    let mut end = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let counters = Counters::new();
    let measured = serve(args.metrics, Served::Metrics, Arc::clone(&counters));
    let probed = serve(args.health, Served::Health, Arc::clone(&counters));
    let ended = async move {
        tokio::select! {
            _ = end.recv() => Ok(()),
            _ = interrupt.recv() => Ok(()),
            Err(error) = measured => Err(error),
            Err(error) = probed => Err(error),
        }
    };
    lead(&args, client, &counters, ended).await
}

fn install_cryptography() -> Result<()> {
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| anyhow!("another crypto provider is already installed: a bug"))
}

/// Runs the command `check`.
pub(crate) async fn check(pod: &check::Pod) -> Result<()> {
    install_cryptography()?;
    check::check(pod).await
}

/// Serves metrics or health, if configured.
async fn serve(address: Option<SocketAddr>, served: Served, counters: Arc<Counters>) -> Result<()> {
    let Some(address) = address else {
        return Ok(());
    };
    let listener = Listener::bind(address)
        .with_context(|| format!("cannot listen on {address} for {}", served.word()))?;
    match metrics::over_tcp(&listener, served, counters).await {}
}

/// Waits for leadership, and reconciles jobs until leadership is lost or the controller ends. The agents' traces continue meanwhile.
async fn lead(
    args: &Args,
    client: Client,
    counters: &Arc<Counters>,
    ended: impl Future<Output = Result<()>>,
) -> Result<()> {
    let mut ended = std::pin::pin!(ended);
    if args.no_lease {
        return tokio::select! {
            outcome = ended => outcome,
            outcome = work(args, client, counters) => outcome,
        };
    }
    // The leader is a pod of this namespace.
    let identity = std::env::var("POD_NAME").unwrap_or_else(|_| lead::nameless());
    let mut contender = Contender::new(
        client.clone(),
        &args.namespace,
        MANAGER,
        identity,
        lead::TIMING,
    );
    tokio::select! {
        outcome = &mut ended => return outcome,
        // A waiting controller is ready.
        () = contender.acquire(|| counters.ready()) => {}
    }
    tracing::info!("elected as leader");
    let outcome = tokio::select! {
        outcome = ended => outcome,
        outcome = work(args, client, counters) => outcome,
        // A restart discards the state of the previous leadership.
        lost = contender.keep() => Err(lost.into()),
    };
    contender.release().await;
    outcome
}

async fn work(args: &Args, client: Client, counters: &Arc<Counters>) -> Result<()> {
    let mut tasks = JoinSet::new();
    let tls = match &args.tls {
        Some(folder) => Tls::Folder(folder.clone()),
        None => Tls::Issued(issue(args, &client, &mut tasks).await?),
    };
    let (changes, changed) = mpsc::unbounded_channel();
    let (wake, wakes) = mpsc::unbounded_channel();
    let world = Arc::new(World::new(changes));
    let fleet = Fleet::new(
        Connector {
            tls,
            name: args.agent_name.clone(),
        },
        wake.clone(),
        Timestamp::now,
        Arc::clone(counters),
    );
    let mut denied: std::collections::BTreeSet<String> =
        args.denied_namespaces.iter().cloned().collect();
    denied.insert(args.namespace.clone());
    let reporter = Reporter {
        controller: MANAGER.to_owned(),
        instance: std::env::var("POD_NAME").ok(),
    };
    let context = Arc::new(Context {
        client: client.clone(),
        world: Arc::clone(&world),
        fleet: Arc::clone(&fleet),
        queue: Queue::new(Quota {
            each: args.max_jobs_per_namespace,
            all: args.max_jobs,
        }),
        present: Present::default(),
        wake,
        rules: Rules {
            denied,
            host: args.allow_host,
            classes: args.classes.iter().copied().collect(),
            unchecked: args.unchecked_classes.iter().copied().collect(),
        },
        recorder: Recorder::new(client.clone(), reporter),
        written: Mutex::default(),
        closing: Mutex::default(),
        clock: Timestamp::now,
        began: Timestamp::now(),
        inherited: Mutex::default(),
        counters: Arc::clone(counters),
    });
    // Running jobs take their places before any job is reconciled.
    let jobs = occupy::<TraceJob>(&client, &context).await?;
    let cluster_jobs = occupy::<ClusterTraceJob>(&client, &context).await?;
    let mut ready = Vec::new();
    let (mut agents, agents_watch) = fleet::watch_agents(&client, &args.namespace, &args.agents);
    tasks.spawn(agents_watch);
    follow::<Pod>(
        &mut tasks,
        &world,
        Api::all(client.clone()),
        fleet::watching(),
        &mut ready,
    );
    follow::<Node>(
        &mut tasks,
        &world,
        Api::all(client.clone()),
        fleet::watching(),
        &mut ready,
    );
    follow::<Namespace>(
        &mut tasks,
        &world,
        Api::all(client.clone()),
        fleet::watching(),
        &mut ready,
    );
    for known in ready {
        known
            .await
            .context("a watch ended before its first result")?;
    }
    let listed = agents.changed().await;
    listed.context("the watch of agents ended before its first result")?;
    fleet.addresses(&agents.borrow_and_update());
    tracing::info!(
        pods = world
            .read()
            .pods
            .values()
            .map(std::collections::BTreeMap::len)
            .sum::<usize>(),
        nodes = world.read().nodes.len(),
        agents = agents.borrow().len(),
        "works"
    );
    counters.ready();
    counters.leads();
    let (wake, woken) = mpsc::unbounded_channel();
    let (wake_cluster, woken_cluster) = mpsc::unbounded_channel();
    tasks.spawn(spread(
        Arc::clone(&context),
        changed,
        agents,
        wakes,
        wake,
        wake_cluster,
    ));
    let jobs = control::<TraceJob>(&client, &context, jobs, woken);
    let cluster_jobs = control::<ClusterTraceJob>(&client, &context, cluster_jobs, woken_cluster);
    tokio::select! {
        () = jobs => {}
        () = cluster_jobs => {}
        Some(ended) = tasks.join_next() => ended.context("a task of the controller panicked")?,
    }
    Err(anyhow!("a watch has ended"))
}

/// Loads the certificates, and spawns a task that renews them.
async fn issue(
    args: &Args,
    client: &Client,
    tasks: &mut JoinSet<()>,
) -> Result<watch::Receiver<Identity>> {
    let first = certificates::ensure(
        client,
        &args.namespace,
        &args.agent_name,
        args.gateway.as_deref(),
    )
    .await
    .context("issuing certificates")?;
    let (new, newest) = watch::channel(first);
    let (client, args) = (client.clone(), args.clone());
    tasks.spawn(async move {
        loop {
            tokio::time::sleep(RENEWAL).await;
            match certificates::ensure(
                &client,
                &args.namespace,
                &args.agent_name,
                args.gateway.as_deref(),
            )
            .await
            {
                Ok(identity) => {
                    new.send_replace(identity);
                }
                Err(error) => tracing::warn!(
                    error = format!("{error:#}"),
                    "cannot renew certificates: retrying"
                ),
            }
        }
    });
    Ok(newest)
}

/// Reserves places for the running jobs of a kind, and returns their uids.
async fn occupy<J: Job>(client: &Client, context: &Context) -> Result<BTreeSet<String>> {
    let all = Api::<J>::all(client.clone())
        .list(&Default::default())
        .await;
    let all = all.with_context(|| format!("listing {}s", J::kind(&())))?;
    let mut running = BTreeSet::new();
    for job in all {
        if context.occupy(&job) {
            running.insert(job.trace_uid());
        }
    }
    Ok(running)
}

fn follow<K: Known + serde::de::DeserializeOwned + Sync>(
    tasks: &mut JoinSet<()>,
    world: &Arc<World>,
    api: Api<K>,
    config: watcher::Config,
    ready: &mut Vec<oneshot::Receiver<()>>,
) {
    let (known, knows) = oneshot::channel();
    ready.push(knows);
    let world = Arc::clone(world);
    tasks.spawn(async move {
        let events = watcher(api, config).default_backoff();
        world.follow(events, known).await;
    });
}

/// Reconciles jobs of a kind when they change or are woken.
async fn control<J: Job>(
    client: &Client,
    context: &Arc<Context>,
    running: BTreeSet<String>,
    woken: mpsc::UnboundedReceiver<ObjectRef<J>>,
) {
    let trouble = |job: Arc<J>, error: &Error, context: Arc<Context>| {
        context.counters.errors.inc();
        tracing::warn!(job = %kube::ResourceExt::name_any(&*job), %error, "reconciliation failed: retrying");
        Action::requeue(Duration::from_secs(2))
    };
    let (reader, writer) = reflector::store();
    let events = watcher(Api::<J>::all(client.clone()), fleet::watching());
    let mut watched = Watched::new(running);
    let of_events = Arc::clone(context);
    let events = events.default_backoff().inspect(move |event| {
        let Ok(event) = event else { return };
        for uid in of_events.present.see(&mut watched, event) {
            of_events.forget(&uid);
        }
    });
    Controller::for_stream(events.reflect(writer).applied_objects(), reader)
        .with_config(kube::runtime::controller::Config::default().concurrency(32))
        .reconcile_on(from(woken))
        .run(reconcile::<J>, trouble, Arc::clone(context))
        .for_each(|outcome| async move {
            // Errors of reconciliations are logged above. These errors concern watches and deleted objects.
            if let Err(error) = outcome {
                tracing::debug!(%error, "controller");
            }
        })
        .await;
}

fn from<T: Send + 'static>(receiver: mpsc::UnboundedReceiver<T>) -> impl Stream<Item = T> + Send {
    stream::unfold(receiver, |mut receiver| async move {
        let next = receiver.recv().await?;
        Some((next, receiver))
    })
}

/// Maps changes in the cluster to the jobs that they concern.
async fn spread(
    context: Arc<Context>,
    mut changed: mpsc::UnboundedReceiver<Change>,
    mut agents: watch::Receiver<Agents>,
    mut wakes: mpsc::UnboundedReceiver<String>,
    wake: mpsc::UnboundedSender<ObjectRef<TraceJob>>,
    wake_cluster: mpsc::UnboundedSender<ObjectRef<ClusterTraceJob>>,
) {
    loop {
        let mut changes = HashSet::new();
        let mut uids = HashSet::new();
        tokio::select! {
            Some(change) = changed.recv() => { changes.insert(change); }
            Ok(()) = agents.changed() => context.fleet.addresses(&agents.borrow_and_update()),
            Some(uid) = wakes.recv() => { uids.insert(uid); }
            else => return,
        }
        tokio::time::sleep(TOGETHER).await;
        while let Ok(change) = changed.try_recv() {
            changes.insert(change);
        }
        while let Ok(uid) = wakes.try_recv() {
            uids.insert(uid);
        }
        let mut woken = HashMap::new();
        for uid in uids {
            if let Some(place) = context.queue.place(&uid) {
                woken.insert(uid, place);
            }
        }
        let mut places = Vec::new();
        if changes.contains(&Change::Cluster) {
            places = context.queue.places(None);
        } else {
            for change in &changes {
                if let Change::Pods(namespace) = change {
                    places.extend(context.queue.places(Some(namespace)));
                }
            }
        }
        for place in places.into_iter().chain(woken.into_values()) {
            // Fails only at shutdown, when the receiver is gone.
            let _ = match place.namespace.as_str() {
                "" => wake_cluster.send(ObjectRef::new(&place.name)).is_ok(),
                namespace => wake
                    .send(ObjectRef::new(&place.name).within(namespace))
                    .is_ok(),
            };
        }
    }
}
