//! Names places in one program file, through blazesym.

use super::{
    super::wire::{Detail, Found},
    image::{Image, ImageError},
};
use blazesym::symbolize::{
    CodeInfo, Input, Sym, Symbolized, Symbolizer,
    source::{Elf, Source},
};
use std::{
    fs::File,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
};

/// A program file that was taken.
#[derive(Debug)]
pub(super) struct Program {
    image: Image,
    path: PathBuf,
    blazesym: Symbolizer,
}

impl Program {
    pub(super) fn new(
        file: &File,
        debug: Option<&File>,
        detail: Detail,
    ) -> Result<Self, ImageError> {
        let image = Image::distil(file, debug, detail == Detail::Lines)?;
        let no_dirs: [&Path; 0] = [];
        Ok(Self {
            path: format!("/proc/self/fd/{}", image.file.as_raw_fd()).into(),
            image,
            blazesym: Symbolizer::builder()
                .set_debug_dirs(Some(no_dirs))
                .enable_auto_reload(false)
                .build(),
        })
    }

    /// The memory that the image takes, in bytes. What blazesym makes of it comes on top.
    pub(super) fn bytes(&self) -> u64 {
        self.image.bytes
    }

    pub(super) fn has_lines(&self) -> bool {
        self.image.has_lines
    }

    /// For each offset of the file its frames, innermost first; none without a name.
    pub(super) fn resolve(&self, offsets: &[u64]) -> Vec<Vec<Found>> {
        let mut frames = vec![Vec::new(); offsets.len()];
        let wanted: Vec<(usize, u64)> = offsets
            .iter()
            .enumerate()
            .filter_map(|(index, offset)| Some((index, self.image.address(*offset)?)))
            .collect();
        for ((index, _), found) in wanted.iter().zip(self.resolve_by(&wanted, false)) {
            frames[*index] = found;
        }
        if self.image.has_lines {
            // What debug information does not know, or is broken about, the symbol tables may.
            for ((index, _), found) in wanted.iter().zip(self.resolve_by(&wanted, true)) {
                better(&mut frames[*index], found);
            }
        }
        if let Some(go) = &self.image.go {
            for (index, address) in wanted
                .iter()
                .filter(|(index, _)| frames[*index].is_empty())
                .collect::<Vec<_>>()
            {
                frames[*index].extend(go.find(*address));
            }
        }
        frames
    }

    fn resolve_by(&self, wanted: &[(usize, u64)], debug_syms: bool) -> Vec<Vec<Found>> {
        let mut elf = Elf::new(&self.path);
        elf.debug_syms = debug_syms;
        let addresses: Vec<u64> = wanted.iter().map(|(_, address)| *address).collect();
        let symbols = self
            .blazesym
            .symbolize(&Source::Elf(elf), Input::VirtOffset(&addresses[..]));
        symbols
            .unwrap_or_default()
            .into_iter()
            .map(|symbol| match symbol {
                Symbolized::Sym(symbol) => found(symbol),
                Symbolized::Unknown(_) => Vec::new(),
            })
            .collect()
    }
}

/// Takes the frames that debug information has for those of the symbol table, but what this knows better.
fn better(frames: &mut Vec<Found>, mut lines: Vec<Found>) {
    let Some(function) = lines.last_mut() else {
        return;
    };
    if let Some(symbol) = frames.last() {
        // A function in several pieces has one offset for them all, from whichever comes first in memory.
        function.offset = symbol.offset;
        // Without linkage names, which some compilers leave out, `new` is all that is said of `Vec<T>::new`.
        if symbol.name.contains("::") && !function.name.contains("::") {
            function.name.clone_from(&symbol.name);
        }
    }
    *frames = lines;
}

/// blazesym tells of the function first and then of what is inlined into it; readers of stacks look from the inside.
fn found(symbol: Sym<'_>) -> Vec<Found> {
    if symbol.name.is_empty() {
        return Vec::new();
    }
    let function = frame(
        &symbol.name,
        symbol.offset as u64,
        symbol.code_info.as_deref(),
        false,
    );
    let inlined = symbol
        .inlined
        .iter()
        .rev()
        // Where an inlined function begins, its places in the code do not tell.
        .map(|inlined| frame(&inlined.name, 0, inlined.code_info.as_ref(), true));
    inlined.chain([function]).collect()
}

fn frame(name: &str, offset: u64, code: Option<&CodeInfo<'_>>, inlined: bool) -> Found {
    Found {
        name: name.into(),
        module: None,
        offset,
        file: code.map(|code| code.to_path().to_string_lossy().into_owned()),
        line: code.and_then(|code| code.line),
        inlined,
    }
}
