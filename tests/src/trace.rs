//! Runs of `tracejob run … -o json`, and their results.

use crate::{
    Account, Steps, Workload, deadline,
    described::{described, events, further},
    output::{Messages, Rows, Taken},
    support::{Requiring, capabilities, skips_runs},
    until,
    workload::{Report, program},
};
use rustix::process::Signal;
use serde_json::Value;
use std::{
    ffi::{OsStr, OsString},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread::JoinHandle,
    time::Instant,
};

/// A run to be started.
pub struct Trace {
    args: Vec<OsString>,
    command: Vec<OsString>,
    keep_rows: bool,
    estimates: bool,
}

/// A run under way; killed if it is dropped.
pub struct Tracing {
    child: Child,
    messages: Messages,
    rows: Rows,
    readers: Vec<JoinHandle<()>>,
    keep_rows: bool,
    estimates: bool,
    of_dataset: bool,
}

/// Reader of the messages of a command.
pub struct Listener(Messages);

impl Listener {
    /// Waits for the message `{"said":"word"}`.
    pub fn wait_for(&self, word: &str) {
        until(word, || {
            self.0.all("said").contains(&word.into()).then_some(())
        });
    }
}

/// A run that ended.
#[derive(Debug)]
pub struct Outcome {
    /// Its rows of the first dataset; none where they were only counted.
    pub rows: Vec<Value>,
    /// Its rows of further datasets.
    pub further: Vec<Value>,
    /// Its account; `None` where it could not start.
    account: Option<Account>,
    /// Its exit status; `None` where a signal killed it.
    pub status: Option<i32>,
    /// Reports of the workload that it started, and of its children.
    pub reports: Vec<Report>,
    /// Everything on stderr.
    pub stderr: String,
}

/// Returns the command of the program under test, with the capabilities under test.
pub fn tracejob(args: &[impl AsRef<OsStr>]) -> Command {
    let tracer = match args {
        [command, tracer, ..] if command.as_ref() == "run" => tracer.as_ref().to_str(),
        _ => None,
    };
    let tracers = tracer.map_or(Requiring::None, Requiring::One);
    let mut command = with_capabilities(tracejob_path(), args, tracers);
    // The environment of the tests may name an agent.
    command.env_remove("TRACEJOB_AGENT");
    command
}

/// Returns the command of the daemon, which cargo puts beside the command line.
pub fn agent(args: &[impl AsRef<OsStr>]) -> Command {
    with_capabilities(
        tracejob_path().with_file_name("tracejob-agent"),
        args,
        Requiring::Every,
    )
}

/// Returns the command of a program with the capabilities under test.
fn with_capabilities(path: PathBuf, args: &[impl AsRef<OsStr>], tracers: Requiring<'_>) -> Command {
    let mut command = match capabilities(tracers) {
        Some(capabilities) => {
            let mut command = Command::new(program("workload"));
            command.arg("with-caps").arg(capabilities).arg(path);
            command
        }
        None => Command::new(path),
    };
    command.args(args);
    command
}

/// Returns the path of `tracejob`: TRACEJOB_BIN, else the program beside the tests.
pub fn tracejob_path() -> PathBuf {
    std::env::var_os("TRACEJOB_BIN").map_or_else(|| program("tracejob"), PathBuf::from)
}

impl Trace {
    /// `tracejob run TRACER`.
    pub fn of(tracer: &str) -> Self {
        Self {
            args: ["run", tracer, "-o", "json"].map(OsString::from).to_vec(),
            command: Vec::new(),
            keep_rows: true,
            estimates: false,
        }
    }

    /// `tracejob run -f FILE`.
    pub fn of_file(file: &std::path::Path) -> Self {
        let mut trace = Self::of("-f");
        trace.args.insert(2, file.into());
        trace
    }

