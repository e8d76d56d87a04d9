//! Where a kernel program attaches, and what the place must be like.
//!
//! This file says what a point is; how the loader loads and attaches a program there is one file per kind in `engine/src/point`.

/// A name that a tracer's constants give, or that is known only at run time.
#[cfg(feature = "user")]
pub type Name = std::borrow::Cow<'static, str>;
/// A name: the kernel side has only those of constants.
#[cfg(not(feature = "user"))]
pub type Name = &'static str;

/// A list of names: of constants, or known only at run time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Names {
    /// Those of constants.
    Fixed(&'static [&'static str]),
    /// Those that are known only at run time.
    #[cfg(feature = "user")]
    Found(std::vec::Vec<std::string::String>),
}

/// One program and the place where it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// The place.
    pub at: At,
    /// The program in the tracer's object.
    pub program: &'static str,
    /// Types that arguments of the tracepoint or function must have in this kernel, by their positions from 0, as C writes them:
    /// for those whose arguments have changed between versions.
    pub arguments: &'static [(u8, &'static str)],
    /// The kernel global of the option with which the point is attached; `None`: always.
    pub option: Option<&'static str>,
    /// Whether the point is one only where the kernel's timers have a high resolution. Otherwise the tick is no `hrtimer`.
    pub high_resolution: bool,
}

/// Kinds of places, each with its target. All attach by bpf() alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum At {
    /// A tracepoint of the kernel or of a module, with the arguments of its prototype.
    RawTracepoint(Name),
    /// A tracepoint of the kernel whose arguments have types for the verifier.
    TypedTracepoint(Name),
    /// The entry of a kernel function.
    FunctionEntry(Name),
    /// The return of a kernel function, with its arguments and its result.
    FunctionReturn(Name),
    /// The entry of a kernel function whose program may return an error in its place: `security_*` functions.
    FunctionVerdict(Name),
    /// Kernel functions that one program is at, which reads from its context which one it is: a number, the function's place in this list.
    /// Where several functions of the kernel have one name, it is the first of them.
    KernelFunctions {
        /// The functions.
        functions: Names,
        /// Where in each function.
        side: Side,
    },
    /// An iterator over objects of the kernel, such as `task`: its program runs when the loader reads the iterator.
    Iterator(Name),
    /// A function of programs or libraries of user space.
    UserFunction {
        /// The program or library: a path, or a name such as `libc` that is looked up in each target.
        object: Name,
        /// The function's symbol.
        symbol: Name,
        /// Where in the function.
        side: Side,
    },
    /// Packets of the sockets of a cgroup. The program decides whether a packet passes.
    CgroupPackets {
        /// The cgroup's directory.
        cgroup: Name,
        /// Which packets.
        direction: Direction,
    },
    /// A call of the sockets of a cgroup that takes an address. The program decides whether the call goes on.
    CgroupAddress {
        /// The cgroup's directory.
        cgroup: Name,
        /// Which call.
        call: AddressCall,
    },
}

/// Where in a function a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// At its first instruction.
    Entry,
    /// At its return.
    Return,
    /// At both, by one program that the kernel tells which it is: since Linux 6.10 for kernel functions, 6.13 for user functions.
    Session,
}

/// Which packets of a cgroup's sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Received ones.
    Ingress,
    /// Sent ones.
    Egress,
}

/// A call that takes an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressCall {
    /// bind(2), IPv4.
    Bind4,
    /// bind(2), IPv6.
    Bind6,
    /// connect(2), IPv4.
    Connect4,
    /// connect(2), IPv6.
    Connect6,
    /// sendmsg(2) of UDP, IPv4.
    Sendmsg4,
    /// sendmsg(2) of UDP, IPv6.
    Sendmsg6,
}

impl At {
    /// Whether it is an iterator: it runs when it is read, and not when something happens.
    pub const fn is_iterator(&self) -> bool {
        matches!(self, Self::Iterator(_))
    }

    /// The usual word for this kind of place, as libbpf and bpftool have it.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::RawTracepoint(_) => "raw_tp",
            Self::TypedTracepoint(_) => "tp_btf",
            Self::FunctionEntry(_) => "fentry",
            Self::FunctionReturn(_) => "fexit",
            Self::FunctionVerdict(_) => "fmod_ret",
            Self::KernelFunctions { side, .. } => match side {
                Side::Entry => "kprobe.multi",
                Side::Return => "kretprobe.multi",
                Side::Session => "kprobe.session",
            },
            Self::Iterator(_) => "iter",
            Self::UserFunction { side, .. } => match side {
                Side::Entry => "uprobe.multi",
                Side::Return => "uretprobe.multi",
                Side::Session => "uprobe.session",
            },
            Self::CgroupPackets { direction, .. } => match direction {
                Direction::Ingress => "cgroup_skb/ingress",
                Direction::Egress => "cgroup_skb/egress",
            },
            Self::CgroupAddress { call, .. } => match call {
                AddressCall::Bind4 => "cgroup/bind4",
                AddressCall::Bind6 => "cgroup/bind6",
                AddressCall::Connect4 => "cgroup/connect4",
                AddressCall::Connect6 => "cgroup/connect6",
                AddressCall::Sendmsg4 => "cgroup/sendmsg4",
                AddressCall::Sendmsg6 => "cgroup/sendmsg6",
            },
        }
    }
}

