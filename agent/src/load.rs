//! One object: loaded with its globals, its maps filled, its programs attached. Dropping it detaches everything.

use crate::{
    Capability, Error, Kernel, Limits, Support, bpf,
    kernel::wanted,
    object,
    select::{Selection, descendants},
};
use aya::{
    Btf, Ebpf, EbpfError, EbpfLoader, GlobalData, VerifierLogLevel,
    maps::{Map, MapData, MapError},
    programs::{FEntry, FExit, KProbe, Program, ProgramError, RawTracePoint},
};
use std::os::fd::{AsFd, BorrowedFd};
use tracers::{Erased, Hook, HookKind, Kind, Source, Spec, raw_tp};

/// A loaded object.
pub(crate) struct Loaded {
    ebpf: Ebpf,
    pub(crate) hooks: &'static [Hook],
    tracer: &'static dyn Erased,
}

/// A process is traced: `NOW` of `agent-ebpf/src/select.rs`.
const NOW: u32 = 1;
/// A process is traced from its next exec: `FROM_EXEC` there.
const FROM_EXEC: u32 = 2;

// The programs of `agent-ebpf/src/select.rs`.
const SELECT_FORK: Hook = raw_tp("sched_process_fork").by("select_fork");
const SELECT_EXEC: Hook = raw_tp("sched_process_exec").by("select_exec");
const SELECT_EXIT: Hook = raw_tp("sched_process_exit").by("select_exit");

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
        let mut globals = spec
            .globals()
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect::<Vec<_>>();
        globals.push(("SELECT".to_owned(), selection.by().to_ne_bytes().to_vec()));
        globals.push((
            "CGROUP_DEPTHS".to_owned(),
            selection.depths().to_ne_bytes().to_vec(),
        ));
        globals.push(("SELF".to_owned(), std::process::id().to_ne_bytes().to_vec()));
        for wanted in wanted(elf) {
            // An optional field that is absent keeps the value that says so.
            if let Some(value) = wanted.find(&kernel.btf) {
                globals.push((wanted.symbol, value.to_ne_bytes().to_vec()));
            }
        }
        let ring_bytes = limits.ring_bytes.max(page_bytes()).next_power_of_two();
        let wake_bytes = u64::from(ring_bytes / 4).to_ne_bytes().to_vec();
        let optional = [
            ("WAKE_BYTES", wake_bytes),
            ("PAGE_BYTES", u64::from(page_bytes()).to_ne_bytes().to_vec()),
        ];
        let mut loader = EbpfLoader::new();
        loader.verifier_log_level(VerifierLogLevel::DISABLE);
        for (name, value) in &globals {
            loader.override_global(name, GlobalData::from(value.as_slice()), true);
        }
        for (name, value) in &optional {
            loader.override_global(name, GlobalData::from(value.as_slice()), false);
        }
        // A map that every object has and this tracer does not use is made as small as can be.
        let columns = tracer.columns();
        let has = |wanted: fn(&Kind) -> bool| columns.iter().any(|column| wanted(&column.kind));
        let ring = tracer.source() == Source::Ring;
        loader.map_max_entries("EVENTS", if ring { ring_bytes } else { page_bytes() });
        if !has(|kind| matches!(kind, Kind::UserStack)) {
            loader.map_max_entries("USER_STACKS", 1);
        }
        if !has(|kind| matches!(kind, Kind::KernelStack)) {
            loader.map_max_entries("KERNEL_STACKS", 1);
        }
        if selection.cgroups.is_empty() {
            loader.map_max_entries("CGROUPS", 1);
        }
        if !selection.by_process() {
            loader.map_max_entries("PROCESSES", 1);
        }
        let ebpf = loader
            .load(elf)
            .map_err(|error| load_error(tracer, kernel, &error))?;
        let mut loaded = Self {
            ebpf,
            hooks,
            tracer,
        };
        let mut programs = hooks.to_vec();
        if selection.by_process() {
            programs.extend([SELECT_FORK, SELECT_EXIT]);
        }
        if selection.command.is_some() {
            programs.push(SELECT_EXEC);
        }
        let types = match programs
            .iter()
            .any(|hook| matches!(hook.kind, HookKind::FEntry | HookKind::FExit))
        {
            true => Some(Btf::from_sys_fs().map_err(|error| Error::Btf(chain(&error)))?),
            false => None,
        };
        for hook in &programs {
            loaded.load_program(hook, types.as_ref(), kernel)?;
        }
        for (id, _) in &selection.cgroups {
            let value = NOW.to_ne_bytes();
            bpf::update(loaded.map("CGROUPS")?, &id.to_ne_bytes(), &value).map_err(|source| {
                Error::Read {
                    what: "the map of selected cgroups",
                    source,
                }
            })?;
        }
        Ok(loaded)
    }

    /// Attaches everything; from here on events are produced.
    pub(crate) fn attach(
        &mut self,
        selection: &Selection,
        command: Option<u32>,
    ) -> Result<(), Error> {
        if let Some(pid) = command {
            self.select(pid, FROM_EXEC)?;
        }
        for pid in &selection.processes {
            self.select(*pid, NOW)?;
        }
        if selection.by_process() {
            self.attach_program(&SELECT_FORK)?;
        }
        if command.is_some() {
            // Before the tracer's own program at this hook, which is to see the command's first exec.
            self.attach_program(&SELECT_EXEC)?;
        }
        // The fork hook sees every further child; those that were there before are found once it is in place.
        for pid in &selection.processes {
            for child in descendants(*pid) {
                self.select(child, NOW)?;
            }
        }
        for hook in self.hooks {
            self.attach_program(hook)?;
        }
        if selection.by_process() {
            // After the tracer's own program at this hook, which is to find the process selected still.
            self.attach_program(&SELECT_EXIT)?;
        }
        Ok(())
    }

    fn select(&self, pid: u32, state: u32) -> Result<(), Error> {
        bpf::update(
            self.map("PROCESSES")?,
            &pid.to_ne_bytes(),
            &state.to_ne_bytes(),
        )
        .map_err(|source| match source.raw_os_error() {
            Some(libc::E2BIG) => Error::TooManyTargets(16384),
            _ => Error::Read {
                what: "the map of selected processes",
                source,
            },
        })
    }

    fn load_program(
        &mut self,
        hook: &Hook,
        types: Option<&Btf>,
        kernel: &Kernel,
    ) -> Result<(), Error> {
        let tracer = self.tracer;
        let no_types = || Error::Btf("it was not read".to_owned());
        let loaded = match self.program(hook)? {
            Program::RawTracePoint(program) => program.load(),
            Program::FEntry(program) => program.load(hook.target, types.ok_or_else(no_types)?),
            Program::FExit(program) => program.load(hook.target, types.ok_or_else(no_types)?),
            Program::KProbe(program) => program.load(),
            other => Err(ProgramError::UnexpectedProgramType).inspect_err(|_| {
                tracing::error!(?other, "a program's section and its hook differ in kind");
            }),
        };
        loaded.map_err(|error| program_error(tracer, kernel, hook, &error))
    }

    fn attach_program(&mut self, hook: &Hook) -> Result<(), Error> {
        let program = self.program(hook)?;
        let attached = match program {
            Program::RawTracePoint(program) => {
                RawTracePoint::attach(program, hook.target).map(|_| ())
            }
            Program::FEntry(program) => FEntry::attach(program).map(|_| ()),
            Program::FExit(program) => FExit::attach(program).map(|_| ()),
            Program::KProbe(program) => KProbe::attach(program, hook.target, 0).map(|_| ()),
            _ => Err(ProgramError::UnexpectedProgramType),
        };
        attached.map_err(|error| Error::Attach {
            hook: format!("{} {}", hook.kind.word(), hook.target),
            reason: chain(&error),
        })
    }

    fn program(&mut self, hook: &Hook) -> Result<&mut Program, Error> {
        let tracer = self.tracer.name();
        self.ebpf
            .program_mut(hook.program)
            .ok_or_else(|| Error::Load {
                tracer,
                reason: format!("its object has no program {}: a bug", hook.program),
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

    /// The descriptors of all loaded programs.
    pub(crate) fn programs(&self) -> Vec<BorrowedFd<'_>> {
        self.ebpf
            .programs()
            .filter_map(|(_, program)| Some(program.fd().ok()?.as_fd()))
            .collect()
    }

    /// Bytes of all maps and programs, as the kernel counts them.
    pub(crate) fn kernel_bytes(&self) -> u64 {
        let maps = self
            .ebpf
            .maps()
            .filter_map(|(_, map)| Some(map_data(map)?.fd().as_fd()));
        maps.chain(self.programs()).map(locked_bytes).sum()
    }

    /// Detaches every program and waits until none runs any more. The maps stay.
    pub(crate) fn detach(&mut self) {
        for (_, program) in self.ebpf.programs_mut() {
            // Unloading drops the links; a program that was never loaded has none.
            let _ = match program {
                Program::RawTracePoint(program) => program.unload(),
                Program::FEntry(program) => program.unload(),
                Program::FExit(program) => program.unload(),
                Program::KProbe(program) => program.unload(),
                _ => Ok(()),
            };
        }
        bpf::wait_for_running_programs();
    }
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

pub(crate) fn page_bytes() -> u32 {
    rustix::param::page_size() as u32
}

/// Kernels before 5.11 count maps by RLIMIT_MEMLOCK. Raised to the hard limit always, beyond it where that is allowed.
fn allow_locked_memory(kernel: &Kernel) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    if kernel.version() >= (5, 11) {
        return;
    }
    let unlimited = Rlimit {
        current: None,
        maximum: None,
    };
    if setrlimit(Resource::Memlock, unlimited).is_err() {
        let Rlimit { maximum, .. } = getrlimit(Resource::Memlock);
        // Refused means that a map will be, with a message that names the limit.
        let _ = setrlimit(
            Resource::Memlock,
            Rlimit {
                current: maximum,
                maximum,
            },
        );
    }
}

/// EPERM on a kernel before 5.11, where all capabilities are there, is the limit on locked memory.
fn locked_memory(
    tracer: &'static dyn Erased,
    kernel: &Kernel,
    errno: Option<i32>,
) -> Option<Error> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Memlock).current?;
    let refused =
        errno == Some(libc::EPERM) && kernel.version() < (5, 11) && Capability::Bpf.have();
    refused.then_some(Error::LockedMemory {
        tracer: tracer.name(),
        limit,
    })
}