    /// Further arguments.
    #[must_use]
    pub fn with(mut self, args: &[impl AsRef<OsStr>]) -> Self {
        self.args
            .extend(args.iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// `--pid` of a workload.
    #[must_use]
    pub fn of_process(self, workload: &Workload) -> Self {
        self.with(&["--pid", &workload.pid().to_string()])
    }

    /// Rows are only counted: for storms.
    #[must_use]
    pub fn counting(mut self) -> Self {
        self.keep_rows = false;
        self
    }

    /// Counts in rows are estimates, by the tracer's own sampling: an event stands for several.
    #[must_use]
    pub fn estimating(mut self) -> Self {
        self.estimates = true;
        self
    }

    /// `-- workload STEPS`.
    #[must_use]
    pub fn workload(self, steps: &(impl Steps + ?Sized)) -> Self {
        let program = program("workload").into_os_string();
        self.command([program].into_iter().chain(steps.words()).collect())
    }

    /// `-- COMMAND`.
    #[must_use]
    pub fn command(mut self, command: Vec<OsString>) -> Self {
        self.command = command;
        self
    }

    /// Starts it, and returns when everything is attached.
    pub fn start(self) -> Tracing {
        let tracing = self.spawn();
        let started = until("the trace to start", || tracing.started());
        started.unwrap_or_else(|messages| panic!("the trace did not start: {messages}"));
        tracing
    }

    /// Starts it and waits for its end.
    pub fn run(self) -> Outcome {
        self.spawn().finish()
    }

    /// Starts it, and does not wait for the trace to start.
    pub fn spawn(self) -> Tracing {
        let Self {
            mut args,
            command,
            keep_rows,
            estimates,
        } = self;
        if !command.is_empty() {
            args.push("--".into());
            args.extend(command);
        }
        let mut child = tracejob(&args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!(
                    "{}: {error}; `cargo build -p cli` builds it, or name it in TRACEJOB_BIN",
                    tracejob_path().display()
                )
            });
        let of_dataset = args.iter().any(|arg| arg == "--dataset");
        let (rows, row_reader) = Rows::of(child.stdout.take().unwrap(), keep_rows);
        let (messages, reader) = Messages::of(child.stderr.take().unwrap());
        Tracing {
            child,
            messages,
            rows,
            readers: vec![reader, row_reader],
            keep_rows,
            estimates,
            of_dataset,
        }
    }
}

impl Tracing {
    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns whether the trace has begun; `Err` with its messages if it ended before.
    fn started(&self) -> Option<Result<(), String>> {
        let begun = self.messages.first("started")?;
        Some(begun.map(|_| ()))
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = rustix::process::Pid::from_raw(self.pid() as i32).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Returns a reader of the messages of the command, which stays valid after the end of the tracer.
    pub fn listen(&self) -> Listener {
        Listener(self.messages.clone())
    }

    /// Waits until the trace has printed this number of rows.
    pub fn wait_for_rows(&self, count: u64) {
        until("rows", || (self.rows.count() >= count).then_some(()));
    }

    /// Does something while the trace is stopped and its ring fills up.
    pub fn while_stopped<T>(&self, action: impl FnOnce() -> T) -> T {
        self.signal(Signal::STOP);
        let stat = format!("/proc/{}/stat", self.pid());
        until("the trace to be stopped", || {
            let text = std::fs::read_to_string(&stat).unwrap();
            text.rsplit(") ")
                .next()
                .filter(|rest| rest.starts_with('T'))
                .map(|_| ())
        });
        let done = action();
        self.signal(Signal::CONT);
        done
    }

    /// Ends the trace as Ctrl-C does, and waits for its end.
    pub fn stop(self) -> Outcome {
        self.signal(Signal::INT);
        self.finish()
    }

    /// Kills it and waits until it is gone.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Returns the number of events of the account that the rows have.
    fn events(&self, rows: &Taken) -> Option<u64> {
        let tracer = match self.messages.first("started") {
            Some(Ok(started)) => started["tracer"].as_str().unwrap().to_owned(),
            other => panic!("a trace with an account reported no start: {other:?}"),
        };
        if self.estimates {
            return None;
        }
        let first = match self.keep_rows {
            true => events(&tracer, &tracer, &rows.rows.iter().collect::<Vec<_>>()),
            false => {
                assert_eq!(described(&tracer)["source"], "events", "{tracer}");
                Some(rows.count)
            }
        };
        // Only the rows of the requested dataset are printed.
        if self.of_dataset {
            return None;
        }
        further(&tracer).iter().fold(first, |sum, dataset| {
            let of_it = rows
                .further
                .iter()
                .filter(|row| row["dataset"] == **dataset);
            let more = events(&tracer, dataset, &of_it.collect::<Vec<_>>());
            Some(sum? + more?)
        })
    }

    /// Waits for the end of the trace, and checks what holds for every run.
    pub fn finish(mut self) -> Outcome {
        let end = Instant::now() + 3 * deadline();
        let status = until("the trace to end", || {
            assert!(Instant::now() < end);
            self.child.try_wait().unwrap()
        });
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        let rows = self.rows.take();
        let account = self.messages.all("account").last().map(Account::read);
        if let Some(account) = &account {
            // Shown if the test fails: a wrong count may be a reported loss.
            println!("account: {}", account.raw);
            account.must_balance(self.events(&rows));
            let wanted = match account.ended.as_str() {
                // That is an error, and what came until then is no account.
                "agent_gone" => 1,
                _ if account.complete => 0,
                _ => 3,
            };
            assert_eq!(
                status.code(),
                Some(wanted),
                "{}",
                self.messages.everything()
            );
        }
        Outcome {
            rows: rows.rows,
            further: rows.further,
            account,
            status: status.code(),
            reports: self
                .messages
                .all("workload")
                .iter()
                .map(Report::read)
                .collect(),
            stderr: self.messages.everything(),
        }
    }
}

impl Drop for Tracing {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Outcome {
    /// The account of a run that could start.
    pub fn account(&self) -> &Account {
        self.account
            .as_ref()
            .unwrap_or_else(|| panic!("there is no account: {}", self.stderr))
    }

