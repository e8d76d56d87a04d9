//! One object: loaded with its globals, its maps filled, its programs attached. Dropping it detaches everything.

use crate::{
    Error, Kernel, Limits, Support,
    bpf::{self, Shared},
    fault::Faults,
    object,
    point::{self, Second},
    select::{
        CHOSEN, Counts, Maps, Members, Selection,
        programs::{SELECT_EXEC, SELECT_EXIT, SELECT_FORK, SELECT_POD},
    },
};
use aya::{
    EbpfLoader, GlobalData, VerifierLogLevel,
    maps::{Map, MapData},
};
pub(crate) use code::Programs;
pub(crate) use depth::{depth, value_bytes};
pub(crate) use globals::sizes;
use globals::{again, globals};
use refused::{allow_locked_memory, load_error, program_error};
use std::{
    collections::{BTreeMap, HashMap},
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::atomic::Ordering,
};
use tracers::{Plan, Point, control, raw_tp};

mod attach;
mod code;
mod depth;
mod globals;
mod pass;
mod refused;
mod slots;
mod user_files;

use user_files::UserProbes;

/// A loaded object.
pub(crate) struct Loaded {
    maps: HashMap<String, Map>,
    /// Programs that are not loaded yet; dropped after all are attached.
    code: Option<Programs>,
    programs: BTreeMap<String, Program>,
    /// Numbers of keys with each hash in the selection maps.
    chosen: Shared,
    /// State of the reader's sleep.
    sleep: Shared,
    /// The sets of points that may work here, best first. The first is loaded.
    sets: Vec<Vec<Point>>,
    pub(crate) tracer: &'static str,
    /// Whether every program has its second one: `agent-ebpf/src/again.rs`.
    again: bool,
    /// Maximum frames of a recorded stack.
    pub(crate) depth: u32,
    pub(crate) faults: Faults,
    /// The functions of user space that it attaches to.
    user: Option<UserProbes>,
    /// Whether its iterators make passes.
    passes: bool,
    /// Counts of `bpf::missed_at_link` at closed links.
    missed: u64,
}

/// A loaded program.
struct Program {
    program: OwnedFd,
    /// Whether it is the second one of its point.
    second: bool,
    /// Links that attach the program. Closing them detaches it, for every kind of point.
    links: Vec<OwnedFd>,
}

/// The program of `agent-ebpf/src/user_probe.rs` that records processes that execute another program.
const NOTICE_EXEC: Point = raw_tp("sched_process_exec").by("notice_exec");
/// Suffix of the name of a second program.
const AGAIN: &str = "_again";
/// Numbers of the map `SLEEP`.
const SLEEP: usize = size_of::<control::Sleep>() / size_of::<u32>();

impl Loaded {
    /// Loads the programs of the first set of points that works here; nothing runs yet.
    pub(crate) fn load(
        plan: &Plan,
        selection: &Selection,
        limits: &Limits,
        kernel: &Kernel,
    ) -> Result<Self, Error> {
        let tracer = plan.tracer;
        let points = match kernel.supports(tracer, plan.points.clone()) {
            Support::Yes { points } => points,
            Support::No { reason, .. } => {
                return Err(kernel
                    .refusal()
                    .unwrap_or(Error::Unsupported { tracer, reason }));
            }
        };
        let sets = plan.points.iter().skip_while(|set| **set != points);
        let sets: Vec<Vec<Point>> = sets.cloned().collect();
        let refused = |reason| Error::Load { tracer, reason };
        let elf = object(tracer)
            .ok_or_else(|| refused("it has no object: a bug of the build".to_owned()))?;
        allow_locked_memory(kernel);
        let again = again(plan, kernel);
        let depth = depth();
        let mut globals = globals(plan, selection, limits, kernel, elf, &sets)?;
        // Not every tracer takes stacks.
        globals.push(("DEPTH".to_owned(), depth.to_ne_bytes().to_vec(), false));
        let mut loader = EbpfLoader::new();
        // Used only after a refusal: aya first loads without a log.
        loader.verifier_log_level(VerifierLogLevel::DEBUG);
        for (name, value, must_exist) in &globals {
            loader.override_global(name, GlobalData::from(value.as_slice()), *must_exist);
        }
        for (name, entries) in sizes(plan, selection.shape(), limits, kernel, depth) {
            loader.map_max_entries(name, entries);
        }
        let faults = Faults::of_next_trace();
        let elf = depth::with_depth(elf, depth);
        let mut made = (faults.maps())
            .and_then(|()| loader.load(&elf))
            .map_err(|error| load_error(tracer, kernel, &error))?;
        // The maps alone: programs are loaded by `Programs`.
        let names: Vec<String> = made.maps().map(|(name, _)| name.to_owned()).collect();
        let maps = names.into_iter().filter_map(|name| {
            let map = made.take_map(&name)?;
            Some((name, map))
        });
        let maps: HashMap<String, Map> = maps.collect();
        drop(made);
        if let Some((name, _)) = maps.iter().find(|(_, map)| map_data(map).is_none()) {
            return Err(refused(format!(
                "its map {name} has an unknown type: a bug"
            )));
        }
        let fd = |name: &str| Some(map_data(maps.get(name)?)?.fd().as_fd());
        let code = Programs::of(&elf, kernel, &plan.slots, fd).map_err(refused)?;
        let shared = |name, count, what| {
            fd(name)
                .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
                .and_then(|map| Shared::of(map, count))
                .map_err(|source| Error::Read { what, source })
        };
        let mut loaded = Self {
            chosen: shared(
                "CHOSEN",
                CHOSEN,
                "the counts of selected processes and cgroups",
            )?,
            sleep: shared("SLEEP", SLEEP, "the number of the reader's sleep")?,
            maps,
            code: Some(code),
            programs: BTreeMap::new(),
            sets,
            tracer,
            again,
            depth,
            faults,
            user: None,
            passes: pass::has_passes(plan),
            missed: 0,
        };
        loaded.load_selection(selection, kernel)?;
        loaded.first_set(|loaded, set| loaded.load_set(set, kernel))?;
        let points = loaded.sets.first().map_or(&[][..], Vec::as_slice);
        loaded.user = UserProbes::new(points, &kernel.proc);
        if loaded.user.is_some() {
            loaded.load_program(&NOTICE_EXEC, kernel)?;
        }
        Ok(loaded)
    }

