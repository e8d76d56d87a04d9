//! Facts about the running kernel: available tracers, and the reasons and remedies for others.

use crate::{
    Error,
    bpf::{self, Sort},
    btf::Btf,
    capability::Held,
    capability::lacks,
    objects::object,
    point,
    requirement::grant,
    select,
};
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fs::{self, File},
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
    sync::OnceLock,
};
use tracers::{Capability, Erased, Point};

/// The running kernel.
pub struct Kernel {
    release: String,
    pub(crate) btf: Btf,
    /// The kernel's response to the simplest tracing program.
    tracing: Result<(), io::Error>,
    /// Path of its procfs.
    pub(crate) proc: PathBuf,
    /// Difference between CLOCK_BOOTTIME in our time namespace and in kernel programs, ns.
    pub(crate) boottime_ahead_ns: i64,
    /// Addresses of the functions that kernel programs ask for.
    functions: OnceLock<HashMap<String, u64>>,
}

/// `boottime SECONDS NANOSECONDS` of /proc/self/timens_offsets, time_namespaces(7). Kernels before 5.6 have no such file.
fn boottime_ahead(text: &str) -> i64 {
    let line = text.lines().find_map(|line| line.strip_prefix("boottime"));
    let mut numbers = line
        .into_iter()
        .flat_map(str::split_whitespace)
        .flat_map(str::parse::<i64>);
    let mut next = || numbers.next().unwrap_or(0);
    let (seconds, nanoseconds) = (next(), next());
    seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(nanoseconds)
}

// Programs of trials.
/// A call of bpf_get_current_ancestor_cgroup_id: `r1 = 0; call 123; r0 = 0; exit`.
const ANCESTOR_HELPER: [u64; 4] = [0x1b7, 123 << 32 | 0x85, 0xb7, 0x95];
/// A call of bpf_get_current_task_btf: `call 158; r0 = 0; exit`.
const TASK_HELPER: [u64; 3] = [158 << 32 | 0x85, 0xb7, 0x95];
/// A call of bpf_task_pt_regs of the current task: `call 158; r1 = r0; call 175; r0 = 0; exit`.
const REGISTERS_HELPER: [u64; 5] = [158 << 32 | 0x85, 0x1bf, 175 << 32 | 0x85, 0xb7, 0x95];

