//! Notifications of the agent to its service manager.

use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs,
    os::unix::net::{UnixDatagram, UnixStream},
};
use tests::{agent, folder, until};

#[test]
fn systemd_is_notified_when_clients_are_served_and_when_no_longer() {
    let folder = folder();
    let notify = folder.join("notify");
    let systemd = UnixDatagram::bind(&notify).unwrap();
    systemd.set_read_timeout(Some(tests::deadline())).unwrap();
    let socket = folder.join("run/agent.sock");
    let listen = format!("unix://{}", socket.display());
    let mut command = agent(&["--listen", &listen]);
    let mut child = command.env("NOTIFY_SOCKET", &notify).spawn().unwrap();
    let notified = || {
        let mut text = [0; 64];
        let bytes = systemd.recv(&mut text).unwrap();
        String::from_utf8(text[..bytes].to_vec()).unwrap()
    };
    assert_eq!(notified(), "READY=1\n");
    // After READY=1 it serves at once.
    UnixStream::connect(&socket).unwrap();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(notified(), "STOPPING=1\n");
    let status = until("the agent to end", || child.try_wait().unwrap());
    assert!(status.success());
    fs::remove_dir_all(&folder).unwrap();
}
