//! pprof profiles of rows with a stack: every count and sum is a sample type, every key a label.

use super::{
    Output, Wall,
    human::{count, plural},
    stacks::{from_root, root_text, weight_column},
};
use crate::show::sink::Sink;
use engine::Account;
use flate2::{Compression, write::GzEncoder};
use prost::Message;
use proto::pprof::{Function, Label, Line, Location, Mapping, Profile, Sample, ValueType};
use std::{
    collections::HashMap,
    io::{self, Write},
    time::Duration,
};
use tracers::{Basic, Batch, Column, Frame, Kind, Role, Shown, Unit, Value};

/// A profile, compressed with gzip.
#[derive(Debug)]
pub(crate) struct Pprof {
    to: Sink,
    columns: Vec<Column>,
    /// Places of the columns whose values are the outermost frames.
    root: Vec<usize>,
    profile: Profile,
    strings: HashMap<String, i64>,
    mappings: HashMap<i64, u64>,
    functions: HashMap<(i64, i64), u64>,
    locations: HashMap<(u64, u64, u64, i64), u64>,
    /// Samples by stack and labels.
    samples: HashMap<(Vec<u64>, Vec<[i64; 3]>), usize>,
}

impl Pprof {
    /// Creates an output of rows with these columns.
    pub(crate) fn new(columns: &[Column], to: Sink) -> Self {
        let mut out = Self {
            to,
            columns: columns.to_vec(),
            root: Vec::new(),
            profile: Profile::default(),
            strings: HashMap::new(),
            mappings: HashMap::new(),
            functions: HashMap::new(),
            locations: HashMap::new(),
            samples: HashMap::new(),
        };
        out.string("");
        let types: Vec<(String, &str)> = match values(columns).next() {
            None => vec![("events".to_owned(), "count")],
            Some(_) => values(columns)
                .map(|at| sample_type(&columns[at]))
                .collect(),
        };
        for (name, unit) in types {
            let (r#type, unit) = (out.string(&name), out.string(unit));
            out.profile.sample_type.push(ValueType { r#type, unit });
        }
        if let Some(at) = weight_column(columns) {
            out.profile.default_sample_type = out.string(&sample_type(&columns[at]).0);
        }
        out
    }

    /// Puts the values of the columns at these places below the root.
    pub(crate) fn with_root(mut self, root: &[usize]) -> Self {
        self.root = root.to_vec();
        self
    }

    fn add(&mut self, batch: &Batch, wall: Wall) {
        // The locations of this batch's frames, of programs and of the kernel, once they exist.
        let mut known = [false, true].map(|_| vec![None; batch.frames.len()]);
        let columns = self.columns.clone();
        let values: Vec<usize> = values(&columns).collect();
        let order: Vec<usize> = from_root(&columns).collect();
        let root = self.root.clone();
        for row in 0..batch.rows() {
            let mut stack = Vec::new();
            // Innermost first.
            for &at in order.iter().rev() {
                let kernel = matches!(columns[at].kind, Kind::KernelStack);
                let Value::Frames(frames) = batch.value(at, row) else {
                    continue;
                };
                let mut location = |id: &u32| {
                    let frame = batch.frames.get(*id as usize)?;
                    let known = &mut known[usize::from(kernel)][*id as usize];
                    Some(*known.get_or_insert_with(|| self.location(frame, kernel)))
                };
                match columns[at].on_top {
                    true => stack.extend(frames.iter().rev().filter_map(&mut location)),
                    false => stack.extend(frames.iter().filter_map(&mut location)),
                }
            }
            for &at in root.iter().rev() {
                let name = root_text(&columns[at], at, batch, row, wall).into();
                let frame = Frame {
                    name,
                    ..Frame::default()
                };
                stack.push(self.location(&frame, false));
            }
            let labels = self.labels(batch, row, wall);
            let number = |at: &usize| match batch.value(*at, row) {
                Value::Unsigned(n) => i64::try_from(n).unwrap_or(i64::MAX),
                Value::Signed(n) => n,
                _ => 0,
            };
            let mut added: Vec<i64> = values.iter().map(number).collect();
            if added.is_empty() {
                added.push(1);
            }
            let key = (stack, labels);
            match self.samples.get(&key) {
                Some(at) => {
                    let sample = &mut self.profile.sample[*at];
                    sample
                        .value
                        .iter_mut()
                        .zip(added)
                        .for_each(|(sum, n)| *sum = sum.saturating_add(n));
                }
                None => {
                    let (stack, labels) = &key;
                    let label = |[key, str, num]: &[i64; 3]| Label {
                        key: *key,
                        str: *str,
                        num: *num,
                        num_unit: 0,
                    };
                    let label = labels.iter().map(label).collect();
                    self.profile.sample.push(Sample {
                        location_id: stack.clone(),
                        value: added,
                        label,
                    });
                    self.samples.insert(key, self.profile.sample.len() - 1);
                }
            }
        }
    }

    /// Returns the keys that are not stacks, and the first text, as labels.
    fn labels(&mut self, batch: &Batch, row: usize, wall: Wall) -> Vec<[i64; 3]> {
        let columns = std::mem::take(&mut self.columns);
        let text = columns
            .iter()
            .position(|column| matches!(column.kind, Kind::Text) && !column.is_label());
        let wanted = |(at, column): &(usize, &Column)| {
            !column.kind.is_stack() && (column.role == Role::Key || text == Some(*at))
        };
        let mut labels = Vec::new();
        for (at, column) in columns.iter().enumerate().filter(wanted) {
            let key = self.string(&column.name);
            let number = column.kind.basic() == Some(Basic::Unsigned);
            labels.push(match batch.value(at, row) {
                Value::Unsigned(n) if number => [key, 0, i64::try_from(n).unwrap_or(i64::MAX)],
                value => {
                    let mut text = String::new();
                    let shown = Shown {
                        column,
                        frames: &batch.frames,
                        wall,
                    };
                    column.kind.text(value, shown, &mut text);
                    [key, self.string(&text), 0]
                }
            });
        }
        self.columns = columns;
        labels
    }

    /// Moves the main program to the first mapping, as the format requires: the first file that is neither a library nor the kernel.
    fn program_first(&mut self) {
        let strings = &self.profile.string_table;
        let program = self.profile.mapping.iter().position(|mapping| {
            let name = strings
                .get(mapping.filename as usize)
                .map_or("", String::as_str);
            !name.is_empty() && !name.starts_with('[') && !name.contains(".so")
        });
        let Some(at) = program.filter(|at| *at > 0) else {
            return;
        };
        self.profile.mapping.swap(0, at);
        let (first, other) = (1, at as u64 + 1);
        let swapped = |id: u64| match id {
            id if id == first => other,
            id if id == other => first,
            id => id,
        };
        self.profile
            .mapping
            .iter_mut()
            .for_each(|mapping| mapping.id = swapped(mapping.id));
        self.profile
            .location
            .iter_mut()
            .for_each(|location| location.mapping_id = swapped(location.mapping_id));
    }

    fn string(&mut self, text: &str) -> i64 {
        if let Some(&at) = self.strings.get(text) {
            return at;
        }
        let at = self.profile.string_table.len() as i64;
        self.profile.string_table.push(text.to_owned());
        self.strings.insert(text.to_owned(), at);
        at
    }

    fn location(&mut self, frame: &Frame, kernel: bool) -> u64 {
        let Frame {
            name,
            module,
            offset,
            file,
            line,
        } = frame;
        let module = match kernel {
            // As perf writes modules of the kernel: only files of programs have plain names.
            true if !module.starts_with('[') => format!("[{module}]"),
            _ => module.to_string(),
        };
        let (name, module, file) = (self.string(name), self.string(&module), self.string(file));
        let mappings = self.profile.mapping.len() as u64;
        let mapping = *self.mappings.entry(module).or_insert(mappings + 1);
        if mapping > mappings {
            self.profile.mapping.push(Mapping {
                id: mapping,
                filename: module,
                has_functions: true,
                ..Mapping::default()
            });
        }
        let known = &mut self.profile.mapping[mapping as usize - 1];
        known.has_filenames |= file != 0;
        known.has_line_numbers |= *line != 0;
        let functions = self.profile.function.len() as u64;
        let function = *self.functions.entry((name, file)).or_insert(functions + 1);
        if function > functions {
            self.profile.function.push(Function {
                id: function,
                name,
                system_name: name,
                filename: file,
                start_line: 0,
            });
        }
        let line = i64::from(*line);
        let locations = self.profile.location.len() as u64;
        let key = (mapping, function, *offset, line);
        let location = *self.locations.entry(key).or_insert(locations + 1);
        if location > locations {
            let line = vec![Line {
                function_id: function,
                line,
                column: 0,
            }];
            let location = Location {
                id: location,
                mapping_id: mapping,
                address: 0,
                line,
                is_folded: false,
            };
            self.profile.location.push(location);
        }
        location
    }
}

impl Output for Pprof {
    fn rows(&mut self, batch: &Batch, wall: Wall) -> io::Result<()> {
        self.add(batch, wall);
        Ok(())
    }

    fn table(&mut self, _: &Batch, _: Wall, _: Duration) -> io::Result<()> {
        Ok(())
    }

    fn end(
        &mut self,
        tables: &[&Batch],
        wall: Wall,
        account: &Account,
    ) -> io::Result<Option<String>> {
        tables.iter().for_each(|table| self.add(table, wall));
        let nanos = |duration: Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        self.profile.duration_nanos = nanos(account.elapsed);
        let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
        self.profile.time_nanos = nanos(now.saturating_sub(account.elapsed));
        if !account.complete() {
            let remark = format!("PARTIAL: {} events were lost", count(account.lost.total()));
            let remark = self.string(&remark);
            self.profile.comment.push(remark);
        }
        self.program_first();
        let mut gzip = GzEncoder::new(&mut self.to, Compression::default());
        gzip.write_all(&self.profile.encode_to_vec())?;
        gzip.finish()?;
        let samples = self.profile.sample.len() as u64;
        let written = self
            .to
            .path()
            .map(|path| format!("{}: {}", path.display(), plural(samples, "sample")));
        self.to.finish()?;
        Ok(written)
    }
}

fn values_by(columns: &[Column], role: Role) -> impl Iterator<Item = usize> {
    columns
        .iter()
        .enumerate()
        .filter(move |(_, column)| column.role == role)
        .map(|(at, _)| at)
}

fn values(columns: &[Column]) -> impl Iterator<Item = usize> {
    values_by(columns, Role::Count)
        .chain(values_by(columns, Role::Sum))
        .chain(values_by(columns, Role::Gauge))
}

/// Returns the name of a sample type without its unit, and the unit in pprof's words.
fn sample_type(column: &Column) -> (String, &'static str) {
    let (unit, suffix) = match column.unit() {
        Unit::Nanoseconds => ("nanoseconds", "_ns"),
        Unit::Microseconds => ("microseconds", "_us"),
        Unit::Bytes => ("bytes", "_bytes"),
        Unit::None | Unit::Pages | Unit::Percent => ("count", ""),
    };
    (
        column
            .name
            .strip_suffix(suffix)
            .unwrap_or(&column.name)
            .to_owned(),
        unit,
    )
}

#[cfg(test)]
mod tests {
    use super::{super::fixture::*, *};
    use flate2::read::GzDecoder;
    use std::io::Read;

    #[test]
    fn values_of_columns_are_the_outermost_functions() {
        let bytes = written(|sink| {
            let mut pprof = Pprof::new(&stack_columns(), sink).with_root(&[1, 0]);
            pprof.end(&[&stacks()], WALL, &account()).unwrap();
        });
        let mut raw = Vec::new();
        GzDecoder::new(bytes.as_slice())
            .read_to_end(&mut raw)
            .unwrap();
        let profile = Profile::decode(raw.as_slice()).unwrap();
        let name = |id: &u64| {
            let location = &profile.location[*id as usize - 1];
            let function = &profile.function[location.line[0].function_id as usize - 1];
            profile.string_table[function.name as usize].as_str()
        };
        let names: Vec<&str> = profile.sample[0].location_id.iter().map(name).collect();
        assert_eq!(names, ["memset", "main", "4242", "prog"]);
    }

    #[test]
    fn a_profile_has_every_stack_with_its_functions_and_labels() {
        let bytes = written(|sink| {
            let mut pprof = Pprof::new(&stack_columns(), sink);
            let message = pprof.end(&[&stacks()], WALL, &account()).unwrap();
            assert!(message.unwrap().ends_with(": 4 samples"));
        });
        let mut raw = Vec::new();
        GzDecoder::new(bytes.as_slice())
            .read_to_end(&mut raw)
            .unwrap();
        let profile = Profile::decode(raw.as_slice()).unwrap();
        let text = |at: i64| profile.string_table[at as usize].as_str();
        assert_eq!(
            text(0),
            "",
            "the first string is empty by the format's rule"
        );
        let types: Vec<_> = profile
            .sample_type
            .iter()
            .map(|t| (text(t.r#type), text(t.unit)))
            .collect();
        assert_eq!(types, [("faults", "count")]);
        let sample = &profile.sample[1];
        assert_eq!(sample.value, [240]);
        let names: Vec<&str> = sample
            .location_id
            .iter()
            .map(|id| &profile.location[*id as usize - 1])
            .map(|location| text(profile.function[location.line[0].function_id as usize - 1].name))
            .collect();
        assert_eq!(
            names,
            ["copy_to_user", "Vec<T>::push<a;b>", "main"],
            "innermost first"
        );
        let labels: Vec<_> = sample
            .label
            .iter()
            .map(|l| (text(l.key), text(l.str), l.num))
            .collect();
        assert_eq!(labels, [("pid", "", 4242), ("comm", "prog", 0)]);
        let main = profile
            .location
            .iter()
            .find(|l| l.line[0].line == 42)
            .unwrap();
        assert_eq!(
            text(profile.mapping[main.mapping_id as usize - 1].filename),
            "/usr/bin/prog"
        );
        assert_eq!(
            text(profile.mapping[0].filename),
            "/usr/bin/prog",
            "not the library that came first"
        );
        assert!(
            profile
                .mapping
                .iter()
                .enumerate()
                .all(|(at, m)| m.id == at as u64 + 1)
        );
        let ids = |n: usize| (1..=n as u64).collect::<Vec<_>>();
        assert_eq!(
            profile.location.iter().map(|l| l.id).collect::<Vec<_>>(),
            ids(profile.location.len())
        );
        assert_eq!(profile.duration_nanos, 10_000_000_000);
    }
}