/// Returns the version in a release's name, as two numbers: 6.18.
pub(crate) fn version(release: &str) -> (u32, u32) {
    let numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut numbers = numbers.map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// Availability of a tracer.
#[derive(Clone, Debug)]
pub enum Support {
    /// The tracer is available.
    Yes {
        /// The first set of points that this kernel and these capabilities allow.
        points: Vec<Point>,
    },
    /// The tracer is not available.
    No {
        /// Name of the missing part.
        reason: String,
        /// Remedy, if there is one.
        remedy: Option<String>,
    },
}

impl Kernel {
    /// Reads the facts.
    ///
    /// # Errors
    /// If the kernel has no type information.
    pub fn read() -> Result<Self, Error> {
        Ok(Self {
            release: rustix::system::uname()
                .release()
                .to_string_lossy()
                .into_owned(),
            btf: Btf::of_kernel()?,
            tracing: bpf::try_load(&point::LOOKS, Sort::RAW_TRACEPOINT)
                .map(drop)
                .map_err(|refused| refused.source),
            proc: "/proc".into(),
            boottime_ahead_ns: boottime_ahead(
                &fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default(),
            ),
            functions: OnceLock::new(),
        })
    }

    /// Uses another procfs: the host's /proc, for a program outside of the host's PID namespace.
    ///
    /// # Errors
    /// If the path is not a procfs.
    pub fn with_proc(mut self, proc: &Path) -> Result<Self, Error> {
        // `self` has no target there; this file exists for all readers.
        if !proc.join("kallsyms").exists() {
            return Err(Error::NoProc(proc.to_owned()));
        }
        proc.clone_into(&mut self.proc);
        Ok(self)
    }

    /// Returns the release of uname(2).
    pub fn release(&self) -> &str {
        &self.release
    }

    /// Returns the version as two numbers: 6.18.
    pub(crate) fn version(&self) -> (u32, u32) {
        version(&self.release)
    }

    /// Returns whether programs at tracepoints can be preempted. The kernel skips the program for other tasks on that CPU in the meantime:
    /// `__bpf_trace_run`, kernel/trace/bpf_trace.c, since 7.0.
    pub(crate) fn preempts_at_tracepoints(&self) -> bool {
        self.version() >= (7, 0)
    }

    /// Returns whether tracing programs may get a cgroup's ancestors by a helper.
    pub(crate) fn has_ancestor_helper(&self) -> bool {
        bpf::try_load(&ANCESTOR_HELPER, Sort::RAW_TRACEPOINT).is_ok()
    }

    /// Returns whether tracing programs may read the registers with which a task entered the kernel.
    pub(crate) fn has_registers_helper(&self) -> bool {
        bpf::try_load(&REGISTERS_HELPER, Sort::RAW_TRACEPOINT).is_ok()
    }

    /// Returns whether tracing programs may read the current task without a helper.
    pub(crate) fn has_task_helper(&self) -> bool {
        bpf::try_load(&TASK_HELPER, Sort::RAW_TRACEPOINT).is_ok()
    }

    /// Returns why no program can be loaded at all.
    pub(crate) fn refusal(&self) -> Option<Error> {
        self.tracing.as_ref().err()?;
        let needed = [Capability::Bpf, Capability::Perfmon];
        let missing: Vec<Capability> = needed.into_iter().filter(|c| !c.have()).collect();
        if Capability::SysAdmin.have() || missing.is_empty() {
            return None;
        }
        let some = missing.len() < needed.len();
        Some(Error::MissingCapability { missing, some })
    }

    /// Returns whether a tracer is available, and its points.
    pub fn support(&self, tracer: &dyn Erased) -> Support {
        self.supports(tracer.name(), tracer.points())
    }

    /// Returns whether a tracer is available with one of these sets of points, and this set.
    pub(crate) fn supports(&self, tracer: &str, sets: Vec<Vec<Point>>) -> Support {
        if let Some(refused) = self.refusal() {
            let Error::MissingCapability { missing, .. } = refused else {
                unreachable!("refusal gives nothing else");
            };
            return Support::No {
                reason: format!("needs {}", Capability::list(&missing)),
                remedy: Some("run it with sudo, or `sudo setcap cap_bpf,cap_perfmon+ep $(command -v tracejob)`".to_owned()),
            };
        }
        let remedy = sets.iter().flatten().find_map(|one| lacks(&one.at));
        let mut reasons: Vec<String> = Vec::new();
        for points in sets {
            let programs = points.iter().chain(&select::programs::ALL);
            let programs = programs.map(|point| point.program);
            let refused = self.missing_field(tracer, programs);
            match refused.or_else(|| points.iter().find_map(|one| point::refuses(one, self))) {
                None => return Support::Yes { points },
                Some(reason) => reasons.push(reason),
            }
        }
        reasons.dedup();
        Support::No {
            reason: reasons.join("; "),
            remedy: remedy.map(grant),
        }
    }

    /// Returns the addresses of the functions that kernel programs ask for; empty if this process may not see addresses.
    fn functions(&self) -> &HashMap<String, u64> {
        self.functions.get_or_init(|| {
            let objects = tracers::ALL
                .iter()
                .filter_map(|tracer| object(tracer.name()));
            let wanted = objects
                .flat_map(wanted)
                .filter(|one| one.fact == Fact::Function);
            let names: HashSet<String> = wanted
                .flat_map(|one| {
                    one.name
                        .split(" or ")
                        .map(str::to_owned)
                        .collect::<Vec<_>>()
                })
                .collect();
            File::open(self.proc.join("kallsyms")).map_or_else(
                |_| HashMap::new(),
                |file| addresses(BufReader::new(file), &names),
            )
        })
    }

    /// Returns a kernel field or constant that these programs read and this kernel lacks.
    fn missing_field<'a>(
        &self,
        tracer: &str,
        programs: impl Iterator<Item = &'a str>,
    ) -> Option<String> {
        let object = object(tracer)?;
        let named = named(object, programs)?;
        let needed = wanted(object).into_iter();
        let needed = needed.filter(|one| named.contains(&one.symbol) && !one.optional);
        let mut missing = needed.filter(|one| one.find(self).is_none());
        missing.next().map(|missing| match missing.width {
            0 => format!("this kernel has no {}", missing.name),
            width => format!("this kernel has no {} of {width} bytes", missing.name),
        })
    }
}

