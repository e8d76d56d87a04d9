//! Passes over the kernel's tasks, for tracers that follow what a thread does: one pass when a trace begins, and one when it ends.
//!
//! Such a tracer has an iterator besides its other points. Its program adds what had begun before the trace, and what has not ended when
//! the trace ends. Programs that run between the two passes do the rest.

use super::Loaded;
use crate::{Error, bpf};
use rustix::time::{ClockId, clock_gettime};
use std::io::{self, Read};
use tracers::{Plan, Source, control::Pass};
use zerocopy::IntoBytes;

/// Whether the iterators of these points make passes: rows of a snapshot are read from theirs instead.
pub(super) fn has_passes(plan: &Plan) -> bool {
    let points = plan.points.iter().flatten();
    !plan.has(Source::Snapshot) && { points }.any(|point| point.at.is_iterator())
}

impl Loaded {
    /// Runs the pass of the beginning, once everything is attached.
    pub(super) fn first_pass(&self) -> Result<(), Error> {
        match self.passes {
            true => self.pass(Pass::FIRST),
            false => Ok(()),
        }
    }

    /// Runs the pass of the end, once nothing but the iterators is attached.
    pub(super) fn last_pass(&self) -> Result<(), Error> {
        match self.passes {
            true => self.pass(Pass::LAST),
            false => Ok(()),
        }
    }

    fn pass(&self, which: u64) -> Result<(), Error> {
        let failed = |source| Error::Read {
            what: "a pass over all tasks",
            source,
        };
        let now = clock_gettime(ClockId::Boottime);
        let pass = Pass {
            which,
            at: now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs(),
        };
        bpf::update(self.map("PASS")?, &[0; 4], pass.as_bytes()).map_err(failed)?;
        for mut reading in self.readings()? {
            let mut bytes = [0; 64];
            // Its program writes nothing: a read runs it for every task.
            while match reading.read(&mut bytes) {
                Ok(read) => read > 0,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => true,
                Err(error) => return Err(failed(error)),
            } {}
        }
        Ok(())
    }
}
