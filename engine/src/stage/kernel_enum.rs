//! Conversion of a kernel enum's numbers to this kernel's names: they differ between versions and vendors.

use crate::btf::Btf;
use std::collections::HashMap;
use tracers::{Batch, Data, Kind, Value};

/// The constants of one enum.
pub(super) struct KernelEnum {
    names: HashMap<u64, String>,
}

impl KernelEnum {
    /// Reads the enum of this name; empty if the kernel does not have it.
    pub(super) fn of(btf: &Btf, name: &str) -> Self {
        Self {
            names: btf.constants(name).into_iter().collect(),
        }
    }

    /// Names the numbers of a column. A number without a name stays a number.
    pub(super) fn resolve(&self, batch: &mut Batch, column: usize) {
        let mut named = Data::of(Kind::Text);
        for row in 0..batch.rows() {
            let pushed = match batch.value(column, row) {
                Value::Unsigned(number) => match self.names.get(&number) {
                    Some(name) => named.push(Value::Bytes(name.as_bytes(), false)),
                    None => {
                        let digits = number.to_string();
                        named.push(Value::Bytes(digits.as_bytes(), false))
                    }
                },
                value @ Value::Bytes(..) => named.push(value),
                Value::Signed(_) | Value::List(_) | Value::Frames(_) => false,
            };
            debug_assert!(pushed, "constants are numbers from 0");
            if !pushed {
                return;
            }
        }
        batch.columns[column] = named;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_names_that_this_kernel_gives_them_and_others_stay_numbers() {
        let names = KernelEnum::of(&Btf::of_kernel().unwrap(), "pid_type");
        let numbers = Data::Unsigned(vec![0, 1, 70_000]);
        let mut batch = Batch::from_columns(vec![numbers], Vec::new());
        names.resolve(&mut batch, 0);
        let text = |row| batch.value(0, row);
        assert_eq!(text(0), Value::Bytes(b"PIDTYPE_PID", false));
        assert_eq!(text(1), Value::Bytes(b"PIDTYPE_TGID", false));
        assert_eq!(text(2), Value::Bytes(b"70000", false));
    }

    #[test]
    fn an_enum_that_the_kernel_does_not_have_leaves_numbers() {
        let names = KernelEnum::of(&Btf::of_kernel().unwrap(), "no_such_enum");
        let mut batch = Batch::from_columns(vec![Data::Unsigned(vec![3])], Vec::new());
        names.resolve(&mut batch, 0);
        assert_eq!(batch.value(0, 0), Value::Bytes(b"3", false));
    }
}