/// A global for a fact about the kernel's types, by its name: `agent-ebpf/src/field.rs`.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// The global.
    pub(crate) symbol: String,
    /// The requested fact, in C syntax.
    pub(crate) name: String,
    optional: bool,
    fact: Fact,
    /// Bytes that a program reads of a field; 0 for other facts.
    width: u32,
}

/// A kind of fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fact {
    /// The offset of a field and the bytes that are read of it, two `u32`: `Field` of `agent-ebpf/src/field.rs`.
    Field,
    /// The offset of a field of one bit, in bits, a `u32`.
    Bit,
    /// The value of an enum's constant, a `u32`.
    Constant,
    /// The address of the first of some functions, a `u64`.
    Function,
}

impl Wanted {
    /// Parses a global with this value in the object.
    fn parse(symbol: &str, value: &[u8]) -> Option<Self> {
        const PREFIXES: [(&str, bool, Fact); 7] = [
            ("KBIT_", false, Fact::Bit),
            ("KOFF_", false, Fact::Field),
            ("KOPT_", true, Fact::Field),
            ("KENUM_", false, Fact::Constant),
            ("KOPTENUM_", true, Fact::Constant),
            ("KFUN_", false, Fact::Function),
            ("KOPTFUN_", true, Fact::Function),
        ];
        let (rest, optional, fact) = PREFIXES.iter().find_map(|(prefix, optional, fact)| {
            Some((symbol.strip_prefix(prefix)?, *optional, *fact))
        })?;
        Some(Self {
            symbol: symbol.to_owned(),
            name: rest.replace("_DOT_", ".").replace("_OR_", " or "),
            optional,
            fact,
            width: match fact {
                Fact::Field => u32::from_ne_bytes(*value.get(4..)?.first_chunk()?),
                Fact::Bit | Fact::Constant | Fact::Function => 0,
            },
        })
    }

    /// Returns the struct and the path to the field in it.
    fn path(&self) -> Option<(&str, Vec<&str>)> {
        let mut parts = self.name.split('.');
        Some((parts.next()?, parts.collect()))
    }

    /// Returns the value of the global, as bytes; `None` if this kernel has no such thing, or a smaller field than programs read.
    pub(crate) fn find(&self, kernel: &Kernel) -> Option<Vec<u8>> {
        let number = match self.fact {
            Fact::Constant => kernel.btf.constant(&self.name)?,
            Fact::Bit => {
                let (of, path) = self.path()?;
                kernel.btf.bits(of, &path)?
            }
            Fact::Field => {
                let (of, path) = self.path()?;
                let offset = kernel.btf.offset(of, &path)?;
                // A flexible array has no size. One of some bits, or of an unknown type, has none here either.
                let size = kernel.btf.size(of, &path).filter(|size| *size > 0);
                if size.is_some_and(|size| size < self.width) {
                    return None;
                }
                return Some([offset, self.width].map(u32::to_ne_bytes).concat());
            }
            Fact::Function => {
                let addresses = kernel.functions();
                let address = self
                    .name
                    .split(" or ")
                    .find_map(|name| addresses.get(name))?;
                return Some(address.to_ne_bytes().to_vec());
            }
        };
        Some(number.to_ne_bytes().to_vec())
    }
}

