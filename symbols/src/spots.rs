//! Finds out where addresses lie: in which file, or in what else.

use super::{
    OBSERVE_AGAIN, OBSERVE_AGAIN_MAX, RELEASE_AFTER, Symbolizer, UserAddr, files::FileId,
    processes::What, wire::Key,
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// Where an address lies.
#[derive(Clone, Debug)]
pub(super) enum Spot {
    File { id: FileId, offset: u64 },
    Jit { key: Key, address: u64 },
    Lost { path: Arc<str>, offset: u64 },
    BuildId { id: [u8; 20], offset: u64 },
    Anonymous,
    Nowhere,
}

impl Symbolizer {
    /// Where each address of the stacks lies, one after the other. Observes the process if need be.
    pub(super) fn spots(&mut self, pid: u32, stacks: &[&[UserAddr]]) -> Vec<Spot> {
        let has_ips = || {
            stacks
                .iter()
                .any(|stack| stack.iter().any(|addr| matches!(addr, UserAddr::Ip(_))))
        };
        if self.processes.get(pid).is_none() && has_ips() {
            // If it fails, the frames say so.
            let _ = self.observe(pid);
        }
        let spots = self.spots_as_known(pid, stacks);
        let Some((since, look_again)) = self.may_look_again(pid) else {
            return spots;
        };
        if !spots.iter().any(|spot| self.is_lost(spot, since)) {
            return spots;
        }
        let seen = self.observe(pid).is_ok();
        // What was found before may have other numbers now.
        let spots = self.spots_as_known(pid, stacks);
        let helped = seen && !spots.iter().any(|spot| self.is_lost(spot, Duration::ZERO));
        self.note_look(pid, look_again, helped);
        spots
    }

    /// Returns the time since the last observation of a process, and its pause, if this pause is over.
    pub(super) fn may_look_again(&self, pid: u32) -> Option<(Duration, Duration)> {
        let process = self.processes.get(pid)?;
        let since = process.observed.elapsed();
        (since >= process.look_again).then_some((since, process.look_again))
    }

    /// Sets the next pause of a process that was observed again.
    pub(super) fn note_look(&mut self, pid: u32, pause: Duration, helped: bool) {
        if let Some(process) = self.processes.get_mut(pid) {
            process.observed = Instant::now();
            process.look_again = match helped {
                true => OBSERVE_AGAIN,
                false => OBSERVE_AGAIN_MAX.min(2 * pause),
            };
        }
    }

    /// Whether another look at the process may tell more.
    fn is_lost(&self, spot: &Spot, since: Duration) -> bool {
        match spot {
            Spot::Nowhere => true,
            Spot::File { id, .. } => !self.is_within_reach(*id),
            // It may have a perf map by now, or one that was let go.
            Spot::Anonymous => since >= RELEASE_AFTER,
            Spot::Jit { .. } | Spot::Lost { .. } | Spot::BuildId { .. } => false,
        }
    }

    fn spots_as_known(&mut self, pid: u32, stacks: &[&[UserAddr]]) -> Vec<Spot> {
        let addresses = stacks.iter().flat_map(|stack| stack.iter().enumerate());
        addresses
            .map(|(index, addr)| {
                // A caller is at its call, which ends one byte before where it goes on. What follows may be another function.
                let back = u64::from(index > 0);
                match *addr {
                    UserAddr::Ip(address) => self.spot_of_ip(pid, address.saturating_sub(back)),
                    UserAddr::BuildId { id, offset } => {
                        self.spot_of_build_id(pid, id, offset.saturating_sub(back))
                    }
                }
            })
            .collect()
    }

    fn spot_of_ip(&mut self, pid: u32, address: u64) -> Spot {
        let Some(process) = self.processes.get(pid) else {
            return Spot::Nowhere;
        };
        let Some((what, offset)) = process.at(address) else {
            return Spot::Nowhere;
        };
        match what {
            What::File(id) => Spot::File { id: *id, offset },
            What::Lost(path) => Spot::Lost {
                path: path.clone(),
                offset,
            },
            What::Anonymous => match &process.perf_map {
                Some(map) => Spot::Jit {
                    key: map.key,
                    address,
                },
                None => Spot::Anonymous,
            },
            What::Vdso => match self.vdso() {
                Some(id) => Spot::File { id, offset },
                None => Spot::Lost {
                    path: "[vdso]".into(),
                    offset,
                },
            },
        }
    }

    /// The process's own file comes first: a build id is only what a file says of itself.
    fn spot_of_build_id(&self, pid: u32, id: [u8; 20], offset: u64) -> Spot {
        let own = self.processes.get(pid).and_then(|process| {
            let mut files = process.files.values();
            files
                .find(|file| self.files.get(**file).build_id == Some(id))
                .copied()
        });
        if let Some(id) = own.or_else(|| self.files.by_build_id(&id)) {
            return Spot::File { id, offset };
        }
        let lost = self.processes.get(pid).and_then(|process| {
            let mut lost = process.lost.iter();
            lost.find(|(_, its)| **its == Some(id))
        });
        match lost {
            Some((file, _)) => Spot::Lost {
                path: file.shown().into(),
                offset,
            },
            None => Spot::BuildId { id, offset },
        }
    }
}
