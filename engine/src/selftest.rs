//! Programs for tests on real kernels: one at a point of any kind, and one with a slot. They are not part of a trace, and are linked only into
//! programs that use them.

use crate::{
    Kernel,
    bpf::{self, Sort, create_iterator},
    load::{Programs, map_data},
    point::{self, attach_to_file},
};
use aya::{EbpfLoader, GlobalData, maps::Map};
use rows::text::error_chain;
use std::{
    collections::{BTreeMap, HashMap},
    ffi::CStr,
    fs::File,
    io::Read,
    os::fd::{AsFd, AsRawFd, OwnedFd},
};
use tracers::{At, Instruction, Point, Slot};

static OBJECT: &[u8] = include!(concat!(env!("OUT_DIR"), "/selftest.rs"));

/// Number of functions of a point that the program distinguishes.
const FUNCTIONS: u32 = 4;

/// A program at a point, which counts the events of this process.
pub struct Probe {
    maps: HashMap<String, Map>,
    program: OwnedFd,
    links: Vec<OwnedFd>,
    point: Point,
}

/// The object, with the maps that it uses and its programs ready to load.
struct Loading {
    kernel: Kernel,
    maps: HashMap<String, Map>,
    programs: Programs,
}

impl Loading {
    fn with(slots: &BTreeMap<Slot, Vec<Instruction>>) -> Result<Self, String> {
        let kernel = Kernel::read().map_err(|error| error.to_string())?;
        let tested = bpf::own_process().map_err(|error| error.to_string())?;
        let mut loader = EbpfLoader::new();
        let tested = tested.to_ne_bytes();
        loader.override_global("TESTED", GlobalData::from(tested.as_slice()), true);
        let fields = crate::kernel::wanted(OBJECT);
        let fields: Vec<(String, Vec<u8>)> = (fields.into_iter())
            .filter_map(|field| Some((field.symbol.clone(), field.find(&kernel)?)))
            .collect();
        for (symbol, value) in &fields {
            loader.override_global(symbol, GlobalData::from(value.as_slice()), true);
        }
        let mut made = loader.load(OBJECT).map_err(|error| error_chain(&error))?;
        let names: Vec<String> = made.maps().map(|(name, _)| name.to_owned()).collect();
        let maps = names.into_iter().filter_map(|name| {
            let map = made.take_map(&name)?;
            Some((name, map))
        });
        let maps: HashMap<String, Map> = maps.collect();
        let fd = |name: &str| Some(map_data(maps.get(name)?)?.fd().as_fd());
        let programs = Programs::of(OBJECT, &kernel, slots, fd)?;
        Ok(Self {
            kernel,
            maps,
            programs,
        })
    }
}

/// A program with a filled slot, which tests rows.
pub struct Filled {
    maps: HashMap<String, Map>,
    program: OwnedFd,
}

impl Filled {
    /// Most bytes of a row: as many as the map `ROW` of `agent-ebpf/src/selftest.rs` has.
    pub const ROW_BYTES: usize = 256;

    /// Loads the program with these instructions in its slot; with none, the slot is as it was built.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn with(slots: &BTreeMap<Slot, Vec<Instruction>>) -> Result<Self, String> {
        let Loading { maps, programs, .. } = Loading::with(slots)?;
        let program = programs.load("test_slot", Sort::RAW_TRACEPOINT);
        let program = program.map_err(|error| format!("{}\n{}", error_chain(&error), error.log))?;
        Ok(Self { maps, program })
    }

    /// Whether the program lets this row pass.
    ///
    /// # Errors
    /// Where the row is too long, or the kernel refuses.
    pub fn passes(&self, row: &[u8]) -> Result<bool, String> {
        let mut bytes = [0; Self::ROW_BYTES];
        let place = bytes.get_mut(..row.len()).ok_or("the row is too long")?;
        place.copy_from_slice(row);
        let map = self.maps.get("ROW").and_then(map_data);
        let map = map.ok_or("there is no map ROW")?;
        let before = number(&self.maps, "HITS", 0)?;
        bpf::update(map.fd().as_fd(), &[0; 4], &bytes)
            .and_then(|()| bpf::run(self.program.as_fd()))
            .map_err(|error| error.to_string())?;
        match number(&self.maps, "HITS", 0)? - before {
            0 => Ok(false),
            1 => Ok(true),
            more => Err(format!("one row passed {more} times")),
        }
    }
}

