//! Parameters of an object before it is loaded: its globals, and the sizes of its maps.

use crate::{
    Error, Kernel, Limits, bpf, clock,
    kernel::wanted,
    point,
    select::{Selection, Shape},
};
use tracers::{Plan, Point, Source};

/// A global's name and value, and whether the object must have it.
pub(super) type Global = (String, Vec<u8>, bool);

/// Returns all kernel globals.
pub(super) fn globals(
    plan: &Plan,
    selection: &Selection,
    limits: &Limits,
    kernel: &Kernel,
    elf: &[u8],
    sets: &[Vec<Point>],
) -> Result<Vec<Global>, Error> {
    let ring_bytes = ring_bytes(limits);
    let again = again(plan, kernel);
    let preempted = |one: &Point| point::kind(&one.at).preempted();
    let shared = again || sets.iter().flatten().any(preempted);
    let word = |name: &str, value: u32| (name.to_owned(), value.to_ne_bytes().to_vec(), true);
    let long = |name: &str, value: u32| {
        let value = u64::from(value).to_ne_bytes().to_vec();
        (name.to_owned(), value, false)
    };
    let mut globals: Vec<_> = (plan.globals.iter())
        .map(|(name, value)| ((*name).to_owned(), value.clone(), true))
        .collect();
    globals.extend([
        word("SELECT", selection.shape().by),
        word("SELF", own_process()?),
        long("WAKE_BYTES", ring_bytes / 4),
        long("COPIES_WAKE_BYTES", ring_bytes / 4),
        // A single target may use the whole ring.
        long(
            "FREE_FOR_ALL",
            if selection.shape().shared {
                ring_bytes / 2
            } else {
                0
            },
        ),
        long("QUOTA_NS", 1_000_000_000 / limits.quota.max(1)),
        (
            "SAMPLES".to_owned(),
            vec![u8::from(limits.budget.samples())],
            false,
        ),
        long("PAGE_BYTES", page_bytes()),
        long("TICK_NS", clock::tick_ns()),
        ("AGAIN".to_owned(), vec![u8::from(again)], true),
        ("SHARED".to_owned(), vec![u8::from(shared)], true),
        (
            "TASK_HELPER".to_owned(),
            u32::from(kernel.has_task_helper()).to_ne_bytes().to_vec(),
            // Not every tracer reads fields of the task.
            false,
        ),
        (
            "REGISTERS_HELPER".to_owned(),
            u32::from(kernel.has_registers_helper())
                .to_ne_bytes()
                .to_vec(),
            // Nor its registers.
            false,
        ),
    ]);
    globals.extend(hierarchy_globals(plan.tracer, selection, kernel)?);
    // An optional field that is absent keeps the value that marks it as absent.
    globals.extend(
        wanted(elf)
            .into_iter()
            .filter_map(|wanted| Some((wanted.symbol.clone(), wanted.find(kernel)?, true))),
    );
    Ok(globals)
}

/// Returns the PID of this process in the kernel, which no trace selects.
fn own_process() -> Result<u32, Error> {
    bpf::own_process().map_err(|source| Error::Read {
        what: "the number that this process has for the kernel",
        source,
    })
}

/// Returns the hierarchy in which the kernel side searches for cgroups.
fn hierarchy_globals(
    tracer: &'static str,
    selection: &Selection,
    kernel: &Kernel,
) -> Result<[Global; 4], Error> {
    let (mut helper, mut controller, mut number) = (kernel.has_ancestor_helper(), 0, 0);
    let namespace = selection
        .hierarchy()
        .and_then(|hierarchy| hierarchy.namespace);
    // The helper counts from the hierarchy's root, and the depth of a cgroup namespace's root is unknown inside of it.
    helper &= namespace.is_none();
    if let Some(hierarchy) = selection.hierarchy()
        && let Some(subsystem) = hierarchy.subsystem
    {
        let index = kernel.btf.constant(subsystem);
        controller = 1 + index.ok_or_else(|| Error::Unsupported {
            tracer,
            reason: format!(
                "this kernel has no {subsystem}, which is required to identify the cgroups of targets"
            ),
        })?;
        number = hierarchy.number;
        // It knows version 2 only.
        helper = false;
    }
    let word = |name: &str, value: u32| (name.to_owned(), value.to_ne_bytes().to_vec(), true);
    Ok([
        word("ANCESTOR_HELPER", u32::from(helper)),
        word("CONTROLLER", controller),
        word("HIERARCHY", number),
        (
            "ROOT_CGROUP".to_owned(),
            namespace.unwrap_or(0).to_ne_bytes().to_vec(),
            true,
        ),
    ])
}

/// Returns whether every program has its second one.
pub(super) fn again(plan: &Plan, kernel: &Kernel) -> bool {
    kernel.preempts_at_tracepoints() || plan.nests
}

/// Returns a size that the kernel accepts for a ring: a power of two of at least a page.
fn ring_bytes(limits: &Limits) -> u32 {
    limits
        .ring_bytes
        .max(page_bytes())
        .checked_next_power_of_two()
        .unwrap_or(1 << 31)
}

/// Returns the sizes of maps that every object has. Unused maps have the minimum size.
pub(crate) fn sizes(
    plan: &Plan,
    shape: Shape,
    limits: &Limits,
    kernel: &Kernel,
    depth: u32,
) -> Vec<(&'static str, u32)> {
    let again = again(plan, kernel);
    let ring_bytes = ring_bytes(limits);
    let ring = match plan.has(Source::Ring) {
        true => ring_bytes,
        false => page_bytes(),
    };
    // As large as the ring of a tracer of events.
    let copies = match plan.copies_stacks() {
        true => ring_bytes,
        false => page_bytes(),
    };
    let mut sizes = vec![("EVENTS", ring), ("COPIES", copies)];
    sizes.extend(super::depth::entries(plan, depth));
    let unused = [
        ("CGROUPS", !shape.by_cgroup()),
        ("PODS", !shape.pods),
        ("PROCESSES", !shape.by_process()),
        ("QUOTAS", !shape.shared),
        // Only where nothing comes between: `agent-ebpf/src/rows.rs`.
        ("FIRST", again),
        ("SCRATCH", !again),
        ("KERNEL_SCRATCH", !again),
        ("USER_SCRATCH", !again),
    ];
    sizes.extend(
        unused
            .iter()
            .filter(|(_, unused)| *unused)
            .map(|(name, _)| (*name, 1)),
    );
    sizes
}

fn page_bytes() -> u32 {
    rustix::param::page_size() as u32
}
