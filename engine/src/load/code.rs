//! The programs of an object in the kernel's form: relocated against the maps that aya has created.
//!
//! aya-obj parses and relocates. The point (`engine/src/point`) determines the type of a program, not the section's name, so types without
//! support in aya work too.

use super::slots;
use crate::{
    Kernel,
    bpf::{self, Code, Debug, Instructions, Refused, Sort},
};
use aya_obj::{Object, btf::BtfFeature};
use rows::text::error_chain;
use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};
use tracers::{Instruction, Slot};

/// The programs of one object, until they are loaded.
pub(crate) struct Programs {
    object: Object,
    types: Option<OwnedFd>,
}

impl Programs {
    /// Relocates the programs of an object and fills their slots; `map` returns the descriptor of a map by its name.
    ///
    /// # Errors
    /// The reason, for the error of the load.
    pub(crate) fn of<'a>(
        elf: &[u8],
        kernel: &Kernel,
        slots: &BTreeMap<Slot, Vec<Instruction>>,
        map: impl Fn(&str) -> Option<BorrowedFd<'a>>,
    ) -> Result<Self, String> {
        let mut object = Object::parse(elf).map_err(|error| error_chain(&error))?;
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
            .map_err(|error| error_chain(&error))?
        {
            Some(btf) => {
                Some(bpf::load_types(&btf.to_bytes()).map_err(|error| error_chain(&error))?)
            }
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
            .map_err(|error| error_chain(&error))?;
        for (slot, with) in slots {
            fill(&mut object, *slot, with)?;
        }
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

/// Fills a slot of all programs that have it. A slot that no program has is an error: a filter would be ignored.
fn fill(object: &mut Object, slot: Slot, with: &[Instruction]) -> Result<(), String> {
    let programs: Vec<_> = { object.programs.values() }
        .map(|program| program.function_key())
        .collect();
    let mut filled = 0;
    for key in programs {
        if let Some(function) = object.functions.get_mut(&key) {
            filled += slots::fill(function, slot, with)?;
        }
    }
    match filled {
        0 => Err(format!(
            "its programs have no slot {slot:?}, which was to be filled: a bug"
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracers::{ALL, Form};

    #[test]
    fn tracers_of_events_have_the_slot_of_rows_and_a_slot_that_is_missing_is_an_error() {
        let with = [Instruction(0x0000_0001_0000_00b7)];
        for tracer in ALL {
            let name = tracer.name();
            let mut object = Object::parse(crate::object(name).unwrap()).unwrap();
            let filled = fill(&mut object, Slot::Row, &with);
            match tracer.source().form() {
                Form::Events => assert_eq!(filled, Ok(()), "{name}"),
                Form::Table => {
                    let missing = filled.unwrap_err();
                    assert!(missing.contains("have no slot Row"), "{name}: {missing}");
                }
            }
        }
    }
}
