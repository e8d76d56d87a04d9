//! A running trace: one reader thread that owns everything, and a bounded queue to whoever wants the rows.

use crate::limits::{EVENTS_NAMING, LAST_NAMING, QUEUE};
use crate::{
    Account, Bounds, Change, Cost, Ended, Error, Kernel, Limits, Request, bpf,
    clock::Clock,
    cost::CostMeter,
    fault::Faults,
    governor::{Governor, Verdict},
    labels,
    launch::Launched,
    load::Loaded,
    memory::memory,
    read::Reader,
    select::Selection,
    stage::Stages,
};
use rest::{Rest, TICK};
use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll},
    fd::{AsFd, OwnedFd},
    time::{ClockId, clock_gettime},
};
use std::{
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};
use tables::Tables;
use tracers::{Batch, Column, Dataset, Left, control::Process};

mod rest;
mod tables;

/// Interval of the check for removed cgroups, for traces that end with them. The kernel side does not report their removal.
const CGROUPS: Duration = Duration::from_millis(100);
/// The shortest that it waits for what is due.
const SHORTEST: Duration = Duration::from_millis(1);
/// How long a trace goes on after its last process has ended: sockets that it closed by ending take a round trip more.
const AFTER_TARGETS: Duration = Duration::from_millis(50);

/// A running tracer. Dropping it ends it and detaches everything.
pub struct Trace {
    datasets: Vec<Dataset>,
    missing: Vec<(usize, Error)>,
    clock: Clock,
    updates: Option<Receiver<Result<Update, Error>>>,
    /// Tell the reader that the last table of a dataset has been taken; there is something to tell where one is with whoever called
    /// [`Trace::next`].
    taken: Vec<SyncSender<()>>,
    /// The dataset of that one.
    lent: Option<usize>,
    handle: Handle,
    reader: Option<JoinHandle<()>>,
    faults: Faults,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Update {
    /// Events, each once; their dataset is the batch's.
    Rows(Batch),
    /// The whole table of a dataset so far, which replaces the one before.
    Table(Batch),
    /// The books so far.
    Progress(Account),
    /// The books at the end; nothing follows.
    Done(Account),
}

/// Steers a trace from any thread.
#[derive(Clone)]
pub struct Handle {
    commands: Sender<Command>,
    /// Wakes the reader for them.
    wake: Arc<OwnedFd>,
}

enum Command {
    Stop,
    Change(Vec<Change>, Bounds, Sender<Vec<Result<(), Error>>>),
}

impl Handle {
    /// Asks the trace to end: the remaining rows and the final account follow.
    pub fn stop(&self) {
        self.send(Command::Stop);
    }

    /// Changes whom it traces within these bounds, and waits until that is done: an outcome for each change, in their order, each on its own,
    /// and one more where something failed that concerns none of them in particular. Where the trace is over there is no outcome.
    pub fn change(&self, changes: Vec<Change>, bounds: Bounds) -> Vec<Result<(), Error>> {
        let (sender, receiver) = channel();
        self.send(Command::Change(changes, bounds, sender));
        receiver.recv().unwrap_or_default()
    }

    fn send(&self, command: Command) {
        // A trace that is over needs no command.
        let _ = self.commands.send(command);
        // An eventfd can only be full, and then it has been written to.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }
}

impl Trace {
    /// Loads, attaches, selects and starts reading; a command is started last.
    ///
    /// # Errors
    /// Where the request cannot be carried out here; nothing is left behind then.
    pub fn start(request: Request, kernel: &Kernel) -> Result<Self, Error> {
        Self::begin(request, kernel).map_err(Error::or_exhausted)
    }

