//! The vDSO, from our own memory: the kernel maps the same one into every process of our kind.

use super::{
    Symbolizer,
    files::FileId,
    maps::{self, Backing},
};
use rustix::fs::{MemfdFlags, memfd_create};
use std::{
    fs::{self, File},
    os::{fd::OwnedFd, unix::fs::FileExt},
};

/// The vDSO is two pages of code on x86-64 (v6.18).
const BYTES_MAX: u64 = 1 << 20;

impl Symbolizer {
    pub(super) fn vdso(&mut self) -> Option<FileId> {
        if self.vdso.is_none() {
            self.vdso = Some(copy().map(|file| self.files.add_memory("[vdso]", file)));
        }
        self.vdso.flatten()
    }
}

fn copy() -> Option<OwnedFd> {
    let mappings = maps::mappings(&fs::read("/proc/self/maps").ok()?);
    let vdso = mappings
        .iter()
        .find(|mapping| mapping.backing == Backing::Vdso)?;
    let count = (vdso.end - vdso.start).min(BYTES_MAX);
    let mut bytes = vec![0; count as usize];
    // Reading our own memory as a file needs no pointer.
    File::open("/proc/self/mem")
        .ok()?
        .read_exact_at(&mut bytes, vdso.start)
        .ok()?;
    let file = File::from(memfd_create("vdso", MemfdFlags::CLOEXEC).ok()?);
    file.write_all_at(&bytes, 0).ok()?;
    Some(file.into())
}