/// A number of a map of numbers.
fn number(maps: &HashMap<String, Map>, name: &str, at: u32) -> Result<u64, String> {
    let mut number = [0; 8];
    let map = maps.get(name).and_then(map_data);
    let map = map.ok_or_else(|| format!("there is no map {name}"))?;
    bpf::lookup(map.fd().as_fd(), &at.to_ne_bytes(), &mut number)
        .map_err(|error| error.to_string())?;
    Ok(u64::from_ne_bytes(number))
}

/// Returns why a point is not possible on this kernel; `None` if it is.
///
/// # Errors
/// If the kernel's types cannot be read.
pub fn refuses(point: &Point) -> Result<Option<String>, String> {
    let kernel = Kernel::read().map_err(|error| error.to_string())?;
    Ok(point::refuses(point, &kernel))
}

impl Probe {
    /// Loads and attaches the point's program of `agent-ebpf/src/selftest.rs`.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn at(point: Point) -> Result<Self, String> {
        let Loading {
            kernel,
            maps,
            programs,
        } = Loading::with(&BTreeMap::new())?;
        let kind = point::kind(&point.at);
        let program = kind.sort(&kernel.btf).and_then(|sort| {
            let loaded = programs.load(point.program, sort);
            loaded.map_err(|error| format!("{}\n{}", error_chain(&error), error.log))
        })?;
        let links = kind
            .attach(program.as_fd())
            .map_err(|error| error_chain(&error))?;
        drop(kind);
        Ok(Self {
            maps,
            program,
            links,
            point,
        })
    }

    /// Attaches a user function's program at an offset in a file.
    ///
    /// # Errors
    /// Where the kernel refuses, or the point is of another kind.
    pub fn attach_to_file(&mut self, path: &CStr, offset: u64) -> Result<(), String> {
        let At::UserFunction { side, .. } = self.point.at else {
            return Err(format!("{} is no user function", self.point));
        };
        let link = attach_to_file(self.program.as_fd(), side, path, &[offset], &[]);
        self.links.push(link.map_err(|error| error_chain(&error))?);
        Ok(())
    }

    /// Reads the iterator once through.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn iterate(&self) -> Result<(), String> {
        let link = self.links.first().ok_or("it is not attached")?;
        let pass = create_iterator(link.as_fd()).map_err(|error| error.to_string())?;
        File::from(pass)
            .read_to_end(&mut Vec::new())
            .map_err(|error| error.to_string())?;
        Ok(())
    }

    /// Its links in the kernel: `link 3`.
    pub fn links(&self) -> Vec<String> {
        let info = |link: &OwnedFd| {
            let path = format!("/proc/self/fdinfo/{}", link.as_raw_fd());
            let text = std::fs::read_to_string(path).unwrap_or_default();
            let id = text.lines().find_map(|line| line.strip_prefix("link_id:"));
            format!("link {}", id.unwrap_or_default().trim())
        };
        self.links.iter().map(info).collect()
    }

    /// Returns the number of events at the point.
    ///
    /// # Errors
    /// Where the map cannot be read.
    pub fn hits(&self) -> Result<u64, String> {
        (0..FUNCTIONS).map(|function| self.hits_of(function)).sum()
    }

    /// Returns the number of events at one of the point's functions, by its index.
    ///
    /// # Errors
    /// Where the map cannot be read.
    pub fn hits_of(&self, function: u32) -> Result<u64, String> {
        number(&self.maps, "HITS", function)
    }

    /// Returns the value of the last event.
    ///
    /// # Errors
    /// Where the map cannot be read.
    pub fn seen(&self) -> Result<u64, String> {
        number(&self.maps, "LAST_NUMBER", 0)
    }

    /// Returns the skipped runs, as in an account.
    ///
    /// # Errors
    /// If the kernel does not return them.
    pub fn missed(&self) -> Result<u64, String> {
        let links = self.links.iter();
        let at_links = links.map(|link| bpf::missed_at_link(link.as_fd()));
        let at_links = at_links.sum::<std::io::Result<u64>>();
        let missed = bpf::missed_runs(self.program.as_fd());
        let sum = at_links.and_then(|at_links| Ok(at_links + missed?));
        sum.map_err(|error| error.to_string())
    }

    /// Detaches it, as `Loaded::detach` does. The count stays readable.
    pub fn detach(&mut self) {
        self.links.clear();
        bpf::wait_for_running_programs();
    }
}
