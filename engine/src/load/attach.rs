//! A loaded object's programs at their points: attached in the order that selection needs, and detached together.

use super::{Loaded, NOTICE_EXEC, user_files::UserProbes};
use crate::{
    Error, Kernel, Untraced,
    bpf::{self, Refused},
    point,
    select::{
        Selection,
        programs::{SELECT_EXEC, SELECT_EXIT, SELECT_FORK, SELECT_POD},
    },
};
use rows::text::error_chain;
use std::{collections::HashSet, ffi::CStr, fs::File, io, os::fd::AsFd, time::Instant};
use tracers::{At, Point};

impl Loaded {
    /// A function has at most 38 programs of all users (BPF_MAX_TRAMP_LINKS, include/linux/bpf.h); beyond that, the next set is loaded.
    fn attach_first_set(&mut self, kernel: &Kernel) -> Result<(), Error> {
        self.first_set(|this, set| {
            let programs = set.iter().flat_map(|point| this.programs_of(point));
            let loaded = { programs }.all(|(name, _)| this.programs.contains_key(&name));
            if !loaded {
                this.load_set(set, kernel)?;
            }
            set.iter().try_for_each(|point| this.attach_program(point))
        })
    }

    /// Attaches all programs; events are produced from now on.
    pub(crate) fn attach(
        &mut self,
        selection: &mut Selection,
        command: Option<u32>,
        kernel: &Kernel,
    ) -> Result<(), Error> {
        selection.write(&self.selection_maps()?, command)?;
        if selection.shape().by_process() {
            self.attach_program(&SELECT_FORK)?;
        }
        if selection.shape().pods {
            self.attach_program(&SELECT_POD)?;
            // Pods that were created after the search.
            selection.look_for_pods(&self.selection_maps()?)?;
        }
        if command.is_some() {
            // Before the tracer's own program at this hook, which must see the command's first exec.
            self.attach_program(&SELECT_EXEC)?;
        }
        selection.write_descendants(&self.selection_maps()?)?;
        self.attach_first_set(kernel)?;
        self.faults.attach()?;
        if let Some(mut user) = self.user.take() {
            // First, so that processes that start while files are attached to are not missed.
            self.attach_program(&NOTICE_EXEC)?;
            user.begin(self, self.tracer, selection)?;
            self.user = Some(user);
        }
        if selection.shape().by_process() {
            // After the tracer's own program at this hook, for which the process must still be selected.
            self.attach_program(&SELECT_EXIT)?;
            selection.forget_the_dead(&self.selection_maps()?)?;
        }
        self.code = None;
        self.first_pass()
    }

    /// Attaches to new files of user space.
    pub(crate) fn follow(&mut self, selection: &Selection) {
        if let Some(mut user) = self.user.take() {
            user.follow(self, selection);
            self.user = Some(user);
        }
    }

    /// Checks the processes whose files are still to be attached to, before the trace ends.
    pub(crate) fn finish_following(&mut self, selection: &Selection) {
        if let Some(mut user) = self.user.take() {
            user.finish(self, selection);
            self.user = Some(user);
        }
    }

    /// Returns when processes must be checked for files to attach to, even without a wake-up.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.user.as_ref().map(UserProbes::due)
    }

    /// Returns the parts of the selection that are not traced.
    pub(crate) fn untraced(&self) -> Untraced {
        { self.user.as_ref() }.map_or_else(Untraced::default, |user| user.untraced().clone())
    }

    /// Handles a change of the selection.
    pub(crate) fn selection_changed(&mut self) {
        if let Some(user) = &mut self.user {
            user.list_again();
        }
    }

    fn attach_program(&mut self, point: &Point) -> Result<(), Error> {
        for (name, _) in self.programs_of(point) {
            let program = self.programs.get_mut(&name).ok_or_else(|| Error::Load {
                tracer: self.tracer,
                reason: format!("its program {name} was not loaded: a bug"),
            })?;
            let links = point::kind(&point.at).attach(program.program.as_fd());
            program.links = links.map_err(|error| attach_error(point, &error))?;
        }
        Ok(())
    }

    /// Starts a pass of this iterator program: reading the file runs the program for each object.
    ///
    /// # Errors
    /// If the program is not attached, or the kernel refuses.
    fn iterate(&self, program: &str) -> Result<File, Error> {
        let link = self.programs.get(program).and_then(|one| one.links.first());
        link.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))
            .and_then(|link| bpf::create_iterator(link.as_fd()))
            .map(File::from)
            .map_err(|source| Error::Read {
                what: "an iterator",
                source,
            })
    }

    /// Attaches a program of user functions at offsets in a file, until it is detached: `point::uprobe_multi`.
    pub(crate) fn attach_to_file(
        &mut self,
        point: &Point,
        path: &CStr,
        offsets: &[u64],
        cookies: &[u64],
    ) -> Result<(), Error> {
        let At::UserFunction { side, .. } = point.at else {
            return Err(Error::Bug("only user functions are attached to files"));
        };
        let Some(program) = self.programs.get_mut(point.program) else {
            return Err(Error::Bug("a program was attached that was not loaded"));
        };
        let link = point::attach_to_file(program.program.as_fd(), side, path, offsets, cookies);
        program
            .links
            .push(link.map_err(|error| attach_error(point, &error))?);
        Ok(())
    }

    /// Starts a pass of each iterator: the kernel runs its program for each object while the file is read.
    pub(crate) fn readings(&self) -> Result<Vec<File>, Error> {
        let iterators = self.sets.first().into_iter().flatten();
        let iterators = iterators.filter(|point| point.at.is_iterator());
        let readings = iterators.map(|point| self.iterate(point.program));
        let readings = readings.collect::<Result<Vec<_>, _>>()?;
        match readings.is_empty() {
            true => Err(Error::Bug("a snapshot without an iterator")),
            false => Ok(readings),
        }
    }

    /// Returns the skipped runs that are not in the counts of programs.
    pub(crate) fn missed_at_links(&self) -> u64 {
        let links = self.programs.values().flat_map(|program| &program.links);
        let missed = links.filter_map(|link| bpf::missed_at_link(link.as_fd()).ok());
        self.missed + missed.sum::<u64>()
    }

    /// Detaches all programs and waits until none is running. The maps stay.
    ///
    /// # Errors
    /// Where the last pass over the kernel's tasks failed.
    pub(crate) fn detach(&mut self) -> Result<(), Error> {
        self.missed = self.missed_at_links();
        let iterators = self.sets.first().into_iter().flatten();
        let iterators = iterators.filter(|point| point.at.is_iterator());
        let iterators: HashSet<&str> = iterators.map(|point| point.program).collect();
        self.programs
            .retain(|name, _| iterators.contains(name.as_str()));
        bpf::wait_for_running_programs();
        let last = self.last_pass();
        self.programs.clear();
        last
    }
}

fn attach_error(point: &Point, error: &Refused) -> Error {
    let what = format!("{point} cannot be attached");
    Error::exhausted(&what, error).unwrap_or_else(|| Error::Attach {
        hook: point.to_string(),
        reason: error_chain(error),
    })
}