/// Returns the addresses of these functions of the kernel itself. `symbols` are lines of `address type name [module]`: proc_kallsyms(5).
fn addresses(symbols: impl BufRead, names: &HashSet<String>) -> HashMap<String, u64> {
    let mut found = HashMap::new();
    for line in symbols.lines().map_while(Result::ok) {
        let mut fields = line.split_ascii_whitespace();
        let (Some(address), Some(_), Some(name), None) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        if names.contains(name)
            && let Ok(address) = u64::from_str_radix(address, 16)
            // Zero is shown in place of an address that this process may not see.
            && address != 0
        {
            found.insert(name.to_owned(), address);
            if found.len() == names.len() {
                break;
            }
        }
    }
    found
}

/// Returns the globals that these programs of an object use, and the functions that they may call; `None` if the object cannot be read.
fn named<'a>(object: &[u8], programs: impl Iterator<Item = &'a str>) -> Option<BTreeSet<String>> {
    use object::{Object, ObjectSection, ObjectSymbol, RelocationTarget};
    let file = object::File::parse(object).ok()?;
    let mut named = BTreeSet::new();
    let mut add = |section: object::SectionIndex, within: std::ops::Range<u64>| {
        let section = file.section_by_index(section).ok()?;
        for (_, relocation) in section.relocations().filter(|(at, _)| within.contains(at)) {
            if let RelocationTarget::Symbol(symbol) = relocation.target() {
                let symbol = file.symbol_by_index(symbol).ok()?;
                named.insert(symbol.name().ok()?.to_owned());
            }
        }
        Some(())
    };
    // All called functions are in one section.
    if let Some(text) = file.section_by_name(".text") {
        add(text.index(), 0..u64::MAX)?;
    }
    for program in programs {
        let symbol = file.symbols().find(|symbol| symbol.name() == Ok(program))?;
        let start = symbol.address();
        add(symbol.section_index()?, start..start + symbol.size())?;
    }
    Some(named)
}

/// Returns all facts that an object requests.
pub(crate) fn wanted(object: &[u8]) -> Vec<Wanted> {
    use object::{Object, ObjectSection, ObjectSymbol};
    let Ok(file) = object::File::parse(object) else {
        return Vec::new();
    };
    let parse = |symbol: object::Symbol<'_, '_>| {
        let section = file.section_by_index(symbol.section_index()?).ok()?;
        let value = section.data_range(symbol.address(), symbol.size()).ok()??;
        Wanted::parse(symbol.name().ok()?, value)
    };
    file.symbols().filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_functions_are_found_unless_they_are_hidden() {
        let names = HashSet::from(["tick", "other", "of_module"].map(str::to_owned));
        let shown = "ffffffff81000000 T tick\nffffffff81000040 t third\nffffffffc0000000 t of_module\t[one]\n";
        let found = addresses(shown.as_bytes(), &names);
        assert_eq!(
            found,
            HashMap::from([("tick".to_owned(), 0xffff_ffff_8100_0000)])
        );
        let hidden = "0000000000000000 T tick\n";
        assert!(addresses(hidden.as_bytes(), &names).is_empty());
    }

    #[test]
    fn a_program_needs_the_fields_that_it_reads_and_not_those_of_others() {
        let kernel = Kernel::read().unwrap();
        let object = object("tcp_life").unwrap();
        let needed = |program| named(object, [program].into_iter()).unwrap();
        let state = "KOFF_sock_DOT_sk_protocol";
        assert!(needed("inet_sock_set_state").contains(state));
        assert!(!needed("select_exec").contains(state));
        let programs = ["inet_sock_set_state"].into_iter();
        assert_eq!(kernel.missing_field("tcp_life", programs), None);
        assert_eq!(named(object, ["no_such_program"].into_iter()), None);
    }
}