    fn begin(request: Request, kernel: &Kernel) -> Result<Self, Error> {
        if let Some(allowed) = request.limits.budget.memory_bytes {
            let needed = memory(&request, kernel)?;
            if needed > allowed {
                let tracer = request.spec.tracer().name();
                return Err(Error::Memory {
                    tracer,
                    needed,
                    allowed,
                });
            }
        }
        let mut selection = Selection::resolve(&request)?;
        let missing = selection.take_missing();
        let datasets = request.datasets();
        let Request {
            spec,
            limits,
            filters,
            ..
        } = request;
        let mut plan = spec.plan();
        if filters.len() > plan.datasets.len() {
            return Err(Error::Bug("a filter of a dataset that there is not"));
        }
        let left = { filters.into_iter().enumerate() }
            .map(|(at, filter)| filter.map_or_else(Left::default, |one| plan.keep(at, one)))
            .collect();
        let mut loaded = Loaded::load(&plan, &selection, &limits, kernel)?;
        let mut command = selection.command().map(Launched::new).transpose()?;
        let clock = Clock::now(kernel);
        let cost = CostMeter::start(&loaded)?;
        loaded.attach(&mut selection, command.as_ref().map(Launched::pid), kernel)?;
        let faults = loaded.faults;
        let started = Instant::now();
        let stages = plan.datasets.iter().map(|one| {
            let mut stages = Stages::new(&one.columns, one.source.form(), kernel);
            if let Some(argv) = selection.command() {
                stages.know_command(argv);
            }
            stages
        });
        let stages = stages.collect();
        let labels = selection.label_columns();
        let reader = Reader::new(loaded, plan.datasets, limits.max_events, left, labels)?;
        let wake = Arc::new(
            eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(|error| {
                Error::Read {
                    what: "an eventfd",
                    source: error.into(),
                }
            })?,
        );
        if let Some(command) = &mut command {
            command.go()?;
        }
        let (sender, updates) = sync_channel(QUEUE);
        let (commands, to_do) = channel();
        let (tables, taken) = Tables::of(&reader);
        let worker = Worker {
            kernel_bytes: reader.loaded.kernel_bytes() + reader.ring_bytes(),
            reader,
            stages,
            governor: Governor::new(limits.budget, started),
            limits,
            selection,
            command,
            cost,
            rest: Rest::new(started),
            started,
            wake: Arc::clone(&wake),
            to_do,
            stopped: false,
            over_budget: false,
            alive: [0; 4],
            delivered: 0,
            tables,
            sender,
        };
        let reader = std::thread::Builder::new()
            .name("tracejob-reader".to_owned())
            .spawn(move || worker.run())
            .map_err(|source| Error::Read {
                what: "a new thread",
                source,
            })?;
        Ok(Self {
            datasets,
            missing,
            clock,
            updates: Some(updates),
            taken,
            lent: None,
            handle: Handle { commands, wake },
            reader: Some(reader),
            faults,
        })
    }

    /// Its datasets, with the labels of its rows.
    pub fn datasets(&self) -> &[Dataset] {
        &self.datasets
    }

    /// The columns of its first dataset.
    pub fn columns(&self) -> &[Column] {
        self.datasets.first().map_or(&[], |first| &first.columns)
    }

    /// Targets that were not there when it started, by their places in the request, and why: only where the request allows that.
    /// They are not traced until they are added.
    pub fn missing(&self) -> &[(usize, Error)] {
        &self.missing
    }

    /// For the times in its rows.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Something that steers it from any thread.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// The next thing that happened; `None` when `timeout` is over first, and always after [`Update::Done`].
    ///
    /// # Errors
    /// Where reading failed: the trace is over then.
    pub fn next(&mut self, timeout: Duration) -> Result<Option<Update>, Error> {
        if let Some(taken) = self.lent.take().and_then(|dataset| self.taken.get(dataset)) {
            // Whoever has it is done with it. A reader that is over needs no word.
            let _ = taken.try_send(());
        }
        let Some(updates) = &self.updates else {
            return Ok(None);
        };
        self.faults.take();
        match updates.recv_timeout(timeout) {
            Ok(update) => {
                if let Ok(Update::Table(table)) = &update {
                    self.lent = Some(table.dataset);
                }
                if matches!(update, Ok(Update::Done(_)) | Err(_)) {
                    self.updates = None;
                }
                update.map(Some)
            }
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => {
                self.updates = None;
                Err(Error::Bug("the trace's reader ended without its account"))
            }
        }
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        self.handle.stop();
        // A reader that waits for room in the queue, or for its last table to be taken, sees that nobody takes any more.
        self.updates = None;
        self.taken.clear();
        if let Some(reader) = self.reader.take() {
            // A panic in it is a bug that has been printed; there is nothing left to detach then.
            let _ = reader.join();
        }
    }
}

/// The reader thread's own.
struct Worker {
    reader: Reader,
    /// Of each dataset.
    stages: Vec<Stages>,
    limits: Limits,
    selection: Selection,
    governor: Governor,
    command: Option<Launched>,
    cost: CostMeter,
    rest: Rest,
    started: Instant,
    wake: Arc<OwnedFd>,
    to_do: Receiver<Command>,
    stopped: bool,
    over_budget: bool,
    /// A process that was selected when it was last looked.
    alive: [u8; 4],
    /// Of its maps and programs, which stay as large as they are made. To ask for it opens a file of /proc for each.
    kernel_bytes: u64,
    /// Events of the first dataset that had been delivered when the account was last made: bounds are on these.
    delivered: u64,
    tables: Tables,
    sender: SyncSender<Result<Update, Error>>,
}

/// Nobody takes updates any more.
struct Gone;

impl Worker {
    fn run(mut self) {
        let sender = self.sender.clone();
        if let Err(error) = self.read_to_the_end() {
            // Nobody there to be told is fine.
            let _ = sender.send(Err(error));
        }
    }

