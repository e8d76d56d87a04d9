//! A daemon of a test's own, and clients of it.

use proto::v1::{
    self, Account, Batch, Further, Gap, Schema, StreamEventsResponse, agent_client::AgentClient,
    stream_events_response::Item, values::Values,
};
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus},
    time::{Duration, Instant},
};
use tests::{Workload, deadline, folder, until};
use tokio::sync::mpsc;
use tonic::{
    Status, Streaming,
    transport::{Channel, Endpoint},
};

/// A running `tracejob-agent` with a socket of its own.
pub(crate) struct Daemon {
    child: Child,
    folder: PathBuf,
}

/// Returns the spec of a trace of a workload.
pub(crate) fn spec(tracer: &str, workload: &Workload) -> v1::TraceSpec {
    v1::TraceSpec {
        tracer: tracer.to_owned(),
        targets: vec![process(workload.pid())],
        ..v1::TraceSpec::default()
    }
}

pub(crate) fn process(pid: u32) -> v1::Target {
    v1::Target {
        target: Some(v1::target::Target::Process(pid)),
        ..v1::Target::default()
    }
}

fn command(folder: &Path, args: &[&str]) -> Command {
    let config = folder.join("agent.yaml");
    let listen = format!("unix://{}", folder.join("run/agent.sock").display());
    let own = ["--config", config.to_str().unwrap(), "--listen", &listen];
    tests::agent(&[&own, args].concat())
}

/// Starts a daemon with the log file `log` in its folder.
fn spawn(folder: &Path, args: &[&str]) -> Child {
    let mut log = fs::File::options();
    let log = log.append(true).create(true).open(folder.join("log"));
    command(folder, args).stderr(log.unwrap()).spawn().unwrap()
}

/// Returns a port that was free a moment ago; no other test requests ports by number.
pub(crate) fn free_port() -> u16 {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    free.local_addr().unwrap().port()
}

impl Daemon {
    /// Starts one with this configuration, and waits until it answers.
    pub(crate) async fn start(config: &str) -> Self {
        Self::start_with(config, &[]).await
    }

    /// The same with further arguments.
    pub(crate) async fn start_with(config: &str, args: &[&str]) -> Self {
        let folder = folder();
        fs::File::create(folder.join("agent.yaml"))
            .unwrap()
            // An empty file is none.
            .write_all(if config.is_empty() {
                b"{}"
            } else {
                config.as_bytes()
            })
            .unwrap();
        let child = spawn(&folder, args);
        let mut daemon = Self { child, folder };
        daemon.until_it_listens();
        daemon
    }

    /// One by its configuration alone, its log in a file, after a line of shell.
    pub(crate) fn by_shell(before: &str, config: &str) -> Self {
        Self::after(folder(), &["sh", "-c"], before, config)
    }

    /// One that is in a pid namespace of its own and has another /proc, the host's at `host` in its folder; its log in a file.
    pub(crate) fn in_pid_namespace(config: &str) -> Self {
        let folder = folder();
        let proc = folder.join("host");
        fs::create_dir(&proc).unwrap();
        Self::after(
            folder,
            &["unshare", "-m", "-p", "-f", "sh", "-c"],
            "mount --bind /proc host && mount -t proc proc /proc",
            &format!("proc: {}\n{config}", proc.display()),
        )
    }

    /// One whose cgroup namespace begins at this cgroup, of which the hierarchy that is mounted is all that it sees: as on a node that is
    /// a container.
    pub(crate) fn in_cgroup_namespace(root: &tests::Cgroup, config: &str) -> Self {
        let mounted = root.path().parent().unwrap().display();
        let enter = format!(
            "echo $$ > {}/cgroup.procs && exec \"$@\"",
            root.path().display()
        );
        Self::after(
            folder(),
            &["sh", "-c", &enter, "sh", "unshare", "-C", "-m", "sh", "-c"],
            &format!("umount -a -t cgroup,cgroup2; mount -t cgroup2 none {mounted}"),
            config,
        )
    }

    /// One in a pid namespace of its own, as on a node that is a container, beside what these lines of shell start there.
    pub(crate) fn in_pid_namespace_with(lines: &str) -> Self {
        Self::after(
            folder(),
            &["unshare", "-m", "-p", "-f", "sh", "-c"],
            &format!("mount -t proc proc /proc; {lines}"),
            "",
        )
    }

