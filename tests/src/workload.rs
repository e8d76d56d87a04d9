//! The workload: started behind a gate, let go when tracing has begun, and asked for the truth.

use crate::{Steps, output::Messages, until};
use serde_json::Value;
use std::{
    fs,
    io::Write,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread::JoinHandle,
};

/// A workload that waits at its gate, or runs. Killed if it is dropped.
pub struct Workload {
    child: Child,
    stdin: Option<ChildStdin>,
    messages: Messages,
    reader: Option<JoinHandle<()>>,
}

/// What a workload says that it did.
#[derive(Clone, Debug)]
pub struct Report {
    /// Its process, as it numbers itself.
    pub pid: u64,
    /// CLOCK_BOOTTIME at its beginning and at its end, ns.
    pub boottime_ns: (u64, u64),
    /// The wall clock likewise.
    pub realtime_ns: (u64, u64),
    /// What it noted, in order.
    pub notes: Vec<Value>,
}

/// A program of this package or, in an ordinary build, of the workspace: it lies beside the test's own.
pub fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    own.ancestors().nth(2).unwrap().join(name)
}

/// A new folder, for one test.
pub fn folder() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let n = COUNT.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("tracejob-test-{}-{n}", std::process::id()));
    fs::create_dir_all(&path).unwrap();
    path.canonicalize().unwrap()
}

impl Workload {
    /// Starts one whose first steps are done; it waits at a gate before `steps`.
    pub fn behind_gate_after(
        before: &(impl Steps + ?Sized),
        steps: &(impl Steps + ?Sized),
    ) -> Self {
        let mut command = Command::new(program("workload"));
        let before = before.words();
        if !before.is_empty() {
            command.args(before).arg(",");
        }
        command.args(["gate", ","]).args(steps.words());
        Self::start(&mut command).ready()
    }

    /// Starts one whose steps have a gate among them, in a child for instance, and waits until it is there.
    pub fn child_behind_gate(steps: &(impl Steps + ?Sized)) -> Self {
        Self::start(Command::new(program("workload")).args(steps.words())).ready()
    }

    /// Starts a command that becomes a workload with a gate as its first step, and waits until it is there.
    pub fn of_command_behind_gate(command: &mut Command) -> Self {
        Self::start(command).ready()
    }

    fn ready(self) -> Self {
        self.said("ready");
        self
    }

    fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (messages, reader) = Messages::of(child.stderr.take().unwrap());
        Self {
            stdin: child.stdin.take(),
            child,
            messages,
            reader: Some(reader),
        }
    }

    /// Starts one that waits at a gate.
    pub fn behind_gate(steps: &(impl Steps + ?Sized)) -> Self {
        Self::behind_gate_after("", steps)
    }

    /// Its process, as this one numbers it.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Opens the gate.
    pub fn go(&mut self) {
        self.stdin.as_mut().unwrap().write_all(b"!").unwrap();
    }

    /// Closes its stdin.
    pub fn close(&mut self) {
        self.stdin = None;
    }

    /// The value of the first message `{key: value}` that it says.
    pub fn said(&self, key: &str) -> Value {
        let said = until(key, || self.messages.first(key));
        said.unwrap_or_else(|everything| panic!("it ended before it said {key:?}: {everything}"))
    }

    /// Waits until it says `{"said":"word"}`.
    pub fn wait_for(&self, word: &str) {
        until(word, || {
            self.messages
                .all("said")
                .contains(&word.into())
                .then_some(())
        });
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for its end, while a child of its may still be there and speak.
    pub fn wait_for_exit(&mut self) -> ExitStatus {
        until("the workload to end", || self.child.try_wait().unwrap())
    }

    /// Waits for its end and its children's.
    pub fn wait(&mut self) -> ExitStatus {
        let status = self.wait_for_exit();
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        status
    }

    /// Opens the gate, waits for its end, which must be a good one, and takes its report.
    pub fn finish(&mut self) -> Report {
        self.go();
        self.end()
    }

    /// Closes its stdin, waits for its end, which must be a good one, and takes its report.
    pub fn end(&mut self) -> Report {
        self.close();
        let status = self.wait();
        assert!(status.success(), "{status}: {}", self.messages.everything());
        self.reports().pop().expect("a workload reports")
    }

    /// Its reports and its children's, in the order in which they ended.
    pub fn reports(&self) -> Vec<Report> {
        self.messages
            .all("workload")
            .iter()
            .map(Report::read)
            .collect()
    }

    /// Kills it.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.wait();
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Report {
    pub(crate) fn read(value: &Value) -> Self {
        let number = |value: &Value| value.as_u64().expect("a number");
        let pair = |value: &Value| (number(&value[0]), number(&value[1]));
        Self {
            pid: number(&value["pid"]),
            boottime_ns: pair(&value["boottime_ns"]),
            realtime_ns: pair(&value["realtime_ns"]),
            notes: value["notes"].as_array().unwrap().clone(),
        }
    }

    /// The values of all notes `{key: value}`.
    pub fn all(&self, key: &str) -> Vec<Value> {
        self.notes
            .iter()
            .filter_map(|note| note.get(key))
            .cloned()
            .collect()
    }

    /// The value of the first note `{key: value}`.
    pub fn note(&self, key: &str) -> Value {
        let found = self.all(key).into_iter().next();
        found.unwrap_or_else(|| panic!("no note {key:?} among {:?}", self.notes))
    }

    /// The same, a number.
    pub fn number(&self, key: &str) -> u64 {
        self.note(key).as_u64().unwrap()
    }
}

/// The id of the cgroup that a process is in.
pub fn cgroup_of(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let path = text
        .lines()
        .find_map(|line| line.strip_prefix("0::"))
        .unwrap();
    let root = crate::cgroup::root();
    fs::metadata(root.join(path.trim_start_matches('/')))
        .unwrap_or_else(|error| panic!("{path}: {error}"))
        .ino()
}

/// Writes a script or another small program.
pub fn executable(path: &Path, text: impl AsRef<[u8]>) {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}
