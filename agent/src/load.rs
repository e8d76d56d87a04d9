//! One object: loaded with its globals, its maps filled, its programs attached. Dropping it detaches everything.

use crate::{
    Error, Kernel, Limits, Support,
    bpf::{self, Shared},
    fault::Faults,
    object,
    select::{CHOSEN, Counts, Maps, Members, Selection},
};
use aya::{
    Btf, Ebpf, EbpfLoader, GlobalData, VerifierLogLevel,
    maps::{Map, MapData},
    programs::{Program, ProgramError},
};
pub(crate) use depth::{depth, value_bytes};
pub(crate) use globals::sizes;
use globals::{again, globals};
use refused::{allow_locked_memory, chain, load_error, program_error};
use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};
use tracers::{Erased, Hook, HookKind, Spec, raw_tp};

mod depth;
mod globals;
mod refused;

/// A loaded object.
pub(crate) struct Loaded {
    ebpf: Ebpf,
    /// How many keys of each hash are in the maps by which the kernel side selects.
    chosen: Shared,
    pub(crate) hooks: &'static [Hook],
    tracer: &'static dyn Erased,
    /// Whether every program has its second one: `agent-ebpf/src/again.rs`.
    again: bool,
    /// How many frames of a stack are recorded.
    pub(crate) depth: u32,
    pub(crate) faults: Faults,
}

// The programs of `agent-ebpf/src/select.rs`.
const SELECT_FORK: Hook = raw_tp("sched_process_fork").by("select_fork");
const SELECT_EXEC: Hook = raw_tp("sched_process_exec").by("select_exec");
const SELECT_EXIT: Hook = raw_tp("sched_process_exit").by("select_exit");
const SELECT_POD: Hook = raw_tp("cgroup_mkdir").by("select_pod");
/// How the name of a second program ends.
const AGAIN: &str = "_again";

