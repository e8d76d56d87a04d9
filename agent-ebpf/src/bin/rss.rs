//! Kernel side of `rss`. Columns and options: `tracers/src/catalogue/rss.rs`.
#![no_std]
#![no_main]
use agent_ebpf::{
    ANON, CGROUP_KN, CSS_SET_DFL, FILE, IteratorContext, KERNFS_ID, Loss, SHMEM, SWAP,
    TASK_CGROUPS, TASK_COMM, TASK_PID, TASK_TGID, book, comm, kernel_fields, mm_of_process,
    rss_pages, selected_task, write_row,
};
use aya_ebpf::Global;
use tracers::{Pid, Target, Text16, program, rss::Rss};

#[unsafe(no_mangle)]
static MIN_BYTES: Global<u64> = Global::new(0);
/// Bytes of a page; the loader fills it in.
#[unsafe(no_mangle)]
static PAGE_BYTES: Global<u64> = Global::new(4096);

kernel_fields! {
    MM_PEAK = mm_struct.hiwater_rss: u64;
}

/// Of every thread.
#[program(iter = "task")]
fn rss(ctx: &IteratorContext) {
    let task = ctx.object();
    if task.is_null() || is_leader(task) != Ok(true) {
        return;
    }
    if let Some(target) = selected_task(task) {
        book(process(ctx, task, target));
    }
}

#[inline(always)]
fn is_leader(task: *const u8) -> Result<bool, i32> {
    Ok(TASK_TGID.read(task)? == TASK_PID.read(task)?)
}

#[inline(always)]
fn process(ctx: &IteratorContext, task: *const u8, target: Target) -> Result<bool, Loss> {
    let mm = mm_of_process(task)?;
    if mm.is_null() {
        // A thread of the kernel, or a process that has given its memory back and waits to be waited for.
        return Ok(false);
    }
    let page = PAGE_BYTES.load();
    let anon_bytes = rss_pages(mm, &ANON)? * page;
    let file_bytes = rss_pages(mm, &FILE)? * page;
    let shmem_bytes = rss_pages(mm, &SHMEM)? * page;
    let rss_bytes = anon_bytes + file_bytes + shmem_bytes;
    if rss_bytes < MIN_BYTES.load() {
        return Ok(false);
    }
    let noted = MM_PEAK.read(mm)? * page;
    let cgroup = CSS_SET_DFL.read(TASK_CGROUPS.read(task)?)?;
    write_row(
        ctx,
        &Rss {
            pid: Pid(TASK_TGID.read(task)?),
            target,
            comm: Text16(comm(TASK_COMM.of(task))?),
            cgroup: KERNFS_ID.read(CGROUP_KN.read(cgroup)?)?,
            rss_bytes,
            anon_bytes,
            file_bytes,
            shmem_bytes,
            swap_bytes: rss_pages(mm, &SWAP)? * page,
            peak_bytes: if noted > rss_bytes { noted } else { rss_bytes },
        },
    )
}
