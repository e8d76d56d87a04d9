//! What `agent-ebpf/src/user_probe.rs` says of private stacks, put to this kernel.

use super::{Sort, object_info, try_load};
use crate::kernel::version;
use aya_obj::generated::{bpf_attach_type, bpf_prog_type};
use std::os::fd::{AsFd, OwnedFd};

const UPROBE_MULTI: Sort = Sort {
    program: bpf_prog_type::BPF_PROG_TYPE_KPROBE,
    attach: Some(bpf_attach_type::BPF_TRACE_UPROBE_MULTI),
    target: 0,
};
/// *(u64 *)(r10 - 128) = 0, with r1 = 0 before; then r0 = 0; exit.
const LARGE_STACK: [u64; 4] = [0x01b7, 0xff80_1a7b, 0xb7, 0x95];
/// r0 = 0; if r0 == 0 goto +1; call 12, bpf_tail_call: what `on_the_tasks_stack` is.
const NEVER_A_TAIL_CALL: [u64; 3] = [0xb7, 0x0001_0015, 12 << 32 | 0x85];
/// `add r9, gs:[…]`: how x86 finds a program's stack of this CPU (emit_priv_frame_ptr, arch/x86/net/bpf_jit_comp.c, v6.13).
const STACK_OF_THE_CPU: [u8; 5] = [0x65, 0x4c, 0x03, 0x0c, 0x25];

/// The machine code of a program; empty where the kernel does not show it.
fn machine_code(program: &OwnedFd) -> Vec<u8> {
    // Of `struct bpf_prog_info`: jited_prog_len at 16, jited_prog_insns at 24.
    let mut code = vec![0u8; 4096];
    let mut info = [0u8; 64];
    info[16..20].copy_from_slice(&(code.len() as u32).to_ne_bytes());
    info[24..32].copy_from_slice(&(code.as_mut_ptr() as u64).to_ne_bytes());
    object_info(program.as_fd(), &mut info).unwrap();
    let shown = u64::from_ne_bytes(info[24..32].try_into().unwrap()) != 0;
    let bytes = u32::from_ne_bytes(info[16..20].try_into().unwrap());
    code.truncate(if shown { bytes as usize } else { 0 });
    code
}

#[test]
fn a_tail_call_that_is_never_reached_keeps_a_program_off_the_stack_of_its_cpu() {
    let with = try_load(
        &[&NEVER_A_TAIL_CALL[..], &LARGE_STACK].concat(),
        UPROBE_MULTI,
    );
    let without = try_load(&LARGE_STACK, UPROBE_MULTI);
    let (Ok(with), Ok(without)) = (with, without) else {
        println!("SKIPPED: this needs CAP_BPF and CAP_PERFMON");
        return;
    };
    let has = |program| {
        let code = machine_code(program);
        let mut windows = code.windows(STACK_OF_THE_CPU.len());
        windows.any(|window| window == STACK_OF_THE_CPU)
    };
    assert!(!has(&with));
    let release = rustix::system::uname();
    let release = release.release().to_string_lossy().into_owned();
    // What it is against: else this test would say nothing.
    if cfg!(target_arch = "x86_64")
        && version(&release) >= (6, 13)
        && !machine_code(&without).is_empty()
    {
        assert!(
            has(&without),
            "{release} gives such programs no stack of their CPU any more"
        );
    }
}

#[test]
fn every_program_at_a_function_of_user_space_has_such_a_tail_call() {
    use ::object::{Object, ObjectSection, ObjectSymbol};
    let wanted: Vec<u8> = NEVER_A_TAIL_CALL
        .iter()
        .flat_map(|insn| insn.to_le_bytes())
        .collect();
    let mut checked = 0;
    for tracer in tracers::ALL {
        let elf = crate::object(tracer.name()).unwrap();
        let file = ::object::File::parse(elf).unwrap();
        for section in file.sections() {
            let name = section.name().unwrap();
            if !name.starts_with("uprobe") && !name.starts_with("uretprobe") {
                continue;
            }
            let code = section.data().unwrap();
            for program in file
                .symbols()
                .filter(|symbol| symbol.section_index() == Some(section.index()))
            {
                if program.kind() != ::object::SymbolKind::Text || program.size() == 0 {
                    continue;
                }
                let at = program.address() as usize;
                let own = &code[at..at + program.size() as usize];
                let mut windows = own.windows(wanted.len());
                assert!(
                    windows.any(|window| window == wanted),
                    "{}: {:?}",
                    tracer.name(),
                    program.name()
                );
                checked += 1;
            }
        }
    }
    assert!(checked > 0, "no tracer has such a program");
}