    fn read_to_the_end(&mut self) -> Result<(), Error> {
        // What a snapshot has to show is there at the beginning.
        let mut next_interval = match self.tables.any_attached() {
            true => self.started,
            false => self.started + self.limits.interval,
        };
        // Why it ends, and when, once that is known.
        let mut ending: Option<(Ended, Instant)> = None;
        let ended = loop {
            let ending_at = ending.as_ref().map(|(_, at)| *at);
            self.wait(self.due(ending_at, next_interval), ending.is_some());
            let Ok(found) = self.drain(EVENTS_NAMING)? else {
                return Ok(());
            };
            self.cost.tick(&self.reader.loaded)?;
            let now = Instant::now();
            let just_woken = self.rest.looked(now, found, &self.reader.loaded);
            self.obey();
            // A program that has just begun has not mapped its libraries yet: it is looked at a little later.
            if !just_woken {
                for stages in &mut self.stages {
                    stages.observe(&self.reader.loaded);
                }
                self.reader.loaded.follow(&self.selection);
            }
            if !self.selection.is_settled() {
                let maps = self.reader.loaded.selection_maps()?;
                self.selection.forget_the_dead(&maps)?;
            }
            if ending.is_none() {
                ending = self.ended(now)?;
            }
            if let Some((ended, _)) = ending.take_if(|(_, at)| now >= *at || self.stopped) {
                break ended;
            }
            if now >= next_interval {
                next_interval = now + self.limits.interval;
                if self.tell_interval(ending.is_some())?.is_err() {
                    return Ok(());
                }
            }
        };
        self.finish(ended)
    }

    /// Returns the earliest time at which the reader has work without a wake-up.
    fn due(&self, ending: Option<Instant>, interval: Instant) -> Instant {
        let now = Instant::now();
        let others = [
            ending,
            self.limits.duration.map(|duration| self.started + duration),
            self.cost.due(),
            self.reader.loaded.due(),
            (!self.selection.is_settled()).then(|| now + TICK),
            self.selection.ends_with_cgroups().then(|| now + CGROUPS),
        ];
        let stages = self.stages.iter().filter_map(Stages::due);
        let others = others.into_iter().flatten().chain(stages);
        others.fold(self.rest.next(interval), Instant::min)
    }

    /// Until a record wakes it, the command's end, a stop, or what is due.
    fn wait(&self, due: Instant, ending: bool) {
        // A command that has ended stays readable: it would be waited for at full speed.
        let command = self.command.as_ref().filter(|_| !ending);
        let command = command.map(Launched::pidfd);
        let mut fds: Vec<PollFd<'_>> = [Some(self.wake.as_fd()), command, self.reader.ring_fd()]
            .into_iter()
            .flatten()
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        let timeout = due.saturating_duration_since(Instant::now());
        let timeout = timeout.max(SHORTEST);
        let timeout = Timespec {
            tv_sec: timeout.as_secs() as i64,
            tv_nsec: i64::from(timeout.subsec_nanos()),
        };
        // Interrupted by a signal is as good as woken.
        let _ = poll(&mut fds, Some(&timeout));
    }

    /// Sends what is in the ring, and says whether anything was. Events are sent once: what has no name after `naming` never has one.
    fn drain(&mut self, naming: Duration) -> Result<Result<bool, Gone>, Error> {
        let Self {
            reader,
            stages,
            sender,
            selection,
            ..
        } = self;
        let mut gone = false;
        let Some(dataset) = reader.ring_dataset() else {
            return Ok(Ok(reader.drain(0, |_, _, _| Ok(()))?));
        };
        let stages = &mut stages[dataset];
        let (rows, deadline) = (stages.batch_rows(&reader.loaded), Instant::now() + naming);
        let found = reader.drain(rows, |loaded, sieve, batch| {
            let rows = stages.resolve(batch, loaded, deadline)?;
            let mut rows = sieve.late_events(labels::label(selection, rows));
            if rows.rows() == 0 {
                return Ok(());
            }
            rows.dataset = dataset;
            gone |= sender.send(Ok(Update::Rows(rows))).is_err();
            Ok(())
        })?;
        Ok(if gone { Err(Gone) } else { Ok(found) })
    }

    fn tell_interval(&mut self, ending: bool) -> Result<Result<(), Gone>, Error> {
        if self.tell_tables(ending)?.is_err() {
            return Ok(Err(Gone));
        }
        let account = self.account()?;
        self.govern(&account)?;
        Ok(self
            .sender
            .send(Ok(Update::Progress(account)))
            .map_err(|_| Gone))
    }

