//! The maximum depth of recorded stacks, and the resulting sizes of the maps of stacks.

use object::{Object, ObjectSection, ObjectSymbol};
use tracers::{
    Kind, Plan,
    control::{FRAMES, KernelHead, UserFrame, UserHead},
};

/// The kernel's default: PERF_MAX_STACK_DEPTH, include/uapi/linux/perf_event.h.
pub(crate) const USUAL: u32 = 127;

/// Returns the maximum frames of a recorded stack. The kernel refuses to change its limit while a program that takes stacks is loaded
/// (perf_event_max_stack_handler, kernel/events/callchain.c).
pub(crate) fn depth() -> u32 {
    let limit = std::fs::read_to_string("/proc/sys/kernel/perf_event_max_stack");
    let limit = limit.ok().and_then(|limit| limit.trim().parse().ok());
    limit.unwrap_or(USUAL).clamp(1, FRAMES as u32)
}

/// A map of stacks: its name, the bytes of a frame, and its entries for stacks of the usual depth.
struct Stacks {
    name: &'static str,
    used_by: fn(&Kind) -> bool,
    frame_bytes: u32,
    entries: u32,
}

/// Bytes before the frames of a stack.
const HEAD: u32 = size_of::<UserHead>() as u32;
const _: () = assert!(size_of::<KernelHead>() == size_of::<UserHead>());

const MAPS: [Stacks; 2] = [
    Stacks {
        name: "USER_STACKS",
        used_by: |kind| matches!(kind, Kind::UserStack),
        frame_bytes: size_of::<UserFrame>() as u32,
        entries: 8192,
    },
    Stacks {
        name: "KERNEL_STACKS",
        used_by: |kind| matches!(kind, Kind::KernelStack),
        frame_bytes: 8,
        entries: 4096,
    },
];

/// Returns the entries of the maps of stacks: fewer for deeper stacks, in the same memory, and none for a tracer without stacks.
pub(super) fn entries(plan: &Plan, depth: u32) -> [(&'static str, u32); 2] {
    let has = |used_by: fn(&Kind) -> bool| plan.columns().any(|one| used_by(&one.kind));
    MAPS.map(|map| {
        let entries = match has(map.used_by) {
            true => map.entries * USUAL / depth.max(USUAL),
            false => 1,
        };
        (map.name, entries)
    })
}

/// Returns the bytes of a stack in each of these maps: a word and its frames.
pub(crate) fn value_bytes(depth: u32) -> [(&'static str, u32); 2] {
    MAPS.map(|map| (map.name, HEAD + depth * map.frame_bytes))
}

/// Returns the object with maps of stacks for this depth.
pub(super) fn with_depth(elf: &[u8], depth: u32) -> Vec<u8> {
    let mut changed = elf.to_vec();
    let Ok(file) = object::File::parse(elf) else {
        // The loader reports what is wrong with it.
        return changed;
    };
    let maps = file.section_by_name("maps");
    let Some((maps, (start, _))) = maps.and_then(|maps| Some((maps.index(), maps.file_range()?)))
    else {
        return changed;
    };
    for (name, bytes) in value_bytes(depth) {
        let symbol = file.symbols().find(|symbol| symbol.name() == Ok(name));
        if let Some(symbol) = symbol.filter(|symbol| symbol.section_index() == Some(maps)) {
            // `bpf_map_def`: type, size of a key, size of a value.
            let at = (start + symbol.address()) as usize + 8;
            if let Some(size) = changed.get_mut(at..at + 4) {
                size.copy_from_slice(&bytes.to_le_bytes());
            }
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object;

    #[test]
    fn stacks_of_every_depth_take_about_the_same_memory() {
        let plan = tracers::Spec::new("page_fault").unwrap().plan();
        let bytes = |depth| {
            let entries = entries(&plan, depth);
            let sizes = value_bytes(depth);
            let each = entries.iter().zip(sizes);
            each.map(|((_, entries), (_, bytes))| u64::from(entries * bytes))
                .sum::<u64>()
        };
        assert!(bytes(10) < bytes(127));
        assert!((bytes(127) * 98 / 100..=bytes(127)).contains(&bytes(511)));
    }

    #[test]
    fn a_depth_changes_the_values_of_the_maps_of_stacks_and_nothing_else() {
        let elf = object("page_fault").unwrap();
        assert_eq!(with_depth(elf, FRAMES as u32), elf);
        let changed = with_depth(elf, 127);
        let different = elf.iter().zip(&changed).filter(|(a, b)| a != b).count();
        assert!((2..=8).contains(&different), "{different}");
    }
}
