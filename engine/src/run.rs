//! A running trace: one reader thread that owns all resources, and a bounded queue to the consumer of the rows.

use crate::limits::{EVENTS_NAMING, LAST_NAMING, NAMING, QUEUE};
use crate::{
    Account, Cost, Ended, Error, Kernel, Limits, Request, bpf,
    clock::Clock,
    cost::CostMeter,
    fault::Faults,
    governor::{Governor, Verdict},
    labels,
    launch::Launched,
    load::Loaded,
    memory::memory,
    read::Reader,
    select::{Selection, process::has_the_kernels_numbers},
    source::LastTable,
    stage::Stages,
};
use handle::Command;
pub use handle::Handle;
use rest::{Rest, TICK};
use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll},
    fd::{AsFd, OwnedFd},
    time::{ClockId, clock_gettime},
};
use std::{
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, channel, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};
use tables::Tables;
use tracers::{Batch, Column, Dataset, Left, control::Process};

mod handle;
mod rest;
mod tables;

/// The shortest wait of the reader.
const SHORTEST: Duration = Duration::from_millis(1);
/// Time that a trace continues after the end of its last process: the sockets of that process take another round trip to close.
const AFTER_TARGETS: Duration = Duration::from_millis(50);

/// A running tracer. Dropping it ends it and detaches everything.
pub struct Trace {
    datasets: Vec<Dataset>,
    missing: Vec<(usize, Error)>,
    clock: Clock,
    updates: Option<Receiver<Result<Update, Error>>>,
    /// For each dataset, notifies the reader that the consumer has released the newest table.
    release: Vec<SyncSender<()>>,
    /// Dataset of the table that the last call of [`Trace::next`] returned.
    lent: Option<usize>,
    handle: Handle,
    reader: Option<JoinHandle<()>>,
    faults: Faults,
}

/// An update of a running trace.
#[derive(Clone, Debug)]
pub enum Update {
    /// Events of the batch's dataset, each once.
    Rows(Batch),
    /// The whole table of a dataset until now. It replaces the previous one.
    Table(Batch),
    /// The account until now.
    Progress(Account),
    /// The account at the end; the last update.
    Done(Account),
}

impl Trace {
    /// Loads and attaches the programs, selects the targets and starts the reader; a command is started last.
    ///
    /// # Errors
    /// If the request is not possible on this machine; nothing remains in the kernel.
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
        if plan.copies_stacks() && !has_the_kernels_numbers(&kernel.proc) {
            tracing::warn!(
                "user stacks are taken by frame pointers: processes are not found by their PIDs in the host's PID namespace"
            );
            plan.copy_no_stacks();
        }
        if filters.len() > plan.datasets.len() {
            return Err(Error::Bug("a filter of an unknown dataset"));
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
        let (tables, release) = Tables::of(&reader);
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
            release,
            lent: None,
            handle: Handle { commands, wake },
            reader: Some(reader),
            faults,
        })
    }

    /// Returns the datasets, with the labels of their rows.
    pub fn datasets(&self) -> &[Dataset] {
        &self.datasets
    }

    /// Returns the columns of the first dataset.
    pub fn columns(&self) -> &[Column] {
        self.datasets.first().map_or(&[], |first| &first.columns)
    }

    /// Returns the targets that were missing at the start, as indices in the request, with the reasons. Empty unless the request allows
    /// missing targets. They are not traced until they are added.
    pub fn missing(&self) -> &[(usize, Error)] {
        &self.missing
    }

    /// Returns the clock that converts the times in rows.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Returns a handle that controls the trace from any thread.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Returns the next update; `None` after `timeout`, and always after [`Update::Done`].
    ///
    /// # Errors
    /// If reading failed: the trace has ended.
    pub fn next(&mut self, timeout: Duration) -> Result<Option<Update>, Error> {
        if let Some(release) = self
            .lent
            .take()
            .and_then(|dataset| self.release.get(dataset))
        {
            // The consumer is done with the table. A reader that has ended needs no notification.
            let _ = release.try_send(());
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
        // A reader that waits for room in the queue or for the release of its table receives an error.
        self.updates = None;
        self.release.clear();
        if let Some(reader) = self.reader.take() {
            // The message of a panic was printed, and its unwinding has detached the programs.
            let _ = reader.join();
        }
    }
}