impl Loaded {
    /// Loads the programs of the first set of hooks that works here; nothing runs yet.
    pub(crate) fn load(
        spec: &Spec,
        selection: &Selection,
        limits: &Limits,
        kernel: &Kernel,
    ) -> Result<Self, Error> {
        let tracer = spec.tracer();
        let hooks = match kernel.support(tracer) {
            Support::Yes { hooks } => hooks,
            Support::No { reason, .. } => {
                return Err(kernel.refusal().unwrap_or(Error::Unsupported {
                    tracer: tracer.name(),
                    reason,
                }));
            }
        };
        let elf = object(tracer.name()).ok_or_else(|| Error::Load {
            tracer: tracer.name(),
            reason: "it has no object: a bug of the build".to_owned(),
        })?;
        allow_locked_memory(kernel);
        let again = again(tracer, kernel);
        let depth = depth();
        let mut globals = globals(spec, selection, limits, kernel, elf, hooks)?;
        // Not every tracer takes stacks.
        globals.push(("DEPTH".to_owned(), depth.to_ne_bytes().to_vec(), false));
        let mut loader = EbpfLoader::new();
        // Asked for only after a refusal: aya loads without a log first.
        loader.verifier_log_level(VerifierLogLevel::DEBUG);
        for (name, value, must_exist) in &globals {
            loader.override_global(name, GlobalData::from(value.as_slice()), *must_exist);
        }
        for (name, entries) in sizes(tracer, selection.shape(), limits, kernel, depth) {
            loader.map_max_entries(name, entries);
        }
        let faults = Faults::of_next_trace();
        let ebpf = (faults.maps())
            .and_then(|()| loader.load(&depth::with_depth(elf, depth)))
            .map_err(|error| load_error(tracer, kernel, &error))?;
        let chosen = ebpf.map("CHOSEN").and_then(map_data);
        let chosen = chosen.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound));
        let chosen = chosen.and_then(|map| Shared::of(map.fd().as_fd(), CHOSEN));
        let mut loaded = Self {
            chosen: chosen.map_err(|source| Error::Read {
                what: "the counts of what is selected",
                source,
            })?,
            ebpf,
            hooks,
            tracer,
            again,
            depth,
            faults,
        };
        loaded.load_selection(selection, kernel)?;
        loaded.load_first_set(kernel)?;
        Ok(loaded)
    }

    /// The programs by which the kernel side selects.
    fn load_selection(&mut self, selection: &Selection, kernel: &Kernel) -> Result<(), Error> {
        if selection.shape().by_process() {
            self.load_program(&SELECT_FORK, None, kernel)?;
            self.load_program(&SELECT_EXIT, None, kernel)?;
        }
        if selection.command().is_some() {
            self.load_program(&SELECT_EXEC, None, kernel)?;
        }
        if selection.shape().pods {
            self.load_program(&SELECT_POD, None, kernel)?;
        }
        Ok(())
    }

    /// The maps by which it selects.
    pub(crate) fn selection_maps(&self) -> Result<Maps<'_>, Error> {
        let members = |name, counts| {
            Ok(Members {
                map: self.map(name)?,
                counts,
            })
        };
        Ok(Maps {
            processes: members("PROCESSES", Some((&self.chosen, Counts::Processes)))?,
            cgroups: members("CGROUPS", Some((&self.chosen, Counts::Cgroups)))?,
            pods: members("PODS", None)?,
            pod_levels: self.map("POD_LEVELS")?,
            depths: self.map("CGROUP_DEPTHS")?,
        })
    }

    /// From here on one event of so many is kept.
    pub(crate) fn sample(&self, of: u64) -> Result<(), Error> {
        bpf::update(self.map("SAMPLE")?, &[0; 4], &of.to_ne_bytes()).map_err(|source| Error::Read {
            what: "how many events are kept",
            source,
        })
    }

    /// A set that looked possible may still be refused by this kernel's verifier: then the next one is tried.
    fn load_first_set(&mut self, kernel: &Kernel) -> Result<(), Error> {
        self.first_of(self.hooks, |loaded, set| loaded.load_set(set, kernel))
    }

    /// Does something with a set of hooks, or with the first after it with which it can be done.
    fn first_of(
        &mut self,
        first: &'static [Hook],
        mut with: impl FnMut(&mut Self, &'static [Hook]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let sets = self.tracer.hooks().iter().copied();
        let mut refused = None;
        for set in sets.skip_while(|set| !std::ptr::eq(*set, first)) {
            match with(self, set) {
                Ok(()) => {
                    self.hooks = set;
                    return Ok(());
                }
                Err(error) => {
                    tracing::warn!(tracer = self.tracer.name(), %error, "a set of hooks was refused");
                    refused.get_or_insert(error);
                }
            }
        }
        Err(refused.unwrap_or(Error::Unsupported {
            tracer: self.tracer.name(),
            reason: "no set of hooks is left to try".to_owned(),
        }))
    }

    /// A function takes 38 programs at most (BPF_MAX_TRAMP_LINKS, include/linux/bpf.h), of everybody's: then the next set is loaded.
    fn attach_first_set(&mut self, kernel: &Kernel) -> Result<(), Error> {
        let loaded = self.hooks;
        self.first_of(loaded, |this, set| {
            if !std::ptr::eq(set, loaded) {
                this.load_set(set, kernel)?;
            }
            let attached = set.iter().try_for_each(|hook| this.attach_program(hook));
            if attached.is_err() {
                this.unload_set(set);
            }
            attached
        })
    }

    fn unload_set(&mut self, set: &[Hook]) {
        let names: Vec<String> = set.iter().flat_map(|hook| self.programs_of(hook)).collect();
        for name in names {
            if let Some(program) = self.ebpf.program_mut(&name) {
                unload(program);
            }
        }
    }

    fn load_set(&mut self, set: &[Hook], kernel: &Kernel) -> Result<(), Error> {
        let types = match set.iter().any(Hook::is_of_a_function) {
            true => Some(Btf::from_sys_fs().map_err(|error| Error::Btf(chain(&error)))?),
            false => None,
        };
        set.iter()
            .try_for_each(|hook| self.load_program(hook, types.as_ref(), kernel))
    }

    /// Attaches everything; from here on events are produced.
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
            // Those that were made since they were looked for.
            selection.look_for_pods(&self.selection_maps()?)?;
        }
        if command.is_some() {
            // Before the tracer's own program at this hook, which is to see the command's first exec.
            self.attach_program(&SELECT_EXEC)?;
        }
        selection.write_descendants(&self.selection_maps()?)?;
        self.attach_first_set(kernel)?;
        self.faults.attach()?;
        if selection.shape().by_process() {
            // After the tracer's own program at this hook, which is to find the process selected still.
            self.attach_program(&SELECT_EXIT)?;
            selection.forget_the_dead(&self.selection_maps()?)?;
        }
        Ok(())
    }

    fn load_program(
        &mut self,
        hook: &Hook,
        types: Option<&Btf>,
        kernel: &Kernel,
    ) -> Result<(), Error> {
        let tracer = self.tracer;
        let no_types = || Error::Btf("it was not read".to_owned());
        for name in self.programs_of(hook) {
            (self.faults.load()).map_err(|error| program_error(tracer, kernel, hook, &error))?;
            let loaded = match self.program(&name)? {
                Program::RawTracePoint(program) => program.load(),
                Program::FEntry(program) => program.load(hook.target, types.ok_or_else(no_types)?),
                Program::FExit(program) => program.load(hook.target, types.ok_or_else(no_types)?),
                Program::KProbe(program) => program.load(),
                other => Err(ProgramError::UnexpectedProgramType).inspect_err(|_| {
                    tracing::error!(?other, "a program's section and its hook differ in kind");
                }),
            };
            loaded.map_err(|error| program_error(tracer, kernel, hook, &error))?;
        }
        Ok(())
    }

    fn attach_program(&mut self, hook: &Hook) -> Result<(), Error> {
        for name in self.programs_of(hook) {
            let attached = match self.program(&name)? {
                Program::RawTracePoint(program) => program.attach(hook.target).map(|_| ()),
                Program::FEntry(program) => program.attach().map(|_| ()),
                Program::FExit(program) => program.attach().map(|_| ()),
                Program::KProbe(program) => program.attach(hook.target, 0).map(|_| ()),
                _ => Err(ProgramError::UnexpectedProgramType),
            };
            attached.map_err(|error| {
                let hook = format!("{} {}", hook.kind.word(), hook.target);
                let what = format!("{hook} cannot be attached");
                Error::exhausted(&what, &error).unwrap_or_else(|| Error::Attach {
                    hook,
                    reason: chain(&error),
                })
            })?;
        }
        Ok(())
    }

    /// The names of a hook's programs, in the order in which to attach them for the second one to run first.
    fn programs_of(&self, hook: &Hook) -> Vec<String> {
        let (first, again) = (hook.program.to_owned(), format!("{}{AGAIN}", hook.program));
        match hook.kind {
            _ if !self.again => vec![first],
            // Programs of a tracepoint run in the order in which they came: func_add, kernel/tracepoint.c.
            HookKind::RawTp => vec![again, first],
            // Those of a function in the opposite one: bpf_trampoline_add_prog, kernel/bpf/trampoline.c.
            _ => vec![first, again],
        }
    }

    fn program(&mut self, name: &str) -> Result<&mut Program, Error> {
        let tracer = self.tracer.name();
        self.ebpf.program_mut(name).ok_or_else(|| Error::Load {
            tracer,
            reason: format!("its object has no program {name}: a bug"),
        })
    }

    /// A map's descriptor.
    pub(crate) fn map(&self, name: &str) -> Result<BorrowedFd<'_>, Error> {
        self.ebpf
            .map(name)
            .and_then(map_data)
            .map(|data| data.fd().as_fd())
            .ok_or_else(|| Error::Load {
                tracer: self.tracer.name(),
                reason: format!("its object has no map {name}: a bug"),
            })
    }

    /// Takes a map out; its descriptor then lives as long as the taker wants.
    pub(crate) fn take_map(&mut self, name: &str) -> Result<Map, Error> {
        self.ebpf.take_map(name).ok_or_else(|| Error::Load {
            tracer: self.tracer.name(),
            reason: format!("its object has no map {name}: a bug"),
        })
    }

    fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let programs = self.ebpf.programs();
        programs.filter_map(|(_, program)| Some(program.fd().ok()?.as_fd()))
    }

    /// Descriptors of all loaded programs but the second ones, which keep their counts readable when they are detached.
    pub(crate) fn first_programs(&self) -> Result<Vec<OwnedFd>, Error> {
        let programs = self.ebpf.programs();
        programs
            .filter(|(name, _)| !name.ends_with(AGAIN))
            .filter_map(|(_, program)| program.fd().ok())
            .map(|fd| fd.as_fd().try_clone_to_owned())
            .collect::<Result<_, _>>()
            .map_err(|source| Error::Read {
                what: "the programs' descriptors, to copy them,",
                source,
            })
    }

    /// Bytes of all maps and programs, as the kernel counts them.
    pub(crate) fn kernel_bytes(&self) -> u64 {
        let maps = self
            .ebpf
            .maps()
            .filter_map(|(_, map)| Some(map_data(map)?.fd().as_fd()));
        maps.chain(self.descriptors()).map(locked_bytes).sum()
    }

    /// Detaches every program and waits until none runs any more. The maps stay.
    pub(crate) fn detach(&mut self) {
        for (_, program) in self.ebpf.programs_mut() {
            unload(program);
        }
        bpf::wait_for_running_programs();
    }
}