    fn after(folder: PathBuf, shell: &[&str], before: &str, config: &str) -> Self {
        let file = folder.join("agent.yaml");
        let listen = format!("listen: unix://{}", folder.join("run/agent.sock").display());
        fs::write(&file, format!("{listen}\n{config}")).unwrap();
        let agent = tests::agent(&["--config", file.to_str().unwrap()]);
        let child = Command::new(shell[0])
            .args(&shell[1..])
            .arg(format!("{before}; exec 2>log; exec \"$0\" \"$@\""))
            .arg(agent.get_program())
            .args(agent.get_args())
            .current_dir(&folder)
            .spawn()
            .unwrap();
        let mut daemon = Self { child, folder };
        daemon.until_it_listens();
        daemon
    }

    /// Kills the first process of its pid namespace, which is the agent.
    pub(crate) fn kill_inside(&mut self) {
        let pid = self.pid();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        for child in children.split_whitespace() {
            let child = rustix::process::Pid::from_raw(child.parse().unwrap()).unwrap();
            rustix::process::kill_process(child, rustix::process::Signal::KILL).unwrap();
        }
        self.child.wait().unwrap();
    }

    /// How often it logged this.
    pub(crate) fn logged(&self, what: &str) -> usize {
        let log = fs::read_to_string(self.folder.join("log")).unwrap();
        log.lines().filter(|line| line.contains(what)).count()
    }

    /// One that listens on a port of loopback as well.
    pub(crate) async fn over_tcp(config: &str) -> (Self, u16) {
        Self::over_tcp_with(config, &[]).await
    }

    /// The same with further arguments.
    pub(crate) async fn over_tcp_with(config: &str, args: &[&str]) -> (Self, u16) {
        Self::over_tcp_at("127.0.0.1", config, args).await
    }