fn load_error(tracer: &'static dyn Erased, kernel: &Kernel, error: &EbpfError) -> Error {
    let errno = match error {
        EbpfError::MapError(MapError::CreateError { io_error, .. }) => io_error.raw_os_error(),
        _ => None,
    };
    locked_memory(tracer, kernel, errno).unwrap_or_else(|| Error::Load {
        tracer: tracer.name(),
        reason: chain(error),
    })
}

fn program_error(
    tracer: &'static dyn Erased,
    kernel: &Kernel,
    hook: &Hook,
    error: &ProgramError,
) -> Error {
    let (errno, log) = match error {
        ProgramError::LoadError {
            io_error,
            verifier_log,
        } => (io_error.raw_os_error(), verifier_log.to_string()),
        _ => (None, String::new()),
    };
    // The end of the verifier's log says why.
    let mut tail: Vec<&str> = log
        .lines()
        .rev()
        .filter(|line| !line.trim().is_empty())
        .take(12)
        .collect();
    tail.reverse();
    let reason = match tail.is_empty() {
        true => format!("{} {}: {}", hook.kind.word(), hook.target, chain(error)),
        false => format!(
            "{} {}: the verifier says:\n{}",
            hook.kind.word(),
            hook.target,
            tail.join("\n")
        ),
    };
    locked_memory(tracer, kernel, errno).unwrap_or(Error::Load {
        tracer: tracer.name(),
        reason,
    })
}

/// An error with its sources, none twice.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let more = inner.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = inner.source();
    }
    text
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
                    option.kind.bytes() as u64,
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
            for hook in tracer.hooks().iter().copied().flatten().chain([
                &SELECT_FORK,
                &SELECT_EXEC,
                &SELECT_EXIT,
            ]) {
                assert!(
                    file.symbols().any(|s| s.name() == Ok(hook.program)),
                    "{}: {}",
                    tracer.name(),
                    hook.program
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
                for insn in section.data().unwrap().chunks_exact(8) {
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