/// State of the reader thread.
struct Worker {
    reader: Reader,
    /// Stages of each dataset.
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
    /// A process that was selected at the last check.
    alive: [u8; 4],
    /// Bytes of the maps and programs, which do not change. Each request for them would open a file of /proc for every map.
    kernel_bytes: u64,
    /// Delivered events of the first dataset in the last account. Limits apply to these.
    delivered: u64,
    tables: Tables,
    sender: SyncSender<Result<Update, Error>>,
}

/// The consumer of updates has gone.
struct Gone;

impl Worker {
    fn run(mut self) {
        let sender = self.sender.clone();
        if let Err(error) = self.read_to_the_end() {
            // The consumer may have gone.
            let _ = sender.send(Err(error));
        }
    }

    fn read_to_the_end(&mut self) -> Result<(), Error> {
        // A snapshot has rows from the start.
        let mut next_interval = match self.tables.any(LastTable::Attached) {
            true => self.started,
            false => self.started + self.limits.interval,
        };
        // Reason and time of the end, once they are known.
        let mut ending: Option<(Ended, Instant)> = None;
        let ended = loop {
            let ending_at = ending.as_ref().map(|(_, at)| *at);
            self.wait(self.due(ending_at, next_interval), ending.is_some());
            let Ok(found) = self.drain(EVENTS_NAMING)? else {
                return Ok(());
            };
            self.cost.tick(&self.reader.loaded)?;
            let now = Instant::now();
            let just_woken = self.rest.polled(now, found, &self.reader.loaded);
            self.handle_commands();
            // A program that has just started has not mapped its libraries yet: it is observed a little later.
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
                if self.send_interval(ending.is_some())?.is_err() {
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
        ];
        let stages = self.stages.iter().filter_map(Stages::due);
        let others = others.into_iter().flatten().chain(stages);
        others.fold(self.rest.next(interval), Instant::min)
    }

    /// Waits for a record, a command, the end of the started program, a removed cgroup, or until `due`.
    fn wait(&self, due: Instant, ending: bool) {
        // The descriptor of an ended program stays readable: the wait would return at once, again and again.
        let command = self.command.as_ref().filter(|_| !ending);
        let command = command.map(Launched::pidfd);
        let fds = [
            Some(self.wake.as_fd()),
            command,
            self.reader.ring_fd(),
            self.reader.copies_fd(),
            self.selection.removals(),
        ];
        let mut fds: Vec<PollFd<'_>> = { fds.into_iter().flatten() }
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        let timeout = due.saturating_duration_since(Instant::now());
        let timeout = timeout.max(SHORTEST);
        let timeout = Timespec {
            tv_sec: timeout.as_secs() as i64,
            tv_nsec: i64::from(timeout.subsec_nanos()),
        };
        // A signal is as good as a wake-up.
        let _ = poll(&mut fds, Some(&timeout));
        // Before the cgroups are checked: a later removal is another notification.
        self.selection.clear_removals();
    }

    /// Sends the records in the ring, and returns whether there were any. Events are sent once, so names that are missing after `naming`
    /// stay missing.
    fn drain(&mut self, naming: Duration) -> Result<Result<bool, Gone>, Error> {
        let Self {
            reader,
            stages,
            sender,
            selection,
            ..
        } = self;
        let mut gone = false;
        let deadline = Instant::now() + naming;
        // No event waits for it: the ring of copies is their own.
        let unwinding = Instant::now() + naming.max(NAMING);
        reader
            .take_copies(|loaded, dataset, rows| stages[dataset].unwind(rows, loaded, unwinding))?;
        let Some(dataset) = reader.ring_dataset() else {
            return Ok(Ok(reader.drain(0, |_, _, _| Ok(()))?));
        };
        let stages = &mut stages[dataset];
        let rows = stages.batch_rows(&reader.loaded);
        let found = reader.drain(rows, |loaded, sieve, batch| {
            let (rows, depths) = stages.resolve(batch, loaded, deadline)?;
            let mut rows = sieve.late_events(labels::label(selection, rows), &depths);
            if rows.rows() == 0 {
                return Ok(());
            }
            rows.dataset = dataset;
            gone |= sender.send(Ok(Update::Rows(rows))).is_err();
            Ok(())
        })?;
        Ok(if gone { Err(Gone) } else { Ok(found) })
    }

    fn send_interval(&mut self, ending: bool) -> Result<Result<(), Gone>, Error> {
        if self.send_tables(ending)?.is_err() {
            return Ok(Err(Gone));
        }
        let account = self.account()?;
        self.govern(&account)?;
        Ok(self
            .sender
            .send(Ok(Update::Progress(account)))
            .map_err(|_| Gone))
    }

    /// Returns why and when the trace ends, if it does.
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

    /// Returns whether any process is still selected.
    fn any_process(&mut self) -> Result<bool, Error> {
        let map = self.reader.loaded.map("PROCESSES")?;
        let failed = |source| Error::Read {
            what: "the map of selected processes",
            source,
        };
        // In most cases the process of the last check is still there. To find the first key of a map, the kernel walks its buckets.
        if bpf::lookup(map, &self.alive, &mut [0; size_of::<Process>()]).map_err(failed)? {
            return Ok(true);
        }
        bpf::next_key(map, None, &mut self.alive).map_err(failed)
    }

    /// Handles the commands since the last call.
    fn handle_commands(&mut self) {
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
                    // The caller may have gone.
                    let _ = done.send(outcomes);
                }
            }
        }
        if woken {
            // Resets the eventfd. A command that arrived since then has written to it again, or the next call finds it.
            let _ = rustix::io::read(&*self.wake, &mut [0; 8]);
        }
    }

    /// Adjusts sampling to the budget.
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
        self.add_unwound(&mut account);
        account.elapsed = self.started.elapsed();
        account.cost = Cost {
            bpf: Some(self.cost.read(&self.reader.loaded)?),
            reader: thread_time(),
            kernel_bytes: self.kernel_bytes,
        };
        Ok(account)
    }

    /// Adds the numbers of stacks that were unwound here.
    fn add_unwound(&self, account: &mut Account) {
        for counts in self.stages.iter().map(Stages::unwound) {
            account.stacks_not_unwound += counts.incomplete;
            account.stacks_truncated += counts.truncated;
        }
    }

    /// Detaches the programs, reads the remaining rows and sends the final account.
    fn finish(&mut self, ended: Ended) -> Result<(), Error> {
        self.reader.loaded.finish_following(&self.selection);
        // Before the programs are detached: their cost is a share of the time that they are attached.
        let before = self.account()?;
        let mut last = self.last_attached(is_gone(&ended))?;
        if let Some(command) = self
            .command
            .as_ref()
            .filter(|_| !matches!(ended, Ended::Command(_)))
        {
            command.terminate();
        }
        // Detaching waits for the kernel, program by program. This time does not belong to the trace.
        let elapsed = self.started.elapsed();
        self.reader.loaded.detach()?;
        if self.drain(LAST_NAMING)?.is_err() {
            return Ok(());
        }
        last.extend(self.last_detached()?);
        if self.send_last(last)?.is_err() {
            return Ok(());
        }
        let mut account = Account {
            elapsed,
            cost: Cost {
                reader: thread_time(),
                ..before.cost
            },
            ended: Some(ended),
            ..self.reader.last_account()?
        };
        self.add_unwound(&mut account);
        if !account.balanced() {
            tracing::error!(?account, "the account does not balance: a bug");
        }
        // Nobody there to be told is fine.
        let _ = self.sender.send(Ok(Update::Done(account)));
        Ok(())
    }
}

/// Returns whether the trace ended because its targets have.
fn is_gone(ended: &Ended) -> bool {
    match ended {
        Ended::Command(_) | Ended::TargetGone => true,
        Ended::Duration | Ended::MaxEvents | Ended::Stopped | Ended::Budget(_) => false,
    }
}

/// Returns the CPU time of this thread.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        time.tv_nsec.unsigned_abs() as u32,
    )
}
