//! Rows as comma-separated values: the forms are those of the crate `rows`.

use super::{Output, Wall};
use crate::show::sink::Sink;
use engine::Account;
use std::{io, time::Duration};
use tracers::{Batch, Column};

/// Comma-separated values.
#[derive(Debug)]
pub(crate) struct Csv {
    rows: rows::Csv<Sink>,
    /// Whether the state of a map is written at each interval, with its time, and not only at the end.
    intervals: bool,
}

impl Csv {
    /// Creates an output of rows with these columns.
    pub(crate) fn new(columns: &[Column], intervals: bool, to: Sink) -> Self {
        let escaped = to.is_terminal();
        Self {
            rows: rows::Csv::new(columns, intervals, escaped, to),
            intervals,
        }
    }
}

impl Output for Csv {
    fn rows(&mut self, batch: &Batch, wall: Wall) -> io::Result<()> {
        self.rows.write(batch, wall, None)
    }

    fn table(&mut self, batch: &Batch, wall: Wall, elapsed: Duration) -> io::Result<()> {
        match self.intervals {
            true => self.rows.write(batch, wall, Some(elapsed)),
            false => Ok(()),
        }
    }

    fn end(&mut self, tables: &[&Batch], wall: Wall, _: &Account) -> io::Result<Option<String>> {
        match tables.first().filter(|_| !self.intervals) {
            Some(table) => self.rows.write(table, wall, None)?,
            None => self.rows.head()?,
        }
        let to = self.rows.to();
        let written = to.path().map(|path| format!("{} written", path.display()));
        to.finish()?;
        Ok(written)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::fixture::*, *};

    #[test]
    fn texts_are_there_byte_for_byte_and_numbers_raw() {
        let bytes = written(|sink| {
            let mut csv = Csv::new(&event_columns(), false, sink);
            csv.rows(&events(), WALL).unwrap();
            csv.end(&[], WALL, &account()).unwrap();
        });
        let mut reader = csv::Reader::from_reader(bytes.as_slice());
        let head: Vec<String> = reader
            .headers()
            .unwrap()
            .iter()
            .map(str::to_owned)
            .collect();
        insta::assert_snapshot!(head.join(","), @"time,latency_ns,pid,tid,comm,daddr,rx_bytes,result,result_error,call,mode,score,flags,ok,args,args_cut,path,path_cut");
        let rows: Vec<csv::ByteRecord> = reader.byte_records().map(Result::unwrap).collect();
        let field =
            |row: usize, name: &str| &rows[row][head.iter().position(|head| head == name).unwrap()];
        assert_eq!(field(1, "comm"), b"evil\x1b[31m\n");
        assert_eq!(field(2, "comm"), b"ba\xffd");
        assert_eq!(field(1, "result_error"), b"ENOENT");
        assert_eq!(field(0, "result_error"), b"");
        assert_eq!(field(1, "args"), br"sh -c 'it'\''s'");
        assert_eq!(field(1, "path_cut"), b"true");
        assert_eq!(field(0, "time"), b"1700049600113000000");
    }

    #[test]
    fn counts_and_stacks_have_one_field_each() {
        let shown = |columns: &[Column], batch: &Batch| {
            let bytes = written(|sink| {
                Csv::new(columns, false, sink)
                    .end(&[batch], WALL, &account())
                    .unwrap();
            });
            String::from_utf8(bytes).unwrap()
        };
        insta::assert_snapshot!("counts", shown(&count_columns(), &counts(true, 1)));
        let text = shown(&stack_columns(), &stacks());
        assert!(
            text.starts_with(
                "pid,comm,user_stack,kernel_stack,faults\n4242,prog,main;memset,,960\n"
            ),
            "{text}"
        );
    }
}