/// Drops its links and itself; one that was never loaded has neither.
fn unload(program: &mut Program) {
    let _ = match program {
        Program::RawTracePoint(program) => program.unload(),
        Program::FEntry(program) => program.unload(),
        Program::FExit(program) => program.unload(),
        Program::KProbe(program) => program.unload(),
        _ => Ok(()),
    };
}

fn map_data(map: &Map) -> Option<&MapData> {
    match map {
        Map::Array(data)
        | Map::HashMap(data)
        | Map::LruHashMap(data)
        | Map::PerCpuArray(data)
        | Map::PerCpuHashMap(data)
        | Map::RingBuf(data) => Some(data),
        _ => None,
    }
}

/// `memlock` of /proc/self/fdinfo: what the kernel charges for a map or a program.
pub(crate) fn locked_bytes(fd: BorrowedFd<'_>) -> u64 {
    use std::os::fd::AsRawFd;
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()))
        .unwrap_or_default();
    info.lines()
        .find_map(|line| line.strip_prefix("memlock:")?.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracers::ALL;

    fn load_with(tracer: &'static dyn Erased, name: &str, value: &[u8]) -> String {
        let mut loader = EbpfLoader::new();
        loader.override_global(name, GlobalData::from(value), true);
        chain(&loader.load(object(tracer.name()).unwrap()).err().unwrap())
    }

    #[test]
    fn an_option_without_its_kernel_global_is_refused() {
        let message = load_with(ALL[0], "NO_SUCH_OPTION", &[0]);
        assert!(
            message.contains("symbol with name NO_SUCH_OPTION not found"),
            "{message}"
        );
    }

    #[test]
    fn an_option_of_another_width_than_its_kernel_global_is_refused() {
        let message = load_with(ALL[0], "SELECT", &[0, 0]);
        let wanted = "symbol SELECT has size `4`, but provided data is of size `2`";
        assert!(message.contains(wanted), "{message}");
    }

    #[test]
    fn every_option_has_its_kernel_global_with_its_width() {
        use ::object::{Object, ObjectSymbol};
        for tracer in ALL {
            let elf = object(tracer.name()).unwrap();
            let file = ::object::File::parse(elf).unwrap();
            for option in tracer.options() {
                let symbol = file.symbols().find(|s| s.name() == Ok(option.global));
                let symbol = symbol.unwrap_or_else(|| {
                    panic!(
                        "{}: symbol with name {} not found",
                        tracer.name(),
                        option.global
                    )
                });
                assert_eq!(
                    symbol.size(),
                    option.kind.form().bytes() as u64,
                    "{}: {}",
                    tracer.name(),
                    option.global
                );
            }
        }
    }

    #[test]
    fn every_hook_has_its_program() {
        use ::object::{Object, ObjectSymbol};
        for tracer in ALL {
            let elf = object(tracer.name()).unwrap();
            let file = ::object::File::parse(elf).unwrap();
            let selectors = [&[SELECT_FORK, SELECT_EXEC, SELECT_EXIT, SELECT_POD][..]];
            let sets = tracer.hooks().iter().copied().chain(selectors);
            for hook in sets.flatten() {
                assert!(
                    file.symbols().any(|s| s.name() == Ok(hook.program)),
                    "{}: {}",
                    tracer.name(),
                    hook.program
                );
                let again = format!("{}{AGAIN}", hook.program);
                assert!(
                    file.symbols().any(|s| s.name() == Ok(&again)),
                    "{}: {again}",
                    tracer.name(),
                );
            }
        }
    }

    #[test]
    fn no_program_may_write_user_memory_or_override_or_signal() {
        // Helper numbers of include/uapi/linux/bpf.h: probe_write_user, override_return, send_signal, send_signal_thread.
        const FORBIDDEN: [u32; 4] = [36, 58, 109, 117];
        use ::object::{Object, ObjectSection, SectionKind};
        for tracer in ALL {
            let elf = object(tracer.name()).unwrap();
            let file = ::object::File::parse(elf).unwrap();
            for section in file.sections().filter(|s| s.kind() == SectionKind::Text) {
                for insn in section.data().unwrap().as_chunks::<8>().0 {
                    // BPF_JMP | BPF_CALL with src_reg 0 calls a helper.
                    if insn[0] == 0x85 && insn[1] >> 4 == 0 {
                        let helper = u32::from_le_bytes(insn[4..8].try_into().unwrap());
                        assert!(
                            !FORBIDDEN.contains(&helper),
                            "{} calls helper {helper}",
                            tracer.name()
                        );
                    }
                }
            }
        }
    }
}
