//! A pseudo-terminal with a program in it, and what its screen shows.

use rustix::{
    fs::{Mode, OFlags},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize},
};
use std::{
    fs::File,
    io::{Read, Write},
    os::fd::OwnedFd,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::{Duration, Instant},
};
use tests::{deadline, until};

/// What the terminal gets when the program has ended: a string for no one, which changes nothing on the screen (ECMA-48, 8.3.143).
const END: &[u8] = b"\x1bXend\x1b\\";
/// Lines that the emulator keeps above the screen.
const SCROLLBACK: usize = 10_000;

/// A terminal, and the program that runs in it; killed if it is dropped.
pub(crate) struct Terminal {
    child: Child,
    master: File,
    /// Held so that the terminal outlives the program.
    slave: OwnedFd,
    state: Arc<Mutex<State>>,
    reader: Option<JoinHandle<()>>,
}

struct State {
    emulator: vt100::Parser,
    sent: Vec<u8>,
}

impl Terminal {
    pub(crate) fn start(rows: u16, columns: u16, args: &[String]) -> Self {
        Self::start_with(rows, columns, args, &[])
    }

    /// Starts `tracejob` as the leader of a session with this terminal.
    pub(crate) fn start_with(
        rows: u16,
        columns: u16,
        args: &[String],
        env: &[(&str, &str)],
    ) -> Self {
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let slave = rustix::fs::open(name, flags, Mode::empty()).unwrap();
        tcsetwinsize(&master, size(rows, columns)).unwrap();
        let stdio = || Stdio::from(slave.try_clone().unwrap());
        let tracejob = tests::tracejob_path();
        // setsid makes the terminal the session's, so that Ctrl-C reaches all of it.
        let child = Command::new("setsid")
            .arg("-c")
            .arg(tracejob)
            .args(args)
            .env("TERM", "xterm-256color")
            .env_remove("NO_COLOR")
            // Set by cargo: every traced program would search these folders first.
            .env_remove("LD_LIBRARY_PATH")
            .envs(env.iter().copied())
            .stdin(stdio())
            .stdout(stdio())
            .stderr(stdio())
            .spawn()
            .expect("setsid of util-linux or busybox");
        let emulator = vt100::Parser::new(rows, columns, SCROLLBACK);
        let state = Arc::new(Mutex::new(State {
            emulator,
            sent: Vec::new(),
        }));
        let master = File::from(master);
        let (mut from, into) = (master.try_clone().unwrap(), Arc::clone(&state));
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // An error is the terminal's end.
            while let Ok(n @ 1..) = from.read(&mut bytes) {
                let mut state = into.lock().unwrap();
                state.emulator.process(&bytes[..n]);
                state.sent.extend_from_slice(&bytes[..n]);
            }
        });
        Self {
            child,
            master,
            slave,
            state,
            reader: Some(reader),
        }
    }

    /// What the screen shows now.
    pub(crate) fn screen(&self) -> String {
        self.state.lock().unwrap().emulator.screen().contents()
    }

    /// Everything that was shown, also what has scrolled away.
    pub(crate) fn everything(&self) -> String {
        let mut state = self.state.lock().unwrap();
        let screen = state.emulator.screen_mut();
        screen.set_scrollback(SCROLLBACK);
        let mut all = screen.contents();
        screen.set_scrollback(0);
        all.push_str(&screen.contents());
        all
    }

    /// Every byte that the program sent.
    pub(crate) fn sent(&self) -> String {
        String::from_utf8_lossy(&self.state.lock().unwrap().sent).into_owned()
    }

    pub(crate) fn wait_for(&self, what: &str, holds: impl Fn(&str) -> bool) {
        self.wait_for_value(what, |screen| holds(screen).then_some(()));
    }

    pub(crate) fn wait_for_value<T>(&self, what: &str, value: impl Fn(&str) -> Option<T>) -> T {
        let deadline = Instant::now() + deadline();
        loop {
            let screen = self.screen();
            if let Some(value) = value(&screen) {
                return value;
            }
            assert!(
                Instant::now() < deadline,
                "waited for {what}; the screen is:\n{screen}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn type_in(&mut self, keys: &[u8]) {
        self.master.write_all(keys).unwrap();
    }

    pub(crate) fn resize(&mut self, rows: u16, columns: u16) {
        self.state
            .lock()
            .unwrap()
            .emulator
            .screen_mut()
            .set_size(rows, columns);
        tcsetwinsize(&self.master, size(rows, columns)).unwrap();
    }

    /// Waits for the program's end: its exit status, `None` where a signal ended it.
    pub(crate) fn end(&mut self) -> Option<i32> {
        let deadline = Instant::now() + deadline();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                // What it wrote last is on its way through the terminal, and this comes after it.
                rustix::io::write(&self.slave, END).unwrap();
                until("what it wrote last", || {
                    let sent = &self.state.lock().unwrap().sent;
                    sent.ends_with(END).then_some(())
                });
                return status.code();
            }
            assert!(
                Instant::now() < deadline,
                "it does not end; the screen is:\n{}",
                self.screen()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether the terminal shows what is typed, as it did before.
    pub(crate) fn echoes(&self) -> bool {
        tcgetattr(&self.slave)
            .unwrap()
            .local_modes
            .contains(LocalModes::ECHO | LocalModes::ICANON)
    }

    pub(crate) fn cursor_is_hidden(&self) -> bool {
        self.state.lock().unwrap().emulator.screen().hide_cursor()
    }

    /// Ends whatever the program left in its session.
    fn end_session(&self) {
        let session = self.child.id().to_string();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            // State, parent, group, session follow the name: proc_pid_stat(5).
            let fields: Vec<&str> = stat
                .rsplit_once(')')
                .map_or_else(Vec::new, |(_, rest)| rest.split_whitespace().collect());
            let pid = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok());
            if let (Some(&of), Some(pid)) =
                (fields.get(3), pid.and_then(rustix::process::Pid::from_raw))
                && of == session
            {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.end_session();
        // The reader ends with the last descriptor of the slave; a test that fails does not wait for it.
        drop(self.reader.take());
    }
}

fn size(rows: u16, columns: u16) -> Winsize {
    Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}