/// The kind and the target: `raw_tp sys_enter`.
impl core::fmt::Display for At {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let word = self.word();
        match self {
            Self::RawTracepoint(name)
            | Self::TypedTracepoint(name)
            | Self::FunctionEntry(name)
            | Self::FunctionReturn(name)
            | Self::FunctionVerdict(name)
            | Self::Iterator(name) => write!(f, "{word} {name}"),
            Self::KernelFunctions { functions, .. } => write!(f, "{word} {functions}"),
            Self::UserFunction { object, symbol, .. } => write!(f, "{word} {object}:{symbol}"),
            Self::CgroupPackets { cgroup, .. } | Self::CgroupAddress { cgroup, .. } => {
                write!(f, "{word} {cgroup}")
            }
        }
    }
}

impl Names {
    /// One of the names.
    pub fn get(&self, at: usize) -> Option<&str> {
        match self {
            Self::Fixed(names) => names.get(at).copied(),
            #[cfg(feature = "user")]
            Self::Found(names) => names.get(at).map(std::string::String::as_str),
        }
    }

    /// Every name, in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..).map_while(|at| self.get(at))
    }
}

/// The first names, and how many more there are: `vfs_read, vfs_write, vfs_open and 7 more`.
impl core::fmt::Display for Names {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        const SHOWN: usize = 3;
        for (at, name) in self.iter().take(SHOWN).enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{name}")?;
        }
        match self.iter().skip(SHOWN).count() {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

impl core::fmt::Display for Point {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.at.fmt(f)
    }
}

impl Point {
    /// A point and its program.
    pub const fn new(at: At, program: &'static str) -> Self {
        Self {
            at,
            program,
            arguments: &[],
            option: None,
            high_resolution: false,
        }
    }

    /// The same point with another program: where two programs have one target.
    pub const fn by(mut self, program: &'static str) -> Self {
        self.program = program;
        self
    }

    /// The same point, only where arguments have these types: `(position from 0, type as C writes it without const)`.
    pub const fn with(mut self, arguments: &'static [(u8, &'static str)]) -> Self {
        self.arguments = arguments;
        self
    }

    /// The same point, attached only if an option is on: that of this kernel global.
    pub const fn if_on(mut self, global: &'static str) -> Self {
        self.option = Some(global);
        self
    }

    /// The same point, only where the kernel's timers have a high resolution.
    pub const fn if_high_resolution(mut self) -> Self {
        self.high_resolution = true;
        self
    }
}

#[cfg(feature = "user")]
const fn name(text: &'static str) -> Name {
    std::borrow::Cow::Borrowed(text)
}
#[cfg(not(feature = "user"))]
const fn name(text: &'static str) -> Name {
    text
}

/// A tracepoint. Its program has the tracepoint's name.
pub const fn raw_tp(target: &'static str) -> Point {
    Point::new(At::RawTracepoint(name(target)), target)
}

/// A tracepoint with typed arguments. Its program has the tracepoint's name.
pub const fn tp_btf(target: &'static str) -> Point {
    Point::new(At::TypedTracepoint(name(target)), target)
}

/// A kernel function's entry. Its program has the function's name.
pub const fn fentry(target: &'static str) -> Point {
    Point::new(At::FunctionEntry(name(target)), target)
}

/// A kernel function's return. Its program has the function's name.
pub const fn fexit(target: &'static str) -> Point {
    Point::new(At::FunctionReturn(name(target)), target)
}

/// A kernel function whose result the program may replace by an error. Its program has the function's name.
pub const fn fmod_ret(target: &'static str) -> Point {
    Point::new(At::FunctionVerdict(name(target)), target)
}

/// Kernel functions at their entry, all by one program.
pub const fn kprobe(functions: &'static [&'static str], program: &'static str) -> Point {
    kernel(functions, Side::Entry, program)
}

/// Kernel functions at their return, all by one program.
pub const fn kretprobe(functions: &'static [&'static str], program: &'static str) -> Point {
    kernel(functions, Side::Return, program)
}

/// Kernel functions at their entry and their return, all by one program.
pub const fn kprobe_session(functions: &'static [&'static str], program: &'static str) -> Point {
    kernel(functions, Side::Session, program)
}

const fn kernel(functions: &'static [&'static str], side: Side, program: &'static str) -> Point {
    let functions = Names::Fixed(functions);
    Point::new(At::KernelFunctions { functions, side }, program)
}

/// An iterator. Its program has the iterator's name.
pub const fn iter(target: &'static str) -> Point {
    Point::new(At::Iterator(name(target)), target)
}

/// A function of user space, at its entry. Its program has the function's name.
pub const fn uprobe(object: &'static str, symbol: &'static str) -> Point {
    user(object, symbol, Side::Entry)
}

/// A function of user space, at its return. Its program has the function's name.
pub const fn uretprobe(object: &'static str, symbol: &'static str) -> Point {
    user(object, symbol, Side::Return)
}

const fn user(object: &'static str, symbol: &'static str, side: Side) -> Point {
    Point::new(
        At::UserFunction {
            object: name(object),
            symbol: name(symbol),
            side,
        },
        symbol,
    )
}

#[cfg(all(test, feature = "user"))]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn a_point_at_many_functions_shows_the_first_ones_and_how_many_more_there_are() {
        assert_eq!(kprobe(&["a"], "p").to_string(), "kprobe.multi a");
        assert_eq!(
            kretprobe(&["a", "b"], "p").to_string(),
            "kretprobe.multi a, b"
        );
        let many = Names::Found(["a", "b", "c", "d", "e"].map(ToString::to_string).to_vec());
        let at = At::KernelFunctions {
            functions: many,
            side: Side::Session,
        };
        assert_eq!(at.to_string(), "kprobe.session a, b, c and 2 more");
    }
}