    /// Loads the selecting programs.
    fn load_selection(&mut self, selection: &Selection, kernel: &Kernel) -> Result<(), Error> {
        if selection.shape().by_process() {
            self.load_program(&SELECT_FORK, kernel)?;
            self.load_program(&SELECT_EXIT, kernel)?;
        }
        if selection.command().is_some() {
            self.load_program(&SELECT_EXEC, kernel)?;
        }
        if selection.shape().pods {
            self.load_program(&SELECT_POD, kernel)?;
        }
        Ok(())
    }

    /// Returns the selection maps.
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

    /// Sets sampling: from now on, one of `of` events is kept.
    pub(crate) fn sample(&self, of: u64) -> Result<(), Error> {
        bpf::update(self.map("SAMPLE")?, &[0; 4], &of.to_ne_bytes()).map_err(|source| Error::Read {
            what: "how many events are kept",
            source,
        })
    }

    /// Publishes the number of the reader's sleep; 0 means awake. Programs wake the reader from a sleep.
    pub(crate) fn set_sleep(&self, number: u32) {
        if let Some(now) = self.sleep.get(control::SLEEP_NOW) {
            now.store(number, Ordering::SeqCst);
        }
    }

    /// Calls `with` for the sets of points until it succeeds. This kernel's verifier may refuse a set that looked possible.
    fn first_set(
        &mut self,
        mut with: impl FnMut(&mut Self, &[Point]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut refused = None;
        while let Some(set) = self.sets.first().cloned() {
            match with(self, &set) {
                Ok(()) => return Ok(()),
                Err(error) => {
                    tracing::warn!(tracer = self.tracer, %error, "the kernel refused a set of points");
                    refused.get_or_insert(error);
                    self.unload_set(&set);
                    self.sets.remove(0);
                }
            }
        }
        Err(refused.unwrap_or(Error::Unsupported {
            tracer: self.tracer,
            reason: "no set of points is left to try".to_owned(),
        }))
    }

    fn unload_set(&mut self, set: &[Point]) {
        let programs = set.iter().flat_map(|point| self.programs_of(point));
        for (name, _) in programs.collect::<Vec<_>>() {
            self.programs.remove(&name);
        }
    }

    fn load_set(&mut self, set: &[Point], kernel: &Kernel) -> Result<(), Error> {
        set.iter()
            .try_for_each(|point| self.load_program(point, kernel))
    }

    fn load_program(&mut self, point: &Point, kernel: &Kernel) -> Result<(), Error> {
        let tracer = self.tracer;
        let sort = point::kind(&point.at).sort(&kernel.btf);
        let sort = sort.map_err(|reason| Error::Unsupported { tracer, reason })?;
        for (name, second) in self.programs_of(point) {
            // Several functions may have one program.
            if self.programs.contains_key(&name) {
                continue;
            }
            let code = self.code.as_ref().ok_or_else(|| Error::Load {
                tracer,
                reason: format!("{name} is loaded after everything is attached: a bug"),
            })?;
            let program = (self.faults.load())
                .and_then(|()| code.load(&name, sort))
                .map_err(|error| program_error(tracer, kernel, point, &error))?;
            let links = Vec::new();
            self.programs.insert(
                name,
                Program {
                    program,
                    second,
                    links,
                },
            );
        }
        Ok(())
    }

    /// Returns the names of a point's programs, and whether each is the second one, in the order of attaching that makes the second one run
    /// first.
    fn programs_of(&self, point: &Point) -> Vec<(String, bool)> {
        let first = (point.program.to_owned(), false);
        let again = (format!("{}{AGAIN}", point.program), true);
        match point::kind(&point.at).second() {
            _ if !self.again => vec![first],
            Second::None => vec![first],
            Second::AttachedFirst => vec![again, first],
            Second::AttachedLast => vec![first, again],
        }
    }

    /// Returns the descriptor of a map.
    pub(crate) fn map(&self, name: &str) -> Result<BorrowedFd<'_>, Error> {
        self.maps
            .get(name)
            .and_then(map_data)
            .map(|data| data.fd().as_fd())
            .ok_or_else(|| self.no_map(name))
    }

