//! The workload: waits at a gate until tracing has begun, and reports what it did.

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

/// Report of a workload about its own actions.
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
        Self::of_file_behind_gate_after(&program("workload"), before, steps)
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
        self.message("ready");
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

    /// Starts a workload that waits at a gate, in a file of its own.
    ///
    /// A trace of functions of a file writes breakpoints into each process of that file. Each takes a page of the process's cgroup, so a
    /// process at its memory limit would be killed for a trace of another test.
    pub fn of_own_file_behind_gate_after(
        before: &(impl Steps + ?Sized),
        steps: &(impl Steps + ?Sized),
    ) -> Self {
        let folder = folder();
        let own = folder.join("workload");
        copy_of_workload(&own);
        let workload = Self::of_file_behind_gate_after(&own, before, steps);
        // It runs, and needs the path no more.
        fs::remove_dir_all(folder).unwrap();
        workload
    }

    fn of_file_behind_gate_after(
        file: &Path,
        before: &(impl Steps + ?Sized),
        steps: &(impl Steps + ?Sized),
    ) -> Self {
        let mut command = Command::new(file);
        let before = before.words();
        if !before.is_empty() {
            command.args(before).arg(",");
        }
        command.args(["gate", ","]).args(steps.words());
        Self::start(&mut command).ready()
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

    /// Waits for the first message `{key: value}` of the workload, and returns its value.
    pub fn message(&self, key: &str) -> Value {
        let first = until(key, || self.messages.first(key));
        first.unwrap_or_else(|all| panic!("the workload ended without the message {key:?}: {all}"))
    }

    /// Waits for the message `{"said":"word"}`.
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

    /// Waits for its end; its children may still run and write messages.
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

/// Writes a script or another program.
///
/// Another process writes it: a child that another thread forks would have a copy of this process's descriptor until its execve(2), and
/// the kernel executes no file that is open for writing (ETXTBSY).
pub fn executable(path: &Path, text: impl AsRef<[u8]>) {
    let mut writer = Command::new("sh")
        .args(["-c", r#"cat > "$0" && chmod 755 "$0""#])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = writer.stdin.take().unwrap();
    input.write_all(text.as_ref()).unwrap();
    drop(input);
    assert!(writer.wait().unwrap().success(), "{}", path.display());
}

/// Copies the program `workload` to a path, for a process with a file of its own.
pub fn copy_of_workload(path: &Path) {
    executable(path, fs::read(program("workload")).unwrap());
}