    /// Why the trace ends, and when.
    fn ended(&mut self, now: Instant) -> Result<Option<(Ended, Instant)>, Error> {
        if self.stopped {
            return Ok(Some((Ended::Stopped, now)));
        }
        if self.over_budget {
            return Ok(Some((Ended::Budget(self.governor.of()), now)));
        }
        if let Some(status) = self.command.as_mut().and_then(Launched::status) {
            return Ok(Some((Ended::Command(status), now + AFTER_TARGETS)));
        }
        if self
            .limits
            .duration
            .is_some_and(|duration| now - self.started >= duration)
        {
            return Ok(Some((Ended::Duration, now)));
        }
        if self.reader.at_limit(self.delivered) {
            return Ok(Some((Ended::MaxEvents, now)));
        }
        if self.command.is_none()
            && self.selection.has_processes_at_most()
            && !self.any_process()?
        {
            return Ok(Some((Ended::TargetGone, now + AFTER_TARGETS)));
        }
        Ok(None)
    }

    /// Whether any process is still selected.
    fn any_process(&mut self) -> Result<bool, Error> {
        let map = self.reader.loaded.map("PROCESSES")?;
        let failed = |source| Error::Read {
            what: "the map of selected processes",
            source,
        };
        // The one that was there is mostly there still: the kernel looks for the first of a map through all of it.
        if bpf::lookup(map, &self.alive, &mut [0; size_of::<Process>()]).map_err(failed)? {
            return Ok(true);
        }
        bpf::next_key(map, None, &mut self.alive).map_err(failed)
    }

    /// Does what was asked for since it was last looked at.
    fn obey(&mut self) {
        let mut woken = false;
        while let Ok(command) = self.to_do.try_recv() {
            woken = true;
            match command {
                Command::Stop => self.stopped = true,
                Command::Change(changes, bounds, done) => {
                    let outcomes = match self.reader.loaded.selection_maps() {
                        Ok(maps) => self.selection.change(changes, bounds, &maps),
                        Err(error) => vec![Err(error)],
                    };
                    self.reader.loaded.selection_changed();
                    // Whoever asked may have gone.
                    let _ = done.send(outcomes);
                }
            }
        }
        if woken {
            // Only to wait for it anew: a command that came meanwhile has written to it again, or is found by the next look.
            let _ = rustix::io::read(&*self.wake, &mut [0; 8]);
        }
    }

    /// Keeps to the budget.
    fn govern(&mut self, account: &Account) -> Result<(), Error> {
        let spent = account.cost.reader + account.cost.bpf.map_or(Duration::ZERO, |bpf| bpf.time);
        match self.governor.judge(Instant::now(), spent, self.delivered) {
            Verdict::GoOn => {}
            Verdict::Keep(of) => self.reader.loaded.sample(of)?,
            Verdict::End => self.over_budget = true,
        }
        Ok(())
    }

    fn account(&mut self) -> Result<Account, Error> {
        let (mut account, delivered) = self.reader.account()?;
        self.delivered = delivered;
        account.elapsed = self.started.elapsed();
        account.cost = Cost {
            bpf: Some(self.cost.read(&self.reader.loaded)?),
            reader: thread_time(),
            kernel_bytes: self.kernel_bytes,
        };
        Ok(account)
    }

    /// Detaches, reads what is left, and closes the books.
    fn finish(&mut self, ended: Ended) -> Result<(), Error> {
        self.reader.loaded.finish_following(&self.selection);
        // Before they are detached: what they cost is a part of the time that they are attached.
        let before = self.account()?;
        let mut last = self.last_attached(is_gone(&ended))?;
        if let Some(command) = self
            .command
            .as_ref()
            .filter(|_| !matches!(ended, Ended::Command(_)))
        {
            command.terminate();
        }
        // Detaching waits for the kernel, program by program; that is not the trace's time.
        let elapsed = self.started.elapsed();
        self.reader.loaded.detach();
        if self.drain(LAST_NAMING)?.is_err() {
            return Ok(());
        }
        last.extend(self.last_detached()?);
        if self.send_last(last)?.is_err() {
            return Ok(());
        }
        let account = Account {
            elapsed,
            cost: Cost {
                reader: thread_time(),
                ..before.cost
            },
            ended: Some(ended),
            ..self.reader.account()?.0
        };
        if !account.balanced() {
            tracing::error!(?account, "the books do not balance: a bug");
        }
        // Nobody there to be told is fine.
        let _ = self.sender.send(Ok(Update::Done(account)));
        Ok(())
    }
}

/// Whether what was selected is gone.
fn is_gone(ended: &Ended) -> bool {
    match ended {
        Ended::Command(_) | Ended::TargetGone => true,
        Ended::Duration | Ended::MaxEvents | Ended::Stopped | Ended::Budget(_) => false,
    }
}

/// CPU time of this thread.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        time.tv_nsec.unsigned_abs() as u32,
    )
}
