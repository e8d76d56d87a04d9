//! Kernel addresses.

use super::{frames, symbolizer};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use std::{fs, thread};
use symbols::KernelUnnamed;

/// A function of the kernel, if we may see it.
fn function() -> Option<(u64, String)> {
    let symbols = fs::read_to_string("/proc/kallsyms").ok()?;
    let line = symbols
        .lines()
        .find(|line| line.ends_with(" do_syscall_64") || line.ends_with(" el0_svc"))?;
    let mut words = line.split(' ');
    let address = u64::from_str_radix(words.next()?, 16).ok()?;
    (address > 0).then(|| Some((address, words.nth(1)?.to_owned())))?
}

#[test]
fn a_kernel_function_has_its_name_for_those_who_may_see_it() {
    let Some((address, name)) = function() else {
        eprintln!("left out: it needs CAP_SYSLOG");
        return;
    };
    let mut symbolizer = symbolizer();
    let ids = symbolizer.kernel(&[address + 4, address + 1]);
    let frames = frames(&symbolizer, &ids);
    assert_eq!(
        (&*frames[0].name, &*frames[0].module, frames[0].offset),
        (&*name, "[kernel]", 4)
    );
    assert_eq!((&*frames[1].name, frames[1].offset), (&*name, 0));
    assert_eq!(symbolizer.kernel_unnamed(), None);
}

#[test]
fn without_the_right_no_frame_has_a_number_and_the_reason_is_told() {
    // Rights are a thread's own.
    let frame = thread::spawn(|| {
        let mut rights = capabilities(None).unwrap();
        rights.effective.remove(CapabilitySet::SYSLOG);
        set_capabilities(None, rights).unwrap();
        let mut symbolizer = symbolizer();
        let ids = symbolizer.kernel(&[0xffff_ffff_8100_0000, 0xffff_ffff_c003_2469]);
        (frames(&symbolizer, &ids), symbolizer.kernel_unnamed())
    });
    let (frames, reason) = frame.join().unwrap();
    // With kernel.kptr_restrict = 0 and perf_event_paranoid < 2 everybody may see them (kernel/ksyms_common.c, v6.12).
    let Some(reason) = reason else { return };
    assert_eq!(reason, KernelUnnamed::Hidden);
    for frame in frames {
        assert_eq!((&*frame.name, &*frame.module), ("[kernel]", "[kernel]"));
        assert_eq!(frame.offset, 0);
    }
}
