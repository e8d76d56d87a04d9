//! Kernel side of `oom_kill`. Columns and options: `tracers/src/catalogue/oom_kill.rs`.
#![no_std]
#![no_main]
use agent_ebpf::{
    ANON, FILE, Loss, SHMEM, SWAP, TASK_CGROUPS, TASK_COMM, TASK_MM, TASK_SIGNAL, TASK_TGID, book,
    comm, controller_cgroup, current_task, emit, kernel_enums, kernel_fields, now, rss_pages,
    selected, task_selected,
};
use aya_ebpf::{
    Global,
    programs::{FEntryContext, RawTracePointContext},
};
use tracers::{Target, Text16, Time, oom_kill::OomKill, program};

/// Bytes of a page; the loader fills it in.
#[unsafe(no_mangle)]
static PAGE_BYTES: Global<u64> = Global::new(4096);

kernel_fields! {
    TASK_CRED = task_struct.real_cred: *const u8;
    CRED_EUID = cred.euid: u32;
    SIGNAL_ADJ = signal_struct.oom_score_adj: i16;
    MM_TOTAL_VM = mm_struct.total_vm: u64;
    MM_PGTABLES = mm_struct.pgtables_bytes: i64;
}
use agent_ebpf::{CGROUP_KN, KERNFS_ID};

kernel_enums! {
    MEMORY_CGROUP = memory_cgrp_id;
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
            time: Time(now()),
            victim_pid: TASK_TGID.read(victim)?,
            victim_uid: CRED_EUID.read(TASK_CRED.read(victim)?)?,
            victim_comm: Text16(comm(TASK_COMM.of(victim))?),
            anon_rss_bytes: rss_pages(mm, &ANON)? * page,
            file_rss_bytes: rss_pages(mm, &FILE)? * page,
            shmem_rss_bytes: rss_pages(mm, &SHMEM)? * page,
            swap_bytes: rss_pages(mm, &SWAP)? * page,
            total_vm_bytes: MM_TOTAL_VM.read(mm)? * page,
            page_table_bytes: MM_PGTABLES.read(mm)? as u64,
            victim_memory_cgroup: KERNFS_ID.read(CGROUP_KN.read(cgroup)?)?,
            victim_oom_score_adj: i32::from(SIGNAL_ADJ.read(TASK_SIGNAL.read(victim)?)?),
            _pad: 0,
            task,
        },
    )
}
