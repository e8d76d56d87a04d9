//! Conversion of kernel addresses to `function+0x1a`. An address that the node hides is `[kernel]`, as in stacks.

use std::collections::HashMap;
use symbols::Symbolizer;
use tracers::{Batch, Data, Kind, Value};

/// Names the addresses of a column; 0 is none.
pub(super) fn resolve(batch: &mut Batch, column: usize, symbolizer: &mut Symbolizer) {
    let mut known: HashMap<u64, String> = HashMap::new();
    let mut named = Data::of(Kind::Text);
    for row in 0..batch.rows() {
        let Value::Unsigned(address) = batch.value(column, row) else {
            // The column is converted already.
            return;
        };
        let name = known
            .entry(address)
            .or_insert_with(|| name(address, symbolizer));
        let pushed = named.push(Value::Bytes(name.as_bytes(), false));
        debug_assert!(pushed, "names are text");
    }
    batch.columns[column] = named;
}

fn name(address: u64, symbolizer: &mut Symbolizer) -> String {
    if address == 0 {
        return String::new();
    }
    let Some(id) = symbolizer.kernel(&[address]).first().copied() else {
        return "[kernel]".to_owned();
    };
    let frame = symbolizer.frames().get(id);
    match frame.offset {
        0 => frame.name.to_string(),
        offset => format!("{}+{offset:#x}", frame.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn no_address_has_no_name_and_one_outside_the_kernel_is_not_shown() {
        let addresses = Data::Unsigned(vec![0, 0x1234]);
        let mut batch = Batch::from_columns(vec![addresses], Vec::new());
        let mut symbolizer = Symbolizer::new();
        // After the deadline the symbolizer sends no request, so that it starts no worker.
        symbolizer.name_until(Some(Instant::now()));
        resolve(&mut batch, 0, &mut symbolizer);
        assert_eq!(batch.value(0, 0), Value::Bytes(b"", false));
        assert_eq!(batch.value(0, 1), Value::Bytes(b"[kernel]", false));
    }
}
