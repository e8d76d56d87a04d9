//! The programs of an object as the kernel takes them: relocated against the maps that aya has made.
//!
//! aya-obj parses and relocates. What kind of program each one is is the point's to say (`agent/src/point`), not the section's name, so
//! kinds of program work here that aya does not know.

use super::chain;
use crate::{
    Kernel,
    bpf::{self, Code, Debug, Instructions, Refused, Sort},
};
use aya_obj::{Object, btf::BtfFeature};
use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

/// The programs of one object, until they are loaded.
pub(crate) struct Programs {
    object: Object,
    types: Option<OwnedFd>,
}

impl Programs {
    /// Relocates the programs of an object; `map` gives the descriptor of a map by its name.
    ///
    /// # Errors
    /// A sentence for the error of the load.
    pub(crate) fn of<'a>(
        elf: &[u8],
        kernel: &Kernel,
        map: impl Fn(&str) -> Option<BorrowedFd<'a>>,
    ) -> Result<Self, String> {
        let mut object = Object::parse(elf).map_err(|error| chain(&error))?;
        let version = kernel.version();
        let supported = |feature| match feature {
            BtfFeature::Func
            | BtfFeature::FuncGlobal
            | BtfFeature::DataSec
            | BtfFeature::DataSecZero => true,
            BtfFeature::Float => version >= (5, 13),
            BtfFeature::DeclTag => version >= (5, 16),
            BtfFeature::TypeTag => version >= (5, 17),
            BtfFeature::Enum64 => version >= (6, 0),
        };
        let types = match object
            .fixup_and_sanitize_btf(|| Some(supported))
            .map_err(|error| chain(&error))?
        {
            Some(btf) => Some(bpf::load_types(&btf.to_bytes()).map_err(|error| chain(&error))?),
            None => None,
        };
        let maps = std::mem::take(&mut object.maps);
        let maps = maps.iter().map(|(name, definition)| {
            let fd = map(name).ok_or_else(|| format!("its map {name} was not made"))?;
            Ok((name.as_str(), fd.as_raw_fd(), definition))
        });
        let maps = maps.collect::<Result<Vec<_>, String>>()?;
        let text = (object.functions.keys())
            .map(|(section, _)| *section)
            .collect();
        object
            .relocate_maps(maps.into_iter(), &text)
            .and_then(|()| object.relocate_calls(&text))
            .map_err(|error| chain(&error))?;
        Ok(Self { object, types })
    }

    /// Loads a program.
    pub(crate) fn load(&self, name: &str, sort: Sort) -> Result<OwnedFd, Refused> {
        let program = self.object.programs.get(name);
        let function = program.and_then(|one| self.object.functions.get(&one.function_key()));
        let function = function.ok_or_else(|| {
            let missing = format!("the object has no program {name}: a bug");
            Refused::new("loading it", io::Error::other(missing))
        })?;
        bpf::load(
            &Code {
                name,
                instructions: Instructions::Parsed(&function.instructions),
                debug: self.types.as_ref().map(|types| Debug {
                    types: types.as_fd(),
                    functions: (
                        function.func_info.func_info_bytes(),
                        function.func_info_rec_size,
                    ),
                    lines: (
                        function.line_info.line_info_bytes(),
                        function.line_info_rec_size,
                    ),
                }),
            },
            sort,
        )
    }
}
