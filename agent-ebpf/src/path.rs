//! Paths in the kernel: from a directory entry up to the process's root, across mounts.

use crate::{Loss, Record, forget, kernel_fields, read_both};
use tracers::{Event, Tail};

kernel_fields! {
    TASK_FILES = task_struct.files: *const u8;
    FILES_FDT = files_struct.fdt: *const u8;
    FDT_FD = fdtable.fd: *const u8;
    FDT_MAX = fdtable.max_fds: u32;
    FILE_PATH = file.f_path: u8;
    PATH_MNT = path.mnt: *const u8;
    PATH_DENTRY = path.dentry: *const u8;
    TASK_FS = task_struct.fs: *const u8;
    FS_ROOT = fs_struct.root: u8;
    MOUNT_MNT = mount.mnt: u8;
    MOUNT_PARENT = mount.mnt_parent: *const u8;
    MOUNT_POINT = mount.mnt_mountpoint: *const u8;
    MNT_ROOT = vfsmount.mnt_root: *const u8;
    DENTRY_PARENT = dentry.d_parent: *const u8;
    DENTRY_NAME = dentry.d_name.name: *const u8;
}

/// Maximum components and mounts of a path. Longer paths are cut at the start.
const STEPS: usize = 40;

/// Returns the open file of a descriptor of another task's process.
///
/// # Errors
/// If the kernel's structures cannot be read, or there is no such file.
#[inline(always)]
pub fn file_of_task(task: *const u8, fd: u64) -> Result<*const u8, i32> {
    let fdt = FILES_FDT.read(TASK_FILES.read(task)?)?;
    if fd >= u64::from(FDT_MAX.read(fdt)?) {
        return Err(-9);
    }
    let slot = FDT_FD.read(fdt)?.wrapping_add(fd as usize * 8);
    // SAFETY: the helper checks the address.
    let file: *const u8 = unsafe { aya_ebpf::helpers::bpf_probe_read_kernel(slot.cast()) }?;
    if file.is_null() { Err(-9) } else { Ok(file) }
}

/// Returns the open file of a descriptor of the current process.
#[inline(always)]
pub fn file_of(fd: u64) -> Result<*const u8, i32> {
    let fdt = FILES_FDT.load(TASK_FILES.of_current_task()?)?;
    if fd >= u64::from(FDT_MAX.load(fdt)?) {
        return Err(-9);
    }
    let slot = FDT_FD.load(fdt)?.wrapping_add(fd as usize * 8);
    // SAFETY: the helper checks the address.
    let file: *const u8 = unsafe { aya_ebpf::helpers::bpf_probe_read_kernel(slot.cast()) }?;
    if file.is_null() { Err(-9) } else { Ok(file) }
}

/// Appends the path of an open file (`struct file`).
#[inline(always)]
pub fn file_path(file: *const u8) -> *const u8 {
    FILE_PATH.of(file)
}

/// Appends the path at `path` (a kernel `struct path`), component by component from the leaf.
///
/// # Errors
/// If the kernel's structures cannot be read.
#[inline(always)]
pub fn append_path<T: Event>(record: &mut Record<T>, path: *const u8) -> Result<Tail, Loss> {
    let start = record.used();
    let root = FS_ROOT.of(TASK_FS.of_current_task()?);
    let (root_mnt, root_dentry) = (PATH_MNT.load(root)?, PATH_DENTRY.load(root)?);
    let (mut mnt, mut dentry) = read_both::<_, _, 2>(path, &PATH_MNT, &PATH_DENTRY)?;
    let mut flags = Tail::PARTS | Tail::CUT;
    for _ in 0..STEPS {
        // Whichever way one comes here, the step is one.
        record.forget_used();
        if dentry == root_dentry && mnt == root_mnt {
            flags = Tail::PARTS;
            break;
        }
        if dentry == MNT_ROOT.read(mnt)? {
            let mount = MOUNT_MNT.container(mnt);
            let (parent, point) = read_both::<_, _, 2>(mount, &MOUNT_PARENT, &MOUNT_POINT)?;
            if parent == mount {
                flags = Tail::PARTS;
                break;
            }
            dentry = point;
            mnt = MOUNT_MNT.of(parent);
            continue;
        }
        let (parent, name) = read_both::<_, _, 3>(dentry, &DENTRY_PARENT, &DENTRY_NAME)?;
        if !record.kernel_name(name)? {
            break;
        }
        if parent == dentry {
            // A file of no directory: a pipe, a memfd.
            flags = Tail::PARTS;
            break;
        }
        dentry = parent;
    }
    // However the loop was left, the rest is the same.
    record.forget_used();
    Ok(record.since(start, forget(flags.into()) as u32))
}
