//! A network namespace of a test's own: nothing in it reaches anything else.

use std::{
    ffi::OsStr,
    fs::File,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

/// One, with nothing in it but loopback. It is removed when it is dropped.
pub struct Net {
    name: String,
}

impl Net {
    /// Makes one.
    ///
    /// # Panics
    /// Where this is not root, or there is no iproute2.
    #[expect(clippy::new_without_default, reason = "it makes something")]
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let net = Self {
            name: format!("tracejob-{}-{n}", std::process::id()),
        };
        ip(&["netns", "add", &net.name]);
        net.ip(&["link", "set", "lo", "up"]);
        net
    }

    /// Makes all addresses of a prefix its own.
    pub fn all_of(&self, prefix: &str) {
        self.ip(&["route", "add", "local", prefix, "dev", "lo"]);
    }

    /// Gives its loopback an address, with its prefix's length.
    pub fn address(&self, address: &str) {
        // An IPv6 address of this network is unique: it can be bound at once.
        let without_detection: &[&str] = if address.contains(':') {
            &["nodad"]
        } else {
            &[]
        };
        self.ip(&[&["address", "add", address, "dev", "lo"], without_detection].concat());
    }

    /// ip(8) in it.
    pub(crate) fn ip(&self, arguments: &[&str]) {
        ip(&[&["-n", &self.name], arguments].concat());
    }

    /// Its name to ip(8).
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A program that runs in it.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        command_in_net(&self.name, program)
    }

    /// Moves the calling thread into it.
    ///
    /// # Panics
    /// As [`enter_net`].
    pub fn enter(&self) {
        enter_net(&self.name);
    }
}

/// A program that runs in the network of this name, and sees else what we see: `ip netns exec` would take the cgroups below /sys away.
pub(crate) fn command_in_net(name: &str, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/run/netns/{name}")).arg(program);
    command
}

/// Moves the calling thread into the network of this name: sockets that it makes from now on, and threads that it starts, are there.
///
/// # Panics
/// If the network does not exist, or this process is not root.
pub fn enter_net(name: &str) {
    let file = File::open(format!("/run/netns/{name}")).unwrap();
    rustix::thread::move_into_link_name_space(
        std::os::fd::AsFd::as_fd(&file),
        Some(rustix::thread::LinkNameSpaceType::Network),
    )
    .unwrap();
}

impl Drop for Net {
    fn drop(&mut self) {
        // One that stays is empty, and named by a process that is gone.
        let _ = Command::new("ip")
            .args(["netns", "delete", &self.name])
            .status();
    }
}

fn ip(arguments: &[&str]) {
    let status = Command::new("ip").args(arguments).status();
    let status = status.unwrap_or_else(|error| panic!("ip (Debian's iproute2): {error}"));
    assert!(status.success(), "ip {}: {status}", arguments.join(" "));
}
