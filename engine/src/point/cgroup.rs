//! `cgroup_skb`, `cgroup/connect4` and similar points: packets and calls of the sockets of a cgroup. The program returns a verdict, so there is
//! no second one: a skipped verdict cannot be recovered.

use super::{ALLOWS, Kind, Second, tried};
use crate::{
    Kernel,
    bpf::{self, LinkTo, Refused, Sort},
    btf::Btf,
};
use aya_obj::generated::{bpf_attach_type, bpf_prog_type};
use std::{
    fs::File,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};
use tracers::{AddressCall, Direction};

pub(super) struct Cgroup<'a> {
    directory: &'a str,
    program: bpf_prog_type,
    attach: bpf_attach_type,
    what: &'static str,
}

/// Packets of a cgroup's sockets.
pub(super) fn packets(directory: &str, direction: Direction) -> Cgroup<'_> {
    use bpf_attach_type::{BPF_CGROUP_INET_EGRESS, BPF_CGROUP_INET_INGRESS};
    Cgroup {
        directory,
        program: bpf_prog_type::BPF_PROG_TYPE_CGROUP_SKB,
        attach: match direction {
            Direction::Ingress => BPF_CGROUP_INET_INGRESS,
            Direction::Egress => BPF_CGROUP_INET_EGRESS,
        },
        what: "packets of a cgroup",
    }
}

/// Calls of a cgroup's sockets that take an address.
pub(super) fn address(directory: &str, call: AddressCall) -> Cgroup<'_> {
    use bpf_attach_type::{
        BPF_CGROUP_INET4_BIND, BPF_CGROUP_INET4_CONNECT, BPF_CGROUP_INET6_BIND,
        BPF_CGROUP_INET6_CONNECT, BPF_CGROUP_UDP4_SENDMSG, BPF_CGROUP_UDP6_SENDMSG,
    };
    Cgroup {
        directory,
        program: bpf_prog_type::BPF_PROG_TYPE_CGROUP_SOCK_ADDR,
        attach: match call {
            AddressCall::Bind4 => BPF_CGROUP_INET4_BIND,
            AddressCall::Bind6 => BPF_CGROUP_INET6_BIND,
            AddressCall::Connect4 => BPF_CGROUP_INET4_CONNECT,
            AddressCall::Connect6 => BPF_CGROUP_INET6_CONNECT,
            AddressCall::Sendmsg4 => BPF_CGROUP_UDP4_SENDMSG,
            AddressCall::Sendmsg6 => BPF_CGROUP_UDP6_SENDMSG,
        },
        what: "calls of a cgroup's sockets",
    }
}

impl Kind for Cgroup<'_> {
    fn refuses(&self, kernel: &Kernel) -> Option<String> {
        tried(&ALLOWS, self.sort(&kernel.btf), self.what)
    }

    fn arguments(&self, _: &Kernel) -> Option<Vec<String>> {
        None
    }

    fn sort(&self, _: &Btf) -> Result<Sort, String> {
        Ok(Sort {
            program: self.program,
            attach: Some(self.attach),
            target: 0,
        })
    }

    fn attach(&self, program: BorrowedFd<'_>) -> Result<Vec<OwnedFd>, Refused> {
        let cgroup = File::open(self.directory)
            .map_err(|error| Refused::new("opening the cgroup", error))?;
        let to = LinkTo::Cgroup(cgroup.as_fd());
        bpf::link(program, self.attach, &to).map(|link| vec![link])
    }

    fn second(&self) -> Second {
        Second::None
    }

    fn preempted(&self) -> bool {
        // Packets come in interrupts.
        true
    }
}
