//! Kernel side of `oom_kill`. Columns and options: `tracers/src/oom_kill.rs`.
#![no_std]
#![no_main]
use agent_ebpf::{
    Loss, TASK_CGROUPS, TASK_MM, TASK_SIGNAL, TASK_TGID, book, comm, controller_cgroup,
    current_task, emit, kernel_enums, kernel_fields, selected, task_selected,
};
use aya_ebpf::{
    Global,
    helpers::{bpf_probe_read_kernel, generated::bpf_ktime_get_boot_ns},
    programs::{FEntryContext, RawTracePointContext},
};
use tracers::{Target, Text16, Time, oom_kill::OomKill, program};

/// Bytes of a page; the loader fills it in.
#[unsafe(no_mangle)]
static PAGE_BYTES: Global<u64> = Global::new(4096);

kernel_fields! {
    TASK_COMM = task_struct.comm: u8;
    TASK_CRED = task_struct.real_cred: *const u8;
    CRED_EUID = cred.euid: u32;
    SIGNAL_ADJ = signal_struct.oom_score_adj: i16;
    MM_TOTAL_VM = mm_struct.total_vm: u64;
    MM_PGTABLES = mm_struct.pgtables_bytes: i64;
    MM_RSS = mm_struct.rss_stat: u8;
    // Until 6.2 the counters are plain, since then per CPU with a sum that lags a little.
    optional RSS_PLAIN = mm_rss_stat.count: u8;
    optional PERCPU_COUNT = percpu_counter.count: i64;
    optional PERCPU_LAST = percpu_counter.counters: u64;
}
use agent_ebpf::{CGROUP_KN, KERNFS_ID};

kernel_enums! {
    MEMORY_CGROUP = memory_cgrp_id;
    ANON = MM_ANONPAGES;
    FILE = MM_FILEPAGES;
    SHMEM = MM_SHMEMPAGES;
    SWAP = MM_SWAPENTS;
}

/// `(struct task_struct *task, uid_t uid)`.
#[program(raw_tp = "mark_victim")]
fn mark_victim(ctx: &RawTracePointContext) {
    on_victim(ctx.arg(0));
}

/// `static void __oom_kill_process(struct task_struct *victim, const char *message)`, mm/oom_kill.c.
#[program(fentry = "__oom_kill_process")]
fn __oom_kill_process(ctx: &FEntryContext) {
    on_victim(ctx.arg(0));
}

/// `static void mark_oom_victim(struct task_struct *tsk)`, mm/oom_kill.c.
#[program(fentry = "mark_oom_victim")]
fn mark_oom_victim(ctx: &FEntryContext) {
    on_victim(ctx.arg(0));
}

#[inline(always)]
fn on_victim(victim: *const u8) {
    match task_selected(victim) {
        Ok(target) => {
            if let Some(target) = target.or_else(selected) {
                book(row_of(victim, target));
            }
        }
        Err(error) => book(Err(error.into())),
    }
}

#[inline(always)]
fn row_of(victim: *const u8, target: Target) -> Result<bool, Loss> {
    let mm = TASK_MM.read(victim)?;
    let page = PAGE_BYTES.load();
    let cgroup = controller_cgroup(TASK_CGROUPS.read(victim)?, MEMORY_CGROUP.load())?;
    let task = current_task(target);
    emit(
        task.cgroup,
        &OomKill {
            // SAFETY: the helper only returns a number.
            time: Time(unsafe { bpf_ktime_get_boot_ns() }),
            victim_pid: TASK_TGID.read(victim)?,
            victim_uid: CRED_EUID.read(TASK_CRED.read(victim)?)?,
            victim_comm: Text16(comm(TASK_COMM.of(victim))?),
            anon_rss_bytes: pages(mm, ANON.load())? * page,
            file_rss_bytes: pages(mm, FILE.load())? * page,
            shmem_rss_bytes: pages(mm, SHMEM.load())? * page,
            swap_bytes: pages(mm, SWAP.load())? * page,
            total_vm_bytes: MM_TOTAL_VM.read(mm)? * page,
            page_table_bytes: MM_PGTABLES.read(mm)? as u64,
            victim_memory_cgroup: KERNFS_ID.read(CGROUP_KN.read(cgroup)?)?,
            victim_oom_score_adj: i32::from(SIGNAL_ADJ.read(TASK_SIGNAL.read(victim)?)?),
            _pad: 0,
            task,
        },
    )
}

/// Counter `which` of an address space, in pages.
#[inline(always)]
fn pages(mm: *const u8, which: u32) -> Result<u64, i32> {
    let base = MM_RSS.of(mm);
    let at = if RSS_PLAIN.exists() {
        base.wrapping_add(which as usize * 8)
    } else {
        // `counters` is the last member of `struct percpu_counter`.
        let each = PERCPU_LAST.of(core::ptr::null()) as usize + 8;
        PERCPU_COUNT
            .of(base.wrapping_add(which as usize * each))
            .cast()
    };
    // SAFETY: the helper checks the address.
    let count: i64 = unsafe { bpf_probe_read_kernel(at.cast()) }?;
    Ok(if count < 0 { 0 } else { count as u64 })
}