    /// Returns the account of a run that must have lost nothing.
    /// Since Linux 7.0 the kernel may skip runs of programs in any trace: these must be in the account.
    pub fn complete(&self) -> &Account {
        let account = self.account();
        assert_eq!(account.lost.total(), 0, "{}", account.raw);
        assert!(account.missed_runs == 0 || skips_runs(), "{}", account.raw);
        account
    }

    /// Checks that `seen` of `truth` events were seen, for events of several concurrent tasks.
    /// That is all of them, except the runs of programs that a kernel since Linux 7.0 skipped and the account counts.
    pub fn saw(&self, seen: u64, truth: u64) {
        let account = self.complete();
        assert!(seen <= truth, "{seen} of {truth}: {}", account.raw);
        assert!(
            seen + account.missed_runs >= truth,
            "{seen} of {truth}: {}",
            account.raw
        );
    }

    /// Whether it could start.
    pub fn started(&self) -> bool {
        self.account.is_some()
    }

    /// The report of the workload that it started: the only one, or the one that ended last.
    pub fn report(&self) -> &Report {
        self.reports
            .last()
            .unwrap_or_else(|| panic!("the workload reported nothing: {}", self.stderr))
    }

    /// The rows of a further dataset.
    pub fn of_dataset(&self, dataset: &str) -> Vec<&Value> {
        let rows = self.further.iter();
        rows.filter(|row| row["dataset"] == dataset).collect()
    }

    /// The rows where a column has this value.
    pub fn rows_where(&self, column: &str, value: impl Into<Value>) -> Vec<&Value> {
        let value = value.into();
        self.rows
            .iter()
            .filter(|row| row[column] == value)
            .collect()
    }

    /// The only row where a column has this value.
    pub fn row_where(&self, column: &str, value: impl Into<Value>) -> &Value {
        let value = value.into();
        match self.rows_where(column, value.clone()).as_slice() {
            [row] => row,
            rows => {
                panic!(
                    "{} rows with {column} = {value}, of {}",
                    rows.len(),
                    Value::from(self.rows.clone())
                )
            }
        }
    }

    /// The only row.
    pub fn row(&self) -> &Value {
        match self.rows.as_slice() {
            [row] => row,
            rows => panic!("{} rows: {}", rows.len(), Value::from(rows.to_vec())),
        }
    }
}