    /// The same at another address.
    pub(crate) async fn over_tcp_at(address: &str, config: &str, args: &[&str]) -> (Self, u16) {
        let port = free_port();
        let listen = format!("https://{address}:{port}");
        let args = [&["--listen", &listen], args].concat();
        let daemon = Self::start_with(config, &args).await;
        // The unix socket was there first.
        until("the agent to listen on its port", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).ok()
        });
        (daemon, port)
    }

    /// Returns the messages of a daemon that does not start with this configuration and this listener.
    pub(crate) fn refused(config: &str, listen: &str) -> String {
        let folder = folder();
        let file = folder.join("agent.yaml");
        fs::write(&file, config).unwrap();
        let args = ["--config", file.to_str().unwrap(), "--listen", listen];
        let output = tests::agent(&args)
            .stderr(std::process::Stdio::piped())
            .output()
            .unwrap();
        fs::remove_dir_all(&folder).unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// Where all that is its own is.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// What it was started with.
    pub(crate) fn config_file(&self) -> PathBuf {
        self.folder.join("agent.yaml")
    }

    /// Asks it to read that again.
    pub(crate) fn hang_up(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    }

    /// Kills it in the middle of whatever it does.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again where it was.
    pub(crate) fn start_again(&mut self) {
        self.child = spawn(&self.folder, &[]);
        self.until_it_listens();
    }

    /// Starts another daemon on the same socket; returns its messages, and whether it succeeded.
    pub(crate) fn start_another(&self) -> (bool, String) {
        let output = command(&self.folder, &[]).output().unwrap();
        let messages = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), messages)
    }

    fn until_it_listens(&mut self) {
        let socket = self.socket();
        until("the agent to listen", || {
            assert_eq!(self.child.try_wait().unwrap(), None, "it ended at once");
            std::os::unix::net::UnixStream::connect(&socket).ok()
        });
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join("run/agent.sock")
    }

    pub(crate) async fn client(&self) -> AgentClient<Channel> {
        AgentClient::new(self.channel().await)
    }

    /// A connection over its socket.
    pub(crate) async fn channel(&self) -> Channel {
        let endpoint = format!("unix:{}", self.socket().display());
        Endpoint::new(endpoint).unwrap().connect().await.unwrap()
    }

    /// Starts a trace in one call; the client keeps the stream open.
    pub(crate) async fn trace(&self, spec: v1::TraceSpec) -> Result<Events, Status> {
        let (sender, receiver) = mpsc::channel(1);
        sender.send(super::call(spec)).await.unwrap();
        let mut events = self.trace_by(receiver).await?;
        events.requests = Some(sender);
        Ok(events)
    }

    /// A trace in one call, by these messages.
    pub(crate) async fn trace_by(
        &self,
        messages: mpsc::Receiver<v1::TraceRequest>,
    ) -> Result<Events, Status> {
        let messages = tokio_stream::wrappers::ReceiverStream::new(messages);
        let stream = self.client().await.trace(messages).await?;
        Events::of(stream.into_inner()).await
    }

    pub(crate) async fn events(&self, request: v1::StreamEventsRequest) -> Result<Events, Status> {
        let stream = self.client().await.stream_events(request).await?;
        Events::of(stream.into_inner()).await
    }

    /// All traces as they are.
    pub(crate) async fn traces(&self) -> Vec<v1::TraceStatus> {
        let mut client = self.client().await;
        let watch = client.watch_traces(v1::WatchTracesRequest::default()).await;
        let first = watch.unwrap().into_inner().message().await.unwrap();
        first.unwrap().traces
    }

    pub(crate) async fn until(&self, what: &str, mut found: impl AsyncFnMut(&Self) -> bool) {
        let end = Instant::now() + deadline();
        while !found(self).await {
            assert!(Instant::now() < end, "waited for {what} in vain");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn until_over(&self, uid: &str) {
        let over = async |daemon: &Self| {
            let traces = daemon.traces().await;
            let trace = traces.iter().find(|trace| trace.uid == uid);
            trace.unwrap().state() == v1::State::Ended
        };
        self.until("the trace to end", over).await;
    }

    /// Kernel programs that it holds.
    pub(crate) fn programs(&self) -> usize {
        let folder = format!("/proc/{}/fdinfo", self.child.id());
        let files = fs::read_dir(Path::new(&folder)).unwrap();
        files
            .filter_map(|file| fs::read_to_string(file.unwrap().path()).ok())
            .filter(|text| text.contains("prog_id:"))
            .count()
    }

    /// Does something while it does not run: rings fill up.
    pub(crate) async fn while_it_stands_still(&self, action: impl FnOnce()) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let signal = |signal| rustix::process::kill_process(pid, signal).unwrap();
        signal(rustix::process::Signal::STOP);
        let stat = format!("/proc/{}/stat", self.child.id());
        until("the agent to stand still", || {
            let text = fs::read_to_string(&stat).unwrap();
            let (_, rest) = text.rsplit_once(") ").unwrap();
            rest.starts_with('T').then_some(())
        });
        action();
        signal(rustix::process::Signal::CONT);
    }

    /// Asks it to end.
    pub(crate) fn terminate(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    /// Waits for its end, while its clients go on.
    pub(crate) async fn wait(&mut self) -> ExitStatus {
        let end = Instant::now() + deadline();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "waited for the agent to end in vain");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(self.folder.join("log"));
            println!("the agent's log:\n{}", log.unwrap_or_default());
            // Where the child is unshare(1), the agent is its child, and would outlive it.
            let pid = self.child.id();
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
            for child in children.unwrap_or_default().split_whitespace() {
                let child = child.parse().ok().and_then(rustix::process::Pid::from_raw);
                if let Some(child) = child {
                    let _ = rustix::process::kill_process(child, rustix::process::Signal::KILL);
                }
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        // What cannot be removed is in /tmp.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// What came of a trace.
pub(crate) struct Events {
    stream: Streaming<StreamEventsResponse>,
    /// Open as long as the client is there.
    requests: Option<mpsc::Sender<v1::TraceRequest>>,
    schema: Option<Schema>,
    pub(crate) first_sequence: Option<u64>,
    pub(crate) batches: Vec<Batch>,
    pub(crate) further: Vec<Further>,
    pub(crate) gaps: Vec<Gap>,
    account: Option<Account>,
}

impl Events {
    /// With its first message, the schema: then the trace is attached.
    async fn of(mut stream: Streaming<StreamEventsResponse>) -> Result<Self, Status> {
        let first = stream.message().await?.unwrap();
        let Some(Item::Schema(schema)) = first.item else {
            panic!("a stream begins with its schema: {first:?}");
        };
        Ok(Self {
            stream,
            requests: None,
            schema: Some(schema),
            first_sequence: None,
            batches: Vec::new(),
            further: Vec::new(),
            gaps: Vec::new(),
            account: None,
        })
    }

    /// The next message.
    pub(crate) async fn next(&mut self) -> Option<Item> {
        let message = self.stream.message().await.unwrap();
        message.expect("the stream to go on").item
    }

    /// Reads all that follows.
    pub(crate) async fn read_all(&mut self) -> Result<(), Status> {
        let mut expected = None;
        loop {
            let message = tokio::time::timeout(3 * deadline(), self.stream.message());
            let Some(message) = message.await.expect("the stream to go on or to end")? else {
                return Ok(());
            };
            assert!(self.account.is_none(), "nothing follows the account");
            if message.sequence > 0 {
                self.first_sequence.get_or_insert(message.sequence);
                if let Some(expected) = expected {
                    assert_eq!(message.sequence, expected, "none is left out in silence");
                }
                expected = Some(message.sequence + 1);
            }
            match message.item.unwrap() {
                Item::Batch(batch) => self.batches.push(batch),
                Item::Gap(gap) => {
                    if let Some(expected) = expected {
                        assert_eq!(gap.first_sequence, expected);
                    }
                    expected = Some(gap.last_sequence + 1);
                    self.gaps.push(gap);
                }
                Item::Account(account) => self.account = Some(account),
                Item::Lost(_) => {}
                Item::Schema(_) => panic!("a second schema"),
                Item::Nodes(_) => panic!("an agent is one node's"),
                Item::Further(further) => self.further.push(further),
            }
        }
    }

    pub(crate) fn schema(&self) -> &Schema {
        self.schema.as_ref().unwrap()
    }

    /// Returns the account, which must balance.
    pub(crate) fn account(&self) -> &Account {
        let account = self
            .account
            .as_ref()
            .expect("a stream ends with its account");
        let lost: u64 = account.lost.iter().map(|stage| stage.events).sum();
        assert_eq!(
            account.produced,
            account.delivered + account.filtered + account.beyond_limit + account.sampled + lost
        );
        account
    }

    fn column<'a>(&self, batch: &'a Batch, name: &str) -> &'a Values {
        let columns = &self.schema().columns;
        let at = columns.iter().position(|column| column.name == name);
        batch.columns[at.unwrap()].values.as_ref().unwrap()
    }

    /// What the last table of the first further dataset counts.
    pub(crate) fn counted_further(&self) -> u64 {
        let last = self.further.last().expect("its last table");
        assert_eq!(last.dataset, 0);
        let table = last.batch.as_ref().unwrap();
        let mut columns = self.schema().further[0].columns.iter();
        let count = columns.position(|column| column.role() == v1::Role::Count);
        match table.columns[count.unwrap()].values.as_ref() {
            Some(Values::Unsigned(counts)) => counts.values.iter().sum(),
            other => panic!("{other:?}"),
        }
    }

    /// A column of bytes.
    pub(crate) fn texts<'a>(&self, batch: &'a Batch, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let Values::Bytes(bytes) = self.column(batch, name) else {
            panic!("{name} has no bytes");
        };
        let mut start = 0;
        bytes
            .ends
            .iter()
            .map(move |&end| &bytes.data[std::mem::replace(&mut start, end as usize)..end as usize])
    }

    /// Asks the trace of this call to end.
    pub(crate) async fn stop(&self) {
        let stop = v1::TraceRequest {
            request: Some(v1::trace_request::Request::Stop(v1::Stop {})),
        };
        self.requests.as_ref().unwrap().send(stop).await.unwrap();
    }

    pub(crate) fn find_row(&self, batch: &Batch, name: &str, wanted: &[u8]) -> Option<usize> {
        self.texts(batch, name).position(|text| text == wanted)
    }

    pub(crate) fn row_where(&self, batch: &Batch, name: &str, wanted: &[u8]) -> usize {
        self.find_row(batch, name, wanted).unwrap()
    }

    pub(crate) fn number(&self, batch: &Batch, name: &str, row: usize) -> u64 {
        match self.column(batch, name) {
            Values::Unsigned(of) => of.values[row],
            other => panic!("{name} is {other:?}"),
        }
    }

    pub(crate) fn signed(&self, batch: &Batch, name: &str, row: usize) -> i64 {
        match self.column(batch, name) {
            Values::Signed(of) => of.values[row],
            other => panic!("{name} is {other:?}"),
        }
    }
}