    /// Moves a map out, with its descriptor.
    pub(crate) fn take_map(&mut self, name: &str) -> Result<Map, Error> {
        self.maps.remove(name).ok_or_else(|| self.no_map(name))
    }

    fn no_map(&self, name: &str) -> Error {
        Error::Load {
            tracer: self.tracer,
            reason: format!("its object has no map {name}: a bug"),
        }
    }

    /// Returns descriptors of all loaded programs except the second ones. They keep counts readable after the programs are detached.
    pub(crate) fn first_programs(&self) -> Result<Vec<OwnedFd>, Error> {
        let programs = self.programs.values().filter(|one| !one.second);
        programs
            .map(|one| one.program.try_clone())
            .collect::<Result<_, _>>()
            .map_err(|source| Error::Read {
                what: "the programs' descriptors, to copy them,",
                source,
            })
    }

    /// Returns the bytes of all maps and programs, as counted by the kernel.
    pub(crate) fn kernel_bytes(&self) -> u64 {
        let maps = self.maps.values().filter_map(map_data);
        let maps = maps.map(|data| data.fd().as_fd());
        let programs = self.programs.values().map(|one| one.program.as_fd());
        maps.chain(programs).map(locked_bytes).sum()
    }
}

/// Returns the data of a map; `None` for a type whose memory `memory::Definition::bytes` cannot compute.
pub(crate) fn map_data(map: &Map) -> Option<&MapData> {
    match map {
        Map::Array(data)
        | Map::HashMap(data)
        | Map::LruHashMap(data)
        | Map::PerCpuArray(data)
        | Map::PerCpuHashMap(data)
        | Map::PerCpuLruHashMap(data)
        | Map::RingBuf(data) => Some(data),
        Map::ArrayOfMaps(_)
        | Map::BloomFilter(_)
        | Map::CgroupArray(_)
        | Map::CgroupStorage(_)
        | Map::CgrpStorage(_)
        | Map::CpuMap(_)
        | Map::DevMap(_)
        | Map::DevMapHash(_)
        | Map::HashOfMaps(_)
        | Map::InodeStorage(_)
        | Map::LpmTrie(_)
        | Map::PerCpuCgroupStorage(_)
        | Map::PerfEventArray(_)
        | Map::ProgramArray(_)
        | Map::Queue(_)
        | Map::ReusePortSockArray(_)
        | Map::SockHash(_)
        | Map::SockMap(_)
        | Map::SkStorage(_)
        | Map::Stack(_)
        | Map::StackTraceMap(_)
        | Map::Unsupported(_)
        | Map::XskMap(_) => None,
    }
}

/// Returns `memlock` of /proc/self/fdinfo: the bytes that the kernel charges for a map or a program.
pub(crate) fn locked_bytes(fd: BorrowedFd<'_>) -> u64 {
    of_fdinfo(fd, "memlock:")
}

/// Returns the maximum entries of a map.
pub(crate) fn entries(map: BorrowedFd<'_>) -> u64 {
    of_fdinfo(map, "max_entries:")
}

fn of_fdinfo(fd: BorrowedFd<'_>, name: &str) -> u64 {
    use std::os::fd::AsRawFd;
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()))
        .unwrap_or_default();
    info.lines()
        .find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rows::text::error_chain;
    use tracers::{ALL, Erased};

    fn load_with(tracer: &'static dyn Erased, name: &str, value: &[u8]) -> String {
        let mut loader = EbpfLoader::new();
        loader.override_global(name, GlobalData::from(value), true);
        error_chain(&loader.load(object(tracer.name()).unwrap()).err().unwrap())
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
    fn every_point_has_its_program_and_the_second_one_where_its_kind_has_one() {
        use ::object::{Object, ObjectSymbol};
        for tracer in ALL {
            let elf = object(tracer.name()).unwrap();
            let file = ::object::File::parse(elf).unwrap();
            let has = |name: &str| file.symbols().any(|s| s.name() == Ok(name));
            let points = tracer
                .points()
                .into_iter()
                .flatten()
                .chain(crate::select::programs::ALL.iter().cloned());
            for point in points {
                let name = tracer.name();
                assert!(has(point.program), "{name}: {}", point.program);
                let again = format!("{}{AGAIN}", point.program);
                let wanted = point::kind(&point.at).second() != Second::None;
                assert_eq!(has(&again), wanted, "{name}: {again}");
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
